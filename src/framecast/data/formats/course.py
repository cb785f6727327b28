"""The course's folders: one folder a sequence, PNG frames beside headerless CSV tables.

    {root}/{train,validate,test}/traj_{a}_to_{b}.tfrecords/{sequence}/{frame}.png
                                                                     /actions.csv
                                                                     /endeffector_positions.csv

Seen in the wild and read here: `validation` or `val`, folders without `.tfrecords`, sequences
numbered from 0 or 1, dot files, no positions at all; and the root may be one split, or hold the
sequences itself. Frames are sorted by number, not by name.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from framecast.data.episodes import Split
from framecast.data.formats.base import RawEpisode, check_image_size, commands
from framecast.data.formats.npz import ASSUMED_FPS, BAIR, POSITION
from framecast.errors import UserError

ACTIONS, POSITIONS = "actions.csv", "endeffector_positions.csv"
SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "validate": "validation",
    "validation": "validation",
    "val": "validation",
    "test": "test",
}
MAX_DEPTH = 4


class CourseReader:
    """The folder that holds the splits, one split, or the sequences."""

    format: ClassVar[str] = "course"

    def __init__(self, path: Path, camera: str | None) -> None:
        self.folders = sorted(_sequences(path), key=_natural)
        if not self.folders:
            raise UserError(f"{path} holds no folder of numbered PNG frames with {ACTIONS}.")
        with_positions = [(folder / POSITIONS).is_file() for folder in self.folders]
        self.has_positions = any(with_positions)
        if self.has_positions and not all(with_positions):
            missing = self.folders[with_positions.index(False)]
            raise UserError(f"{missing} has no {POSITIONS}, which other sequences have.")
        names, units = POSITION if self.has_positions else ((), ())
        self.signals = dataclasses.replace(BAIR, state_names=names, state_units=units)
        self.fps = ASSUMED_FPS
        self.what = f"{len(self.folders)} sequences in the course's folders"
        self.notes = [f"PNG folders name no frame rate: {ASSUMED_FPS:g} a second assumed"]
        if not self.has_positions:
            self.notes.append(f"no {POSITIONS}: the dataset will have no states")
        self.own_splits = self._own_splits(path)

    @staticmethod
    def fits(path: Path) -> bool:
        return path.is_dir() and next(_sequences(path), None) is not None

    def __len__(self) -> int:
        return len(self.folders)

    def read(self, index: int, every: int) -> RawEpisode:
        folder = self.folders[index]
        frames = _frame_files(folder)
        actions = commands(_table(folder / ACTIONS, 4), len(frames), str(folder / ACTIONS))
        states = None
        if self.has_positions:
            states = _table(folder / POSITIONS, 3)
            if len(states) != len(frames):
                raise UserError(
                    f"{folder / POSITIONS}: {len(frames)} frames need as many positions, "
                    f"got {len(states)}."
                )
        return RawEpisode(str(folder), _read_frames(frames[::every]), actions, states)

    def _own_splits(self, root: Path) -> list[Split] | None:
        splits = [
            next((SPLIT_NAMES[part] for part in parts if part in SPLIT_NAMES), None)
            for parts in (folder.relative_to(root).parts for folder in self.folders)
        ]
        known = [split for split in splits if split is not None]
        return known if len(known) == len(splits) else None


def _sequences(root: Path) -> Iterator[Path]:
    """Folders with numbered PNG frames; nothing below such a folder is looked at."""
    depth = len(root.parts)
    for folder, children, files in os.walk(root):
        children[:] = sorted(child for child in children if not child.startswith("."))
        if any(file.endswith(".png") and file[:-4].isdigit() for file in files):
            children.clear()
            yield Path(folder)
        elif len(Path(folder).parts) - depth >= MAX_DEPTH:
            children.clear()


def _natural(path: Path) -> list[tuple[int, str]]:
    """2 before 10, in every part of the path."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in path.parts]


def _frame_files(folder: Path) -> list[Path]:
    files = sorted(
        (file for file in folder.glob("*.png") if file.stem.isdigit()),
        key=lambda file: int(file.stem),
    )
    first = int(files[0].stem)
    for expected, file in enumerate(files, start=first):
        if int(file.stem) != expected:
            raise UserError(f"{folder} has no frame {expected}.png between its others.")
    return files


def _read_frames(files: list[Path]) -> Iterator[NDArray[np.uint8]]:
    size: tuple[int, int] | None = None
    for file in files:
        try:
            with Image.open(file) as image:
                check_image_size(*image.size, str(file))
                frame = np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise UserError(f"{file} is not a picture that can be read ({error}).") from None
        if size is not None and frame.shape[:2] != size:
            raise UserError(
                f"{file} is {frame.shape[1]}x{frame.shape[0]}, but the frames before it are "
                f"{size[1]}x{size[0]}."
            )
        size = frame.shape[0], frame.shape[1]
        yield frame


def _table(path: Path, columns: int) -> NDArray[np.float32]:
    try:
        table = np.loadtxt(path, delimiter=",", ndmin=2, dtype=np.float32)
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing: the course's format needs it beside the frames."
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a table of numbers ({error}).") from None
    if table.shape[1] != columns:
        raise UserError(f"{path}: expected {columns} columns, got {table.shape[1]}.")
    return table
