"""The course's folders: one folder a sequence, PNG frames beside headerless CSV tables.

    {root}/{train,validate,test}/traj_{a}_to_{b}.tfrecords/{sequence}/{frame}.png
                                                                     /actions.csv
                                                                     /endeffector_positions.csv

Seen in the wild and read here: `validation` or `val`, folders without `.tfrecords`, sequences
numbered from 0 or 1, dot files, no positions or no tables at all; and the root may be one split,
or hold the sequences itself. Frames are sorted by number, not by name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from framecast.data.formats.bair import ASSUMED_FPS, BAIR, POSITION, natural
from framecast.data.formats.base import (
    Keys,
    RawEpisode,
    Signals,
    commands,
    kinds_by_name,
    numbered,
    require_inside,
)
from framecast.data.formats.pictures import decode_picture
from framecast.data.splits import complete, split_of
from framecast.errors import UserError

ACTIONS, POSITIONS = "actions.csv", "endeffector_positions.csv"
MAX_DEPTH = 4
MAX_TABLE_BYTES = 2**26
MAX_LINE_BYTES = 2**16
STRETCHED_FRAMES = 8
LARGEST = float(np.finfo(np.float32).max)


class CourseReader:
    """The folder that holds the splits, one split, or the sequences."""

    format: ClassVar[str] = "course"

    def __init__(self, path: Path, keys: Keys) -> None:
        self.root = path
        self.folders = sorted(_sequences(path), key=natural)
        if not self.folders:
            raise UserError(f"{path} holds no folder of numbered PNG frames with {ACTIONS}.")
        self.num_actions = self._num_columns(ACTIONS)
        self.num_states = self._num_columns(POSITIONS)
        self.signals = _signals(self.num_actions, self.num_states)
        self.frames_hint = len(_frame_names(self.folders[0]))
        self.fps = ASSUMED_FPS
        self.what = f"{len(self.folders)} sequences in the course's folders"
        self.notes = [f"PNG folders name no frame rate: {ASSUMED_FPS:g} a second assumed"]
        if not self.num_actions:
            self.notes.append(f"no {ACTIONS} anywhere: the dataset will have no actions")
        if not self.num_states:
            self.notes.append(f"no {POSITIONS}: the dataset will have no states")
        if _looks_stretched(self.folders[0]):
            self.notes.append(
                "every frame spans exactly 0..255: an old converter stretched each frame to its "
                "own range, so these pixels are not those of the recording"
            )
        self.faults: list[str] = []
        places = [folder.relative_to(path) / "0.png" for folder in self.folders]
        self.own_splits = complete([split_of(place) for place in places])

    @staticmethod
    def fits(path: Path) -> bool:
        return path.is_dir() and next(_sequences(path), None) is not None

    def __len__(self) -> int:
        return len(self.folders)

    def read(self, index: int, every: int) -> RawEpisode:
        folder = self.folders[index]
        frames = _frame_files(folder)
        actions, states = None, None
        if self.num_actions:
            table = folder / ACTIONS
            actions = commands(self._table(table, self.num_actions), len(frames), str(table))
        if self.num_states:
            states = self._table(folder / POSITIONS, self.num_states)
            if len(states) != len(frames):
                raise UserError(
                    f"{folder / POSITIONS}: {len(frames)} frames need as many positions, "
                    f"got {len(states)}."
                )
        return RawEpisode(str(folder), self._frames(frames[::every]), actions, states)

    def _num_columns(self, name: str) -> int:
        """Columns of the first table of that name; 0 where there is none."""
        tables = (folder / name for folder in self.folders)
        found = next((table for table in tables if table.is_file()), None)
        if found is None:
            return 0
        require_inside(self.root, found)
        with found.open("rb") as file:
            return file.readline(MAX_LINE_BYTES).count(b",") + 1

    def _table(self, path: Path, columns: int) -> NDArray[np.float32]:
        if not path.is_file():
            raise UserError(f"{path} is missing, though other sequences have it beside the frames.")
        require_inside(self.root, path)
        return read_table(path, columns)

    def _frames(self, files: list[Path]) -> Iterator[NDArray[np.uint8]]:
        size: tuple[int, ...] | None = None
        for file in files:
            if file.is_symlink():
                require_inside(self.root, file)
            frame = decode_picture(file, str(file))
            if size is not None and frame.shape[:2] != size:
                raise UserError(
                    f"{file} is {frame.shape[1]}x{frame.shape[0]}, but the frames before it are "
                    f"{size[1]}x{size[0]}."
                )
            size = frame.shape[:2]
            yield frame


def _sequences(root: Path) -> Iterator[Path]:
    """Folders with numbered PNG frames; nothing below such a folder is looked at."""
    depth = len(root.parts)
    for folder, children, files in os.walk(root):
        children[:] = sorted(child for child in children if not child.startswith("."))
        if any(file.endswith(".png") and file[:-4].isdecimal() for file in files):
            children.clear()
            yield Path(folder)
        elif len(Path(folder).parts) - depth >= MAX_DEPTH:
            children.clear()


def _signals(num_actions: int, num_states: int) -> Signals:
    """The names of BAIR where the sizes are BAIR's."""
    names, units = numbered("action", num_actions), ("1",) * num_actions
    kinds = kinds_by_name(names, "displacement")
    if num_actions == len(BAIR.action_names):
        names, units, kinds = BAIR.action_names, BAIR.action_units, BAIR.action_kinds
    state = numbered("state", num_states), ("1",) * num_states
    return Signals(names, units, kinds, *(POSITION if num_states == 3 else state))


def _frame_names(folder: Path) -> list[str]:
    stems = (name[:-4] for name in os.listdir(folder) if name.endswith(".png"))
    numbers = sorted((stem for stem in stems if stem.isdecimal()), key=int)
    return [f"{number}.png" for number in numbers]


def _frame_files(folder: Path) -> list[Path]:
    names = _frame_names(folder)
    for expected, name in enumerate(names, start=int(names[0][:-4])):
        if int(name[:-4]) != expected:
            raise UserError(f"{folder} has no frame {expected}.png between its others.")
    return [folder / name for name in names]


def _looks_stretched(folder: Path) -> bool:
    files = [folder / name for name in _frame_names(folder)[:STRETCHED_FRAMES]]
    try:
        frames = [decode_picture(file, str(file)) for file in files]
    except UserError:
        return False
    spans = {(int(frame.min()), int(frame.max())) for frame in frames}
    return len(frames) == STRETCHED_FRAMES and spans == {(0, 255)}


def read_table(path: Path, columns: int) -> NDArray[np.float32]:
    """A headerless CSV of numbers. Raises UserError that names the line at fault."""
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise UserError(f"{path} is larger than any table of a sequence.")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text ({error}).") from None
    while lines and not lines[-1].strip():
        lines.pop()
    rows = [
        _row(line, columns, f"{path}, line {number}") for number, line in enumerate(lines, start=1)
    ]
    return np.array(rows, np.float32).reshape(len(rows), columns)


def _row(line: str, columns: int, where: str) -> list[float]:
    cells = line.split(",")
    if len(cells) != columns:
        raise UserError(f"{where}: expected {columns} columns, got {len(cells)}.")
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        raise UserError(
            f"{where} is not {columns} numbers: {line[:60]!r}. The tables have no header line."
        ) from None
    if not all(abs(number) <= LARGEST for number in numbers):
        raise UserError(f"{where} holds a value that is not finite: {line[:60]!r}.")
    return numbers
