"""A folder of plain videos: no actions, no states, only frames.

Splits are kept where the folders below the root are called train, validation and test, or where
the files are named as in KTH (`person07_walking_d2_uncomp.avi`): there the persons 21 to 25 test,
as in the SVG paper.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from framecast.data.episodes import Split
from framecast.data.formats.bair import natural
from framecast.data.formats.base import Keys, RawEpisode, Signals, require_inside
from framecast.data.formats.video import VideoFacts, decode, look_at
from framecast.data.splits import complete, split_of
from framecast.errors import UserError

SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".gif"}
KTH_NAME = re.compile(r"person(\d\d)_\w+_d\d.*")
KTH_FIRST_TEST_PERSON = 21
LOOKED_AT = 64
ASSUMED_FPS = 25.0


class VideoFolderReader:
    """A video, or the folder that holds videos at any depth."""

    format: ClassVar[str] = "videos"

    def __init__(self, path: Path, keys: Keys) -> None:
        self.root = path
        self.files = sorted(_videos(path), key=natural)
        if not self.files:
            raise UserError(f"{path} holds no video ({', '.join(sorted(SUFFIXES))}).")
        file, facts = self._first()
        self.signals = Signals((), (), ())
        self.fps = round(facts.fps, 3) or ASSUMED_FPS
        self.frames_hint = max(facts.num_frames, 1)
        self.what = f"{len(self.files)} videos such as {file.name} ({facts.codec}), no actions"
        self.notes = ["videos hold no actions: models of this data predict from frames alone"]
        self.faults: list[str] = []
        self.own_splits = self._own_splits()

    @staticmethod
    def fits(path: Path) -> bool:
        return next(iter(_videos(path)), None) is not None

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int, every: int) -> RawEpisode:
        """The number of actions is known when the video has been read: none has any width."""
        file = self.files[index]
        require_inside(self.root, file)
        fps = look_at(file).fps
        if fps and abs(fps - self.fps) > 0.01 * self.fps:
            raise UserError(f"{file} has {fps:g} frames a second, others have {self.fps:g}.")
        return RawEpisode(str(file), _frames(file, every), None, None)

    def _first(self) -> tuple[Path, VideoFacts]:
        fault: UserError | None = None
        for file in self.files[:LOOKED_AT]:
            try:
                return file, look_at(file)
            except UserError as error:
                fault = fault or error
        assert fault is not None
        raise fault

    def _own_splits(self) -> list[Split] | None:
        return complete([_split(file, self.root) for file in self.files])


def _frames(file: Path, every: int) -> Iterator[NDArray[np.uint8]]:
    for number, (_, frame) in enumerate(decode(file, str(file))):
        if number % every == 0:
            yield frame


def _videos(path: Path) -> Iterator[Path]:
    if path.is_file():
        if path.suffix.lower() in SUFFIXES:
            yield path
        return
    for folder, children, files in os.walk(path):
        children[:] = [child for child in children if not child.startswith(".")]
        for name in files:
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield Path(folder, name)


def _split(file: Path, root: Path) -> Split | None:
    named = None if file == root else split_of(file.relative_to(root))
    if named is not None:
        return named
    match = KTH_NAME.fullmatch(file.stem)
    if match is None:
        return None
    return "test" if int(match[1]) >= KTH_FIRST_TEST_PERSON else "train"
