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
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py
import numpy as np

from framecast.clip import ClipSpec
from framecast.data.episodes import SPLITS, Episode, Split
from framecast.data.header import Header
from framecast.data.shards import (
    SHARD_BYTES,
    Shard,
    ShardSpool,
    open_shard,
    write_lengths,
    write_spec,
)
from framecast.data.statistics import Moments
from framecast.errors import UserError

__all__ = ["DatasetWriter", "Header", "publish", "refuse_existing", "shard_name"]


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
    shards = {
        split: [
            shard
            for shard in map(open_shard, sorted(partial.glob(f"{split}-*.h5")))
            if shard is not None
        ]
        for split in SPLITS
    }
    if not shards["train"]:
        raise UserError("There is no episode to train on, so nothing was written.")
    spec = _spec(header, shards["train"])
    for split in SPLITS:
        if shards[split]:
            _write_split(partial / f"{split}.h5", shards[split], spec, header)
    kept = {shard.path for mine in shards.values() if len(mine) > 1 for shard in mine}
    for file in partial.iterdir():
        if file.suffix != ".txt" and file.stem not in SPLITS and file not in kept:
            file.unlink()
    replaced = folder.with_name(f".{folder.name}.replaced-{os.getpid()}")
    if folder.exists():
        os.replace(folder, replaced)
    os.replace(partial, folder)
    shutil.rmtree(replaced, ignore_errors=True)
    return spec


def _write_split(path: Path, shards: list[Shard], spec: ClipSpec, header: Header) -> None:
    """A split's one file: the one shard's copy, or an index over several."""
    partial = path.with_suffix(".partial")
    if len(shards) == 1:
        shutil.copyfile(shards[0].path, partial)
    with h5py.File(partial, "a" if len(shards) == 1 else "w") as file:
        if len(shards) > 1:
            _write_index(file, shards, spec)
        write_spec(file, spec, header.action_kinds)
    os.replace(partial, path)


def _write_index(file: h5py.File, shards: list[Shard], spec: ClipSpec) -> None:
    num_rows = sum(shard.num_rows for shard in shards)
    frame_shape = (spec.height, spec.width, spec.channels)
    pixels = h5py.VirtualLayout((num_rows, *frame_shape), "u1")
    columns = {"action": spec.action} | ({"state": spec.state} if spec.state else {})
    for name, vector in columns.items():
        file.create_dataset(name, (num_rows, vector.size), np.float32)
    start = 0
    for shard in shards:
        rows = slice(start, start + shard.num_rows)
        pixels[rows] = h5py.VirtualSource(shard.path.name, "pixels", (shard.num_rows, *frame_shape))
        for name in columns:
            file[name][rows] = shard.rows(name)
        start = rows.stop
    file.create_virtual_dataset("pixels", pixels)
    write_lengths(file, np.concatenate([shard.lengths for shard in shards]).tolist())


def _spec(header: Header, train: Sequence[Shard]) -> ClipSpec:
    action, state = Moments(), Moments()
    for shard in train:
        action.add(shard.commands())
        if shard.has_states:
            state.add(shard.rows("state"))
    has_states = bool(header.state_names)
    return ClipSpec(
        height=header.height,
        width=header.width,
        channels=header.channels,
        fps=header.fps,
        action=action.vector_spec(header.action_names, header.action_units),
        state=state.vector_spec(header.state_names, header.state_units) if has_states else None,
        source=header.source,
    )
