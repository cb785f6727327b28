"""Writing a dataset: whole or not at all.

Episodes are spooled into a hidden folder beside the target and moved into place when every split
is complete, so that a folder of the final name always holds a whole dataset.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from framecast.clip import ClipSpec, VectorSpec
from framecast.data.episodes import Episode, Split
from framecast.errors import UserError

COPY_ROWS = 4096


@dataclass(frozen=True)
class Header:
    """What is known of a dataset before its first episode is written."""

    height: int
    width: int
    channels: int
    fps: float
    action_names: tuple[str, ...]
    action_units: tuple[str, ...]
    state_names: tuple[str, ...]
    state_units: tuple[str, ...]
    source: str


class DatasetWriter:
    """Use as a context manager; `add` episodes in any order, a split at a time or mixed.

    Raises UserError when the target exists, when an episode differs from the header, or when
    nothing was written. On any exception the unfinished files are removed.
    """

    def __init__(self, folder: Path, header: Header, overwrite: bool = False) -> None:
        if folder.exists() and not overwrite:
            raise UserError(f"{folder} exists already. Choose another --out, or add --overwrite.")
        self.folder = folder
        self.header = header
        self.partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
        self.splits: dict[Split, _Spool] = {}

    def __enter__(self) -> Self:
        self.partial.mkdir(parents=True)
        return self

    def add(self, split: Split, episode: Episode) -> None:
        episode.check()
        expected = (self.header.height, self.header.width, self.header.channels)
        if episode.frames.shape[1:] != expected:
            raise UserError(
                f"{episode.name}: expected frames of {expected} (height, width, channels) as in "
                f"the rest of the dataset, got {episode.frames.shape[1:]}."
            )
        for what, names, rows in (
            ("action", self.header.action_names, episode.actions),
            ("state", self.header.state_names, episode.states),
        ):
            size = 0 if rows is None else rows.shape[1]
            if size != len(names):
                raise UserError(
                    f"{episode.name}: expected {len(names)} {what} numbers ({', '.join(names)}), "
                    f"got {size}."
                )
        if split not in self.splits:
            self.splits[split] = _Spool(self.partial / f"{split}.raw")
        self.splits[split].add(episode)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            for spool in self.splits.values():
                spool.close()
            shutil.rmtree(self.partial, ignore_errors=True)

    def _finish(self) -> None:
        if "train" not in self.splits:
            raise UserError("There is no episode to train on, so nothing was written.")
        spec = self._spec()
        for split, spool in self.splits.items():
            spool.write_hdf5(self.partial / f"{split}.h5", spec)
        replaced = self.partial.with_name(self.partial.name + "-replaced")
        if self.folder.exists():
            os.replace(self.folder, replaced)
        os.replace(self.partial, self.folder)
        shutil.rmtree(replaced, ignore_errors=True)

    def _spec(self) -> ClipSpec:
        header, train = self.header, self.splits["train"]
        commands = np.concatenate([rows[:-1] for rows in train.actions])
        state = None
        if header.state_names:
            state = _vector_spec(
                header.state_names, header.state_units, np.concatenate(train.states)
            )
        return ClipSpec(
            height=header.height,
            width=header.width,
            channels=header.channels,
            fps=header.fps,
            action=_vector_spec(header.action_names, header.action_units, commands),
            state=state,
            source=header.source,
        )


class _Spool:
    """One split while it grows: pixels in a raw file, the small columns in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = self._open(path)
        self.frame_shape: tuple[int, ...] = ()
        self.actions: list[NDArray[np.float32]] = []
        self.states: list[NDArray[np.float32]] = []
        self.lengths: list[int] = []

    def add(self, episode: Episode) -> None:
        self.file.write(np.ascontiguousarray(episode.frames).data)
        self.frame_shape = episode.frames.shape[1:]
        no_effect = np.zeros((1, episode.actions.shape[1]), np.float32)
        self.actions.append(np.concatenate([episode.actions, no_effect]).astype(np.float32))
        if episode.states is not None:
            self.states.append(episode.states.astype(np.float32))
        self.lengths.append(len(episode.frames))

    def write_hdf5(self, path: Path, spec: ClipSpec) -> None:
        self.file.close()
        lengths = np.array(self.lengths, np.int32)
        shape = (int(lengths.sum()), *self.frame_shape)
        raw = np.memmap(self.path, np.uint8, "r", shape=shape)
        with h5py.File(path, "w") as file:
            pixels = file.create_dataset("pixels", shape, np.uint8)
            for row in range(0, len(raw), COPY_ROWS):
                pixels[row : row + COPY_ROWS] = raw[row : row + COPY_ROWS]
            file["action"] = np.concatenate(self.actions)
            if self.states:
                file["state"] = np.concatenate(self.states)
            file["ep_len"] = lengths
            file["ep_offset"] = np.concatenate([[0], np.cumsum(lengths[:-1], dtype=np.int64)])
            file.attrs["clip_spec"] = spec.to_json()
        del raw
        self.path.unlink()

    def close(self) -> None:
        self.file.close()

    def _open(self, path: Path) -> BinaryIO:
        return path.open("wb")


def _vector_spec(names: Sequence[str], units: Sequence[str], rows: NDArray[Any]) -> VectorSpec:
    rows64 = rows.astype(np.float64)
    std = rows64.std(axis=0)
    std[std < 1e-8] = 1.0
    return VectorSpec(
        names=tuple(names),
        units=tuple(units),
        mean=tuple(rows64.mean(axis=0).tolist()),
        std=tuple(std.tolist()),
        low=tuple(rows64.min(axis=0).tolist()),
        high=tuple(rows64.max(axis=0).tolist()),
    )
