"""Readers of recordings, one format a file, and the choice among them."""

from __future__ import annotations

from pathlib import Path

from framecast.data.formats.base import Reader
from framecast.data.formats.course import CourseReader
from framecast.data.formats.lerobot import LeRobotReader
from framecast.data.formats.npz import NpzReader
from framecast.errors import UserError

READERS: tuple[type[Reader], ...] = (LeRobotReader, NpzReader, CourseReader)
FORMATS = tuple(reader.format for reader in READERS)


def open_recordings(path: Path, format: str | None, camera: str | None) -> Reader:
    """The reader of a path, by name or the first that fits.

    Raises UserError when there is nothing, or nothing that is known.
    """
    if not path.exists():
        raise UserError(f"There is nothing at {path}.")
    if path.is_dir() and next(path.iterdir(), None) is None:
        raise UserError(f"{path} is an empty folder; there is nothing to import.")
    for reader in READERS:
        if reader.format == format or (format is None and reader.fits(path)):
            return reader(path, camera)
    raise UserError(
        f"{path} is none of the formats that framecast reads: a LeRobot v2.1 folder "
        "(meta/info.json), .npz episodes, or folders of numbered PNG frames with actions.csv. "
        "Name one with --format if it is one of them all the same."
    )
