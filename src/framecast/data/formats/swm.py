"""stable-worldmodel's HDF5: one dataset a column, all episodes end to end.

    pixels   uint8   (N, H, W, 3)      ep_len     (E,)
    action   float32 (N, A)            ep_offset  (E,)

Other columns of numbers may hold the state. The file is a split where it is called train,
validation or test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
from numpy.typing import NDArray

from framecast.data.episodes import Split
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
from framecast.data.formats.hdf5 import dataset, open_hdf5, small
from framecast.data.splits import SPLIT_NAMES, complete
from framecast.errors import UserError

STATES = ("state", "proprio", "agent_pos")
LENGTH, OFFSET = "ep_len", "ep_offset"
FRAMES_AT_ONCE = 256
ASSUMED_FPS = 10.0


@dataclass(frozen=True)
class _Place:
    """An episode: `rows` of `path`, or what is wrong with its length and offset."""

    path: Path
    number: int
    rows: slice
    fault: str = ""


class SwmReader:
    """A file, or a folder of files with the same columns."""

    format: ClassVar[str] = "swm-hdf5"

    def __init__(self, path: Path, keys: Keys) -> None:
        self.root = path
        self.places: list[_Place] = []
        self.faults: list[str] = []
        for file in _files(path):
            try:
                self.places += _places(file)
            except UserError as error:
                self.faults.append(str(error))
        if not self.places:
            raise UserError(self.faults[0] if self.faults else f"{path} holds no episode.")
        first = self.places[0]
        with open_hdf5(first.path) as file:
            self.camera = choose(keys.camera, _images(file), ("pixels",), "camera")
            tables = _tables(file)
            self.action_key = choose(keys.action, tables, ("action",), "action")
            usual = next((key for key in STATES if key in tables), None)
            self.state_key = choose(keys.state, tables, (), "state") if keys.state else usual
            self.signals = _signals(file, self.action_key, self.state_key)
        lengths = [place.rows.stop - place.rows.start for place in self.places if not place.fault]
        self.frames_hint = int(np.median(lengths)) if lengths else 1
        self.fps = ASSUMED_FPS
        self.what = f"{len(self.places)} episodes in stable-worldmodel HDF5, {self.camera!r}"
        self.notes = [f"HDF5 columns name no frame rate: {ASSUMED_FPS:g} a second assumed"]
        self.own_splits = self._own_splits()

    @staticmethod
    def fits(path: Path) -> bool:
        try:
            with open_hdf5(_files(path)[0]) as file:
                return LENGTH in file and OFFSET in file
        except (UserError, IndexError):
            return False

    def __len__(self) -> int:
        return len(self.places)

    def read(self, index: int, every: int) -> RawEpisode:
        place = self.places[index]
        name = f"{place.path}, episode {place.number}"
        if place.fault:
            raise UserError(f"{name}: {place.fault}.")
        require_inside(self.root, place.path)
        num_frames = place.rows.stop - place.rows.start
        with open_hdf5(place.path) as file:
            actions = _rows(file, self.action_key, place.rows)
            states = _rows(file, self.state_key, place.rows) if self.state_key else None
        frames = _frames(place.path, self.camera, place.rows, every)
        return RawEpisode(name, frames, commands(actions, num_frames, name), states)

    def _own_splits(self) -> list[Split] | None:
        return complete([SPLIT_NAMES.get(place.path.stem) for place in self.places])


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(file for file in path.glob("*.h*5") if not file.name.startswith("."))


def _places(path: Path) -> Iterator[_Place]:
    """Every episode of a file; those that overlap or lie outside are marked."""
    with open_hdf5(path) as file:
        lengths = small(file, LENGTH)[:].astype(np.int64)
        offsets = small(file, OFFSET)[:].astype(np.int64)
        num_rows = min(len(dataset(file, key)) for key in (*_images(file), *_tables(file)))
    if lengths.ndim != 1 or lengths.shape != offsets.shape:
        raise UserError(f"{path}: {LENGTH} and {OFFSET} are not lists of one length.")
    end = 0
    for number in np.argsort(offsets, kind="stable").tolist():
        start, length = int(offsets[number]), int(lengths[number])
        fault = ""
        if length < 1 or start < 0 or start + length > num_rows:
            fault = f"offset {start} and length {length} lie outside of the file's {num_rows} rows"
        elif start < end:
            fault = f"its offset {start} lies inside the episode before, which ends at {end}"
        else:
            end = start + length
        yield _Place(path, number, slice(start, start + length), fault)


def _images(file: h5py.File) -> list[str]:
    return [
        key
        for key, found in file.items()
        if isinstance(found, h5py.Dataset)
        and found.dtype == np.uint8
        and found.ndim == 4
        and found.shape[-1] == 3
    ]


def _tables(file: h5py.File) -> list[str]:
    return [
        key
        for key, found in file.items()
        if isinstance(found, h5py.Dataset) and found.dtype.kind == "f" and found.ndim == 2
    ]


def _signals(file: h5py.File, action_key: str, state_key: str | None) -> Signals:
    num_actions = file[action_key].shape[1]
    num_states = file[state_key].shape[1] if state_key else 0
    names = numbered(action_key, num_actions)
    return Signals(
        *(names, ("1",) * num_actions, kinds_by_name(names, "target")),
        *(numbered(state_key or "state", num_states), ("1",) * num_states),
    )


def _rows(file: h5py.File, key: str, rows: slice) -> NDArray[np.float32]:
    return np.asarray(dataset(file, key)[rows], np.float32)


def _frames(path: Path, key: str, rows: slice, every: int) -> Iterator[NDArray[np.uint8]]:
    with open_hdf5(path) as file:
        pixels = dataset(file, key)
        check_image_size(pixels.shape[2], pixels.shape[1], f"{path}: {key!r}")
        for start in range(rows.start, rows.stop, every * FRAMES_AT_ONCE):
            stop = min(start + every * FRAMES_AT_ONCE, rows.stop)
            yield from pixels[start:stop:every]
