"""A shard: some episodes of one split in one HDF5 file, written whole or not at all.

Frames are spooled to a raw file as they come, so that memory does not grow with the length of an
episode or with their number; the small columns wait in memory. A shard that has its final name is
finished: what is there after a kill can be kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from framecast.clip import ClipSpec
from framecast.data.header import ActionKind, Header
from framecast.errors import UserError

SHARD_BYTES = 2**28
COPY_BYTES = 2**22


class ShardSpool:
    """Episodes on their way into the shard `path`. Use as a context manager.

    An episode that fails while it is added leaves no trace. Nothing but `finish` makes the shard.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self.path = path
        self.header = header
        self.raw = path.with_suffix(f".{os.getpid()}.raw")
        self.actions: list[NDArray[np.float32]] = []
        self.states: list[NDArray[np.float32]] = []
        self.lengths: list[int] = []

    def __enter__(self) -> Self:
        self.file = self._open(self.raw)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.file.close()
        self.raw.unlink(missing_ok=True)

    @property
    def num_frames(self) -> int:
        return sum(self.lengths)

    @property
    def num_bytes(self) -> int:
        return self.num_frames * int(np.prod(self.header.frame_shape))

    def add(
        self,
        frames: Iterable[NDArray[np.uint8]],
        actions: NDArray[np.float32] | None,
        states: NDArray[np.float32] | None,
        name: str,
    ) -> int:
        """Take in an episode; returns its number of frames. Raises UserError for a faulty one.

        Actions are None where the recording has none: each then has no numbers.
        """
        start = self.file.tell()
        try:
            num_frames = 0
            for frame in frames:
                self.header.check_frame(frame.shape, name)
                self.file.write(np.ascontiguousarray(frame).data)
                num_frames += 1
            if not num_frames:
                raise UserError(f"{name} has no frame.")
            if actions is None:
                actions = np.zeros((num_frames - 1, 0), np.float32)
            self.header.check_numbers(actions, states, num_frames, name)
        except BaseException:
            self.file.seek(start)
            self.file.truncate()
            raise
        no_effect = np.zeros((1, actions.shape[1]), np.float32)
        self.actions.append(np.concatenate([actions, no_effect]).astype(np.float32))
        if states is not None:
            self.states.append(states.astype(np.float32))
        self.lengths.append(num_frames)
        return num_frames

    def finish(self) -> None:
        """Write the shard under a temporary name and move it into place."""
        self.file.flush()
        partial = self.path.with_suffix(f".{os.getpid()}.partial")
        with h5py.File(partial, "w") as file:
            if self.lengths:
                self._write(file)
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(partial, self.path)

    def _write(self, file: h5py.File) -> None:
        pixels = file.create_dataset("pixels", (self.num_frames, *self.header.frame_shape), "u1")
        with self.raw.open("rb") as raw:
            copy_rows(raw, pixels)
        file["action"] = np.concatenate(self.actions)
        if self.states:
            file["state"] = np.concatenate(self.states)
        write_lengths(file, self.lengths)

    def _open(self, path: Path) -> BinaryIO:
        return path.open("wb")


def copy_rows(raw: BinaryIO, pixels: h5py.Dataset) -> None:
    """The rest of a raw file -> an HDF5 dataset, a few megabytes at a time."""
    row_bytes = int(np.prod(pixels.shape[1:]))
    rows_at_once = max(1, COPY_BYTES // row_bytes)
    for row in range(0, len(pixels), rows_at_once):
        count = min(rows_at_once, len(pixels) - row)
        piece = np.frombuffer(raw.read(count * row_bytes), np.uint8)
        pixels[row : row + count] = piece.reshape(count, *pixels.shape[1:])


def write_spec(file: h5py.File, spec: ClipSpec, action_kinds: tuple[ActionKind, ...]) -> None:
    file.attrs["clip_spec"] = spec.to_json()
    if action_kinds:
        file.attrs["action_kinds"] = json.dumps(action_kinds)


def write_lengths(file: h5py.File, lengths: Iterable[int]) -> None:
    ep_len = np.array(list(lengths), np.int32)
    file["ep_len"] = ep_len
    file["ep_offset"] = np.concatenate([[0], np.cumsum(ep_len[:-1], dtype=np.int64)])


@dataclass(frozen=True)
class Shard:
    """A finished shard: its length is known, its rows are read when they are asked for."""

    path: Path
    lengths: NDArray[np.int64]
    has_states: bool

    @property
    def num_rows(self) -> int:
        return int(self.lengths.sum())

    def rows(self, column: str) -> NDArray[np.float32]:
        with h5py.File(self.path, "r") as file:
            rows: NDArray[np.float32] = file[column][:]
        return rows

    def commands(self) -> NDArray[np.float32]:
        """The actions that have an effect: an episode's last row has none."""
        return np.delete(self.rows("action"), np.cumsum(self.lengths) - 1, axis=0)


def open_shard(path: Path) -> Shard | None:
    """None for a shard of no episodes. Raises UserError when it is not whole."""
    try:
        with h5py.File(path, "r") as file:
            if "ep_len" not in file:
                return None
            shard = Shard(path, file["ep_len"][:].astype(np.int64), "state" in file)
            whole = shard.num_rows == len(file["pixels"]) == len(file["action"])
    except (OSError, KeyError) as error:
        raise UserError(f"{path} is not a whole shard ({error}).") from None
    if not whole:
        raise UserError(f"{path}: its columns are not of one length.")
    return shard
