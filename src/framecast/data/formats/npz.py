"""Episode npz: `image` (T, H, W, 3) and `action` (T or T - 1, A) in one file an episode.

Optional are `aux1_image` (BAIR's second camera, the one that papers use), and `endeffector_pos` or
`state`. Integer images of any width hold 0..255.
"""

from __future__ import annotations

import dataclasses
import zipfile
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from framecast.data.episodes import Split
from framecast.data.formats.bair import ASSUMED_FPS, BAIR, POSITION, natural
from framecast.data.formats.base import (
    Keys,
    RawEpisode,
    Signals,
    check_image_size,
    choose,
    commands,
    kinds_by_name,
    numbered,
    require_inside,
)
from framecast.errors import UserError

MAX_BYTES = 4 * 2**30
# RuntimeError: an unknown version or compression (NotImplementedError), or a password.
FAULTS = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
BAIR_CAMERA = "aux1_image"
STATE_KEYS = ("endeffector_pos", "state")
LOOKED_AT = 64  # files that may be broken before the first sound one
Arrays = dict[str, NDArray[np.generic]]


class NpzReader:
    """A file, or a folder of files."""

    format: ClassVar[str] = "npz"
    own_splits: list[Split] | None = None

    def __init__(self, path: Path, keys: Keys) -> None:
        self.root = path
        self.files = sorted(path.glob("*.npz"), key=natural) if path.is_dir() else [path]
        if not self.files:
            raise UserError(f"{path} holds no .npz file.")
        file, first = self._first()
        images = [key for key, values in first.items() if values.ndim == 4]
        if not images:
            raise UserError(f"{file} has no images (T, H, W, 3); its keys are {', '.join(first)}.")
        self.camera = choose(keys.camera, images, (BAIR_CAMERA, "image"), "camera")
        vectors = [key for key, values in first.items() if values.ndim == 2]
        if keys.action is None and "action" not in vectors:
            raise UserError(f"{file} has no 'action'; its keys are {', '.join(first)}.")
        self.action_key = choose(keys.action, vectors, ("action",), "action")
        usual = next((key for key in STATE_KEYS if key in vectors), None)
        self.state_key = choose(keys.state, vectors, (), "state") if keys.state else usual
        self.signals = self._signals(first)
        self.frames_hint = len(first[self.camera])
        self.fps = ASSUMED_FPS
        self.what = f"{len(self.files)} npz episodes, images {self.camera!r}"
        self.notes = [f"npz files name no frame rate: {ASSUMED_FPS:g} a second assumed"]
        self.faults: list[str] = []

    @staticmethod
    def fits(path: Path) -> bool:
        if path.is_dir():
            return next(path.glob("*.npz"), None) is not None
        return path.suffix == ".npz"

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int, every: int) -> RawEpisode:
        path = self.files[index]
        require_inside(self.root, path)
        arrays = _load(path)
        for key in (self.camera, self.action_key, self.state_key):
            if key is not None and key not in arrays:
                raise UserError(f"{path} has no {key!r}, which {self.files[0].name} has.")
        images = _images(arrays[self.camera], f"{path}: {self.camera!r}")
        table = _numbers(arrays[self.action_key], path, self.action_key)
        actions = commands(table, len(images), str(path))
        states = None
        if self.state_key is not None:
            states = _numbers(arrays[self.state_key], path, self.state_key)
        return RawEpisode(str(path), iter(images[::every]), actions, states)

    def _first(self) -> tuple[Path, Arrays]:
        """The first file that can be read, to learn the keys from."""
        fault: UserError | None = None
        for file in self.files[:LOOKED_AT]:
            try:
                return file, _load(file)
            except UserError as error:
                fault = fault or error
        assert fault is not None
        raise fault

    def _signals(self, arrays: Arrays) -> Signals:
        num_actions = arrays[self.action_key].shape[-1]
        num_states = 0 if self.state_key is None else arrays[self.state_key].shape[-1]
        state_names, state_units = numbered("state", num_states), ("1",) * num_states
        if self.state_key == "endeffector_pos" and num_states == 3:
            state_names, state_units = POSITION
        if num_actions == len(BAIR.action_names) and BAIR_CAMERA in arrays:
            return dataclasses.replace(BAIR, state_names=state_names, state_units=state_units)
        names = numbered("action", num_actions)
        kinds = kinds_by_name(names, "displacement")
        return Signals(names, ("1",) * num_actions, kinds, state_names, state_units)


def _load(path: Path) -> Arrays:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_BYTES:
            raise UserError(f"{path} unpacks to {size / 2**30:.1f} GiB, more than an episode's 4.")
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.") from None
    except FAULTS as error:
        raise UserError(f"{path} is not a whole npz of plain numbers ({error}).") from None


def _images(values: NDArray[np.generic], where: str) -> NDArray[np.uint8]:
    if values.ndim != 4 or values.shape[-1] != 3 or not len(values):
        raise UserError(f"{where}: expected images (T, H, W, 3), got {values.shape}.")
    check_image_size(values.shape[2], values.shape[1], where)
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    if not np.issubdtype(values.dtype, np.integer) or values.min() < 0 or values.max() > 255:
        raise UserError(f"{where}: expected integers from 0 to 255, got {values.dtype}.")
    return values.astype(np.uint8)


def _numbers(values: NDArray[np.generic], path: Path, key: str) -> NDArray[np.float32]:
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise UserError(f"{path}: expected numbers (T, N) in {key!r}, got {values.shape}.")
    return values.astype(np.float32)
