"""Readers of recordings, one format a file, and the choice among them."""

from __future__ import annotations

from pathlib import Path

from framecast.data.formats.bair import BairReader
from framecast.data.formats.base import Keys, Reader
from framecast.data.formats.course import CourseReader
from framecast.data.formats.lerobot import LeRobotReader
from framecast.data.formats.lerobot_v3 import LeRobotV3Reader
from framecast.data.formats.npz import NpzReader
from framecast.data.formats.rlds import RldsReader
from framecast.data.formats.robonet import RoboNetReader
from framecast.data.formats.store import StoreReader
from framecast.data.formats.swm import SwmReader
from framecast.data.formats.video_folder import VideoFolderReader
from framecast.errors import UserError

# In the order in which they are tried: a LeRobot folder holds videos too, and the course's folders
# hold more than a million files, which only its own reader knows to stop looking through.
READERS: tuple[type[Reader], ...] = (
    LeRobotV3Reader,
    LeRobotReader,
    NpzReader,
    CourseReader,
    BairReader,
    RldsReader,
    StoreReader,
    SwmReader,
    RoboNetReader,
    VideoFolderReader,
)
FORMATS = tuple(reader.format for reader in READERS)


def open_recordings(path: Path, format: str | None = None, keys: Keys | None = None) -> Reader:
    """The reader of a path, by name or the first that fits.

    Raises UserError when there is nothing, or nothing that is known.
    """
    if not path.exists():
        raise UserError(f"There is nothing at {path}.")
    if path.is_dir() and next(path.iterdir(), None) is None:
        raise UserError(f"{path} is an empty folder; there is nothing to import.")
    for reader in READERS:
        if reader.format == format or (format is None and reader.fits(path)):
            return reader(path, keys or Keys())
    raise UserError(
        f"{path} is none of the formats that framecast reads: {', '.join(FORMATS)}. "
        "Name one with --format if it is one of them all the same."
    )
