"""Recording a dataset, with one process or several."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from framecast.data.episodes import SPLITS, Episode
from framecast.data.splits import assign_splits
from framecast.data.writer import DatasetWriter
from framecast.recording.recorder import Recorder, Recording

Progress = Callable[[int], None]


def record(
    recording: Recording,
    out: Path,
    fractions: tuple[float, float, float],
    num_workers: int,
    overwrite: bool,
    progress: Progress,
) -> dict[str, int]:
    """Record a dataset; returns the number of episodes of each split.

    Nothing of the target's name is there until every episode is recorded.
    """
    splits = assign_splits(recording.num_episodes, fractions, recording.seed)
    header = Recorder(recording).header()
    with (
        DatasetWriter(out, header, overwrite) as writer,
        _episodes(recording, num_workers) as episodes,
    ):
        for split, episode in zip(splits, episodes, strict=True):
            writer.add(split, episode)
            progress(1)
    return {split: splits.count(split) for split in SPLITS if split in splits}


@contextmanager
def _episodes(recording: Recording, num_workers: int) -> Iterator[Iterator[Episode]]:
    indices = range(recording.num_episodes)
    if num_workers <= 1:
        yield map(Recorder(recording).episode, indices)
        return
    with _one_thread_each():
        pool = multiprocessing.get_context("spawn").Pool(num_workers, _start, (recording,))
    try:
        yield pool.imap(_episode, indices)
    finally:
        pool.terminate()
        pool.join()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Worker processes that share the cores must not each start a thread a core."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_recorder: Recorder | None = None  # of a worker process


def _start(recording: Recording) -> None:
    global _recorder
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops its workers
    _recorder = Recorder(recording)


def _episode(index: int) -> Episode:
    assert _recorder is not None
    return _recorder.episode(index)
