"""Episode npz: `image` (T, H, W, 3) and `action` (T or T - 1, A) in one file an episode.

Optional are `aux1_image` (BAIR's second camera, the one that papers use), and `endeffector_pos` or
`state`. Integer images of any width hold 0..255.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from framecast.data.episodes import Split
from framecast.data.formats.base import (
    RawEpisode,
    Signals,
    check_image_size,
    commands,
    numbered,
)
from framecast.errors import UserError

BAIR = Signals(
    action_names=("dx", "dy", "close_nstep", "up_nstep"),
    action_units=("m", "m", "1", "1"),
    action_kinds=("displacement",) * 4,
)
POSITION = (("x", "y", "z"), ("m", "m", "m"))
ASSUMED_FPS = 5.0
MAX_BYTES = 4 * 2**30
BAIR_CAMERA = "aux1_image"
STATE_KEYS = ("endeffector_pos", "state")


class NpzReader:
    """A file, or a folder of files."""

    format: ClassVar[str] = "npz"
    own_splits: list[Split] | None = None

    def __init__(self, path: Path, camera: str | None) -> None:
        self.files = sorted(path.glob("*.npz"), key=_number) if path.is_dir() else [path]
        if not self.files:
            raise UserError(f"{path} holds no .npz file.")
        first = _load(self.files[0])
        images = [key for key, values in first.items() if values.ndim == 4]
        wanted = camera or (BAIR_CAMERA if BAIR_CAMERA in first else "image")
        if wanted not in images:
            raise UserError(
                f"{self.files[0]} has no images (T, H, W, 3) named {wanted!r}; it has "
                f"{', '.join(images) or 'none'}. Choose one with --camera."
            )
        if "action" not in first:
            raise UserError(f"{self.files[0]} has no 'action'; its keys are {', '.join(first)}.")
        self.camera = wanted
        self.state_key = next((key for key in STATE_KEYS if key in first), None)
        self.signals = _signals(first, self.state_key)
        self.fps = ASSUMED_FPS
        self.what = f"{len(self.files)} npz episodes, images {self.camera!r}"
        self.notes = [f"npz files name no frame rate: {ASSUMED_FPS:g} a second assumed"]

    @staticmethod
    def fits(path: Path) -> bool:
        if path.is_dir():
            return next(path.glob("*.npz"), None) is not None
        return path.suffix == ".npz"

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int, every: int) -> RawEpisode:
        path = self.files[index]
        arrays = _load(path)
        for key in (self.camera, "action", self.state_key):
            if key is not None and key not in arrays:
                raise UserError(f"{path} has no {key!r}, which {self.files[0].name} has.")
        images = _images(arrays[self.camera], f"{path}: {self.camera!r}")
        actions = commands(_numbers(arrays["action"], path, "action"), len(images), str(path))
        states = None
        if self.state_key is not None:
            states = _numbers(arrays[self.state_key], path, self.state_key)
        return RawEpisode(path.stem, _every(images, every), actions, states)


def _every(images: NDArray[np.uint8], every: int) -> Iterator[NDArray[np.uint8]]:
    return iter(images[::every])


def _signals(arrays: dict[str, NDArray[np.generic]], state_key: str | None) -> Signals:
    num_actions = arrays["action"].shape[-1]
    names, units, kinds = numbered("action", num_actions), ("1",) * num_actions, BAIR.action_kinds
    if num_actions == 4 and BAIR_CAMERA in arrays:
        names, units = BAIR.action_names, BAIR.action_units
    kinds = ("displacement",) * num_actions
    num_states = 0 if state_key is None else arrays[state_key].shape[-1]
    state_names, state_units = numbered("state", num_states), ("1",) * num_states
    if state_key == "endeffector_pos" and num_states == 3:
        state_names, state_units = POSITION
    return Signals(names, units, kinds, state_names, state_units)


def _load(path: Path) -> dict[str, NDArray[np.generic]]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_BYTES:
            raise UserError(f"{path} unpacks to {size / 2**30:.1f} GiB, more than an episode's 4.")
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
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


def _number(path: Path) -> tuple[int, str]:
    digits = re.findall(r"\d+", path.stem)
    return (int(digits[-1]) if digits else -1, path.name)
