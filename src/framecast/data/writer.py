"""Writing a dataset: whole or not at all.

Shards are written into a hidden folder beside the target. When every one is finished they become
the splits, and the folder gets its final name: a folder of that name always holds a whole dataset.

A split of one shard is one file, `train.h5`. A split of several keeps its shards, `train-00000.h5`
and so on, beside a `train.h5` whose small columns are complete and whose `pixels` are an HDF5
virtual dataset over the shards: any HDF5 reader sees one file.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from framecast.clip import ClipSpec
from framecast.data.episodes import SPLITS, Episode, Split
from framecast.data.header import Header
from framecast.data.shards import SHARD_BYTES, ShardContent, ShardSpool, write_lengths
from framecast.data.statistics import Moments
from framecast.errors import UserError

__all__ = ["DatasetWriter", "Header", "publish", "refuse_existing"]


class DatasetWriter:
    """Use as a context manager; `add` episodes in any order, a split at a time or mixed.

    Raises UserError when the target exists, when an episode differs from the header, or when
    nothing was written. On any exception the unfinished files are removed.
    """

    def __init__(
        self, folder: Path, header: Header, overwrite: bool = False, shard_bytes: int = SHARD_BYTES
    ) -> None:
        refuse_existing(folder, overwrite)
        self.folder = folder
        self.header = header
        self.shard_bytes = shard_bytes
        self.partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
        self.spools: dict[Split, ShardSpool] = {}
        self.finished: dict[Split, int] = {}

    def __enter__(self) -> Self:
        self.partial.mkdir(parents=True)
        return self

    def add(self, split: Split, episode: Episode) -> None:
        episode.check()
        if split not in self.spools:
            path = self.partial / shard_name(split, self.finished.get(split, 0))
            self.spools[split] = ShardSpool(path, self.header).__enter__()
        spool = self.spools[split]
        spool.add(episode.frames, episode.actions, episode.states, episode.name)
        if spool.num_bytes >= self.shard_bytes:
            self._finish_shard(split)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                for split in list(self.spools):
                    self._finish_shard(split)
                publish(self.partial, self.folder, self.header)
        finally:
            for spool in self.spools.values():
                spool.__exit__(kind, error, trace)
            shutil.rmtree(self.partial, ignore_errors=True)

    def _finish_shard(self, split: Split) -> None:
        spool = self.spools[split]
        spool.finish()
        del self.spools[split]
        spool.__exit__(None, None, None)
        self.finished[split] = self.finished.get(split, 0) + 1


def refuse_existing(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not overwrite:
        raise UserError(f"{folder} exists already. Choose another --out, or add --overwrite.")


def shard_name(split: Split, number: int) -> str:
    return f"{split}-{number:05d}.h5"


def publish(partial: Path, folder: Path, header: Header) -> ClipSpec:
    """Finished shards in `partial` -> the dataset `folder`; can be repeated until it succeeds."""
    shards = {split: sorted(partial.glob(f"{split}-*.h5")) for split in SPLITS}
    train = list(_contents(shards["train"]))
    if not train:
        raise UserError("There is no episode to train on, so nothing was written.")
    spec = _spec(header, train)
    del train
    for split in SPLITS:
        _write_split(partial / f"{split}.h5", shards[split], spec)
    kept = {file for files in shards.values() if len(files) > 1 for file in files}
    for file in partial.iterdir():
        if file.stem not in SPLITS and file not in kept:
            file.unlink()
    replaced = folder.with_name(f".{folder.name}.replaced-{os.getpid()}")
    if folder.exists():
        os.replace(folder, replaced)
    os.replace(partial, folder)
    shutil.rmtree(replaced, ignore_errors=True)
    return spec


def _contents(paths: Sequence[Path]) -> Iterator[ShardContent]:
    for path in paths:
        content = ShardContent.read(path)
        if content is not None:
            yield content


def _write_split(path: Path, shards: list[Path], spec: ClipSpec) -> None:
    """Empties `shards` of those without an episode; what is left is the split's."""
    contents = list(_contents(shards))
    shards[:] = [content.path for content in contents]
    if not contents:
        return
    partial = path.with_suffix(".partial")
    if len(contents) == 1:
        shutil.copyfile(contents[0].path, partial)
    with h5py.File(partial, "a" if len(contents) == 1 else "w") as file:
        if len(contents) > 1:
            _write_index(file, contents, (spec.height, spec.width, spec.channels))
        file.attrs["clip_spec"] = spec.to_json()
    os.replace(partial, path)


def _write_index(
    file: h5py.File, contents: list[ShardContent], frame_shape: tuple[int, ...]
) -> None:
    rows = [int(content.lengths.sum()) for content in contents]
    pixels = h5py.VirtualLayout((sum(rows), *frame_shape), "u1")
    start = 0
    for content, count in zip(contents, rows, strict=True):
        source = h5py.VirtualSource(content.path.name, "pixels", (count, *frame_shape))
        pixels[start : start + count] = source
        start += count
    file.create_virtual_dataset("pixels", pixels)
    file["action"] = np.concatenate([content.actions for content in contents])
    states = [content.states for content in contents if content.states is not None]
    if states:
        file["state"] = np.concatenate(states)
    write_lengths(file, np.concatenate([content.lengths for content in contents]).tolist())


def _spec(header: Header, train: Sequence[ShardContent]) -> ClipSpec:
    action, state = Moments(), Moments()
    for content in train:
        action.add(_commands(content))
        if content.states is not None:
            state.add(content.states)
    return ClipSpec(
        height=header.height,
        width=header.width,
        channels=header.channels,
        fps=header.fps,
        action=action.vector_spec(header.action_names, header.action_units),
        state=(
            state.vector_spec(header.state_names, header.state_units)
            if header.state_names
            else None
        ),
        source=header.source,
    )


def _commands(content: ShardContent) -> NDArray[Any]:
    """The actions that have an effect: an episode's last row has none."""
    last_rows = np.cumsum(content.lengths) - 1
    return np.delete(content.actions, last_rows, axis=0)
