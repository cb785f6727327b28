"""The work of an import: shards made by one process or by several, finished ones kept."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from framecast.data.episodes import Split
from framecast.data.formats.base import RawEpisode, Reader
from framecast.data.geometry import Geometry
from framecast.data.header import ActionKind, Header
from framecast.data.resampling import compose_actions
from framecast.data.shards import ShardSpool
from framecast.errors import UserError

Progress = Callable[[int], None]
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Task:
    """A shard to make: its file's name and the episodes that go into it."""

    name: str
    split: Split
    episodes: tuple[int, ...]


@dataclass(frozen=True)
class Job:
    """What is done to every episode."""

    reader: Reader
    header: Header
    geometry: Geometry
    every: int
    kinds: tuple[ActionKind, ...]
    skip_broken: bool


@dataclass(frozen=True)
class Result:
    """What became of a shard; kept beside it, for an import that is taken up again."""

    split: Split
    episodes: int
    frames: int
    left_out: list[str]
    notes: list[str]


class _StoppedError(Exception):
    """Another process failed, or the user wants to stop."""


def work_off(
    job: Job, tasks: list[Task], folder: Path, num_workers: int, progress: Progress
) -> list[Result]:
    """Make the shards that are not there yet. Raises the first UserError of any process."""
    waiting = []
    for task in tasks:
        if _is_finished(folder / task.name):
            progress(len(task.episodes))
        else:
            waiting.append(task)
    if num_workers > 1 and len(waiting) > 1:
        _in_processes(job, waiting, folder, min(num_workers, len(waiting)), progress)
    else:
        for task in waiting:
            make_shard(job, task, folder, progress, lambda: False)
    return [_result_of(folder / task.name) for task in tasks]


def make_shard(
    job: Job, task: Task, folder: Path, progress: Progress, stopped: Callable[[], bool]
) -> None:
    left_out: list[str] = []
    notes_before = len(job.reader.notes)
    with ShardSpool(folder / task.name, job.header) as spool:
        for index in task.episodes:
            if stopped():
                raise _StoppedError
            try:
                _take_in(job, index, spool)
            except UserError as error:
                if not job.skip_broken:
                    raise
                left_out.append(str(error))
            progress(1)
        notes = job.reader.notes[notes_before:]
        result = Result(task.split, len(spool.lengths), spool.num_frames, left_out, notes)
        _sidecar(spool.path).write_text(json.dumps(asdict(result)), encoding="utf-8")
        spool.finish()


def _take_in(job: Job, index: int, spool: ShardSpool) -> None:
    raw = job.reader.read(index, job.every)
    actions = None if raw.actions is None else compose_actions(raw.actions, job.every, job.kinds)
    states = None if raw.states is None else raw.states[:: job.every]
    spool.add(_fitted(raw, job.geometry), actions, states, raw.name)


def _fitted(raw: RawEpisode, geometry: Geometry) -> Iterator[NDArray[np.uint8]]:
    for frame in raw.frames:
        yield geometry.apply(frame)


def _is_finished(shard: Path) -> bool:
    return shard.is_file() and _sidecar(shard).is_file()


def _sidecar(shard: Path) -> Path:
    return shard.with_suffix(".json")


def _result_of(shard: Path) -> Result:
    return Result(**json.loads(_sidecar(shard).read_text(encoding="utf-8")))


# ---- several processes


def _in_processes(
    job: Job, tasks: list[Task], folder: Path, num_workers: int, progress: Progress
) -> None:
    context = multiprocessing.get_context("spawn")
    done, stop = context.Value("q", 0), context.Value("b", 0)
    pool = ProcessPoolExecutor(num_workers, context, _start, (job, folder, done, stop, os.getpid()))
    reported = 0
    try:
        futures: list[Future[None]] = [pool.submit(_make, task) for task in tasks]
        while True:
            running = not all(future.done() for future in futures)
            finished = int(done.value)
            progress(finished - reported)
            reported = finished
            for future in futures:
                if future.done():
                    future.result()
            if not running:
                return
            time.sleep(POLL_SECONDS)
    except BrokenProcessPool:
        raise UserError(
            "A worker process was ended from outside, perhaps for want of memory. "
            "Run the command again, with fewer --workers."
        ) from None
    finally:
        stop.value = 1
        pool.shutdown(wait=True, cancel_futures=True)


_worker: tuple[Job, Path, Any, Any] | None = None  # of a worker process


def _start(job: Job, folder: Path, done: Any, stop: Any, parent: int) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops its workers
    _worker = (job, folder, done, stop)
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _die_with(parent: int) -> None:
    """A worker whose parent was killed must not go on writing."""
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os._exit(1)


def _make(task: Task) -> None:
    assert _worker is not None
    job, folder, done, stop = _worker

    def progress(count: int) -> None:
        with done.get_lock():
            done.value += count

    make_shard(job, task, folder, progress, lambda: bool(stop.value))
