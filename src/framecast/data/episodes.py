"""The store: episodes on disk, one HDF5 file a split, in the layout of stable-worldmodel.

A dataset is a folder with `train.h5` and, where they hold any episode, `validation.h5` and
`test.h5`. Each file has one dataset a column, all episodes end to end:

    pixels     uint8   (N, H, W, C)
    action     float32 (N, A)   the last row of an episode has no effect and is zero
    state      float32 (N, S)   only where the recording has states
    ep_len     int32   (E,)
    ep_offset  int64   (E,)

and the ClipSpec as JSON in the attribute `clip_spec`. Columns are contiguous, so that they can be
memory-mapped. `writer.py` writes a dataset.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import h5py
import numpy as np
from numpy.typing import NDArray

from framecast.clip import ClipSpec
from framecast.errors import UserError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Episode:
    """One unbroken recording.

    Shape:
        frames: (T, H, W, C) uint8
        actions: (T - 1, A) float32
        states: (T, S) float32 or None
    """

    frames: NDArray[np.uint8]
    actions: NDArray[np.float32]
    states: NDArray[np.float32] | None
    name: str

    def check(self) -> None:
        """Raises UserError when the parts do not fit each other or hold a number that is none."""
        if self.frames.ndim != 4 or self.frames.dtype != np.uint8 or not len(self.frames):
            raise UserError(
                f"{self.name}: expected uint8 frames (T, H, W, C), "
                f"got {self.frames.dtype} {self.frames.shape}."
            )
        num_frames = len(self.frames)
        self._check_rows("actions", self.actions, num_frames - 1)
        if self.states is not None:
            self._check_rows("states", self.states, num_frames)

    def _check_rows(self, what: str, rows: NDArray[np.float32], expected: int) -> None:
        if len(rows) != expected:
            raise UserError(
                f"{self.name}: {len(self.frames)} frames need {expected} {what}, got {len(rows)}."
            )
        if not np.isfinite(rows).all():
            row = int(np.argwhere(~np.isfinite(rows))[0, 0])
            raise UserError(f"{self.name}: {what} hold a value that is not finite in row {row}.")


class EpisodeStore:
    """One split of a dataset, memory-mapped and read-only.

    Attributes:
        pixels: (N, H, W, C) uint8
        action: (N, A) float32
        state: (N, S) float32 or None
        ep_len, ep_offset: (E,) length and first row of each episode

    Raises UserError when the file is missing, cut off or inconsistent.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UserError(f"{path} is not there. {_what_is_there(path.parent)}")
        self.path = path
        try:
            with h5py.File(path, "r") as file:
                self.spec = ClipSpec.from_json(file.attrs["clip_spec"])
                self.pixels = _mapped(path, file["pixels"], np.uint8, 4)
                self.action = _mapped(path, file["action"], np.float32, 2)
                has_state = "state" in file
                self.state = _mapped(path, file["state"], np.float32, 2) if has_state else None
                self.ep_len: NDArray[np.int64] = file["ep_len"][:].astype(np.int64)
                self.ep_offset: NDArray[np.int64] = file["ep_offset"][:].astype(np.int64)
        except (OSError, KeyError) as error:
            raise UserError(
                f"{path} is not a whole framecast store ({error}). "
                "It may have been cut off while copying: copy, record or import it again."
            ) from None
        self._check()

    @classmethod
    def open(cls, dataset: Path, split: Split) -> EpisodeStore:
        if not dataset.is_dir():
            raise UserError(
                f"{dataset} is not a dataset folder. "
                "Make one with `framecast record` or `framecast import`."
            )
        return cls(dataset / f"{split}.h5")

    @property
    def num_episodes(self) -> int:
        return len(self.ep_len)

    def episode(self, index: int) -> Episode:
        rows = slice(self.ep_offset[index], self.ep_offset[index] + self.ep_len[index])
        return Episode(
            np.array(self.pixels[rows]),
            np.array(self.action[rows][:-1]),
            None if self.state is None else np.array(self.state[rows]),
            name=f"{self.path}, episode {index}",
        )

    def _check(self) -> None:
        num_rows = len(self.pixels)
        whole = (
            len(self.ep_len) == len(self.ep_offset) > 0
            and int(self.ep_len.min()) > 0
            and np.array_equal(self.ep_offset, np.cumsum(self.ep_len) - self.ep_len)
            and int(self.ep_len.sum()) == num_rows == len(self.action)
            and (self.state is None or len(self.state) == num_rows)
        )
        spec = self.spec
        fits = (
            self.pixels.shape[1:] == (spec.height, spec.width, spec.channels)
            and self.action.shape[1] == spec.action.size
            and (self.state is None) == (spec.state is None)
            and (self.state is None or spec.state is None or self.state.shape[1] == spec.state.size)
        )
        if not (whole and fits):
            raise UserError(
                f"{self.path}: columns, episode lengths and clip spec do not fit each other. "
                "Record or import it again."
            )


def _mapped(path: Path, dataset: h5py.Dataset, dtype: type[Any], ndim: int) -> NDArray[Any]:
    offset = dataset.id.get_offset()
    if dataset.dtype != dtype or dataset.ndim != ndim or dataset.external:
        raise UserError(
            f"{path}: column {dataset.name} should be {np.dtype(dtype)} of {ndim} dimensions, "
            f"got {dataset.dtype} of {dataset.ndim}."
        )
    if offset is None or offset + dataset.nbytes > path.stat().st_size:
        raise UserError(f"{path}: column {dataset.name} is not contiguous in the file or cut off.")
    return np.memmap(path, dtype, "r", offset=offset, shape=dataset.shape)


def _what_is_there(folder: Path) -> str:
    found = sorted(file.stem for file in folder.glob("*.h5"))
    if not found:
        return f"{folder} holds no split of a dataset."
    return f"The dataset has the splits: {', '.join(found)}."
