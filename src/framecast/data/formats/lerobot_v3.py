"""LeRobotDataset v3.0: many episodes a parquet file and a video file, found by meta/episodes.

A frame's time in its video is the episode's `from_timestamp` plus the row's `timestamp`: every
decoded frame is checked against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow
from numpy.typing import NDArray

from framecast.data.episodes import Split
from framecast.data.formats.base import Keys, RawEpisode, commands
from framecast.data.formats.lerobot_meta import LeRobotMeta, numbers, read_table, read_version
from framecast.data.formats.video import decode
from framecast.errors import UserError

FIELDS = frozenset({"chunk_index", "file_index", "video_key"})
ROW_COLUMNS = ["timestamp", "episode_index"]


@dataclass(frozen=True)
class _Place:
    """Where an episode lies: rows `first` to `last` of the whole dataset, in which files."""

    number: int
    first: int
    last: int
    data: tuple[int, int]
    video: tuple[int, int]
    start: float

    @property
    def length(self) -> int:
        return self.last - self.first


class LeRobotV3Reader:
    """A dataset folder with meta/info.json of version v3.0."""

    format: ClassVar[str] = "lerobot-v3.0"

    def __init__(self, path: Path, keys: Keys) -> None:
        self.meta = LeRobotMeta(path, keys, FIELDS)
        self.places = _places(path / "meta" / "episodes", self.meta)
        self.file_starts: dict[tuple[int, int], int] = {}
        for place in self.places:
            known = self.file_starts.get(place.data, place.first)
            self.file_starts[place.data] = min(known, place.first)
        self.fps, self.signals = self.meta.fps, self.meta.signals
        self.frames_hint = int(np.median([place.length for place in self.places]))
        self.what = (
            f"LeRobot {self.meta.info.get('codebase_version')}, {len(self.places)} episodes of "
            f"{self.meta.info.get('robot_type')}, camera {self.meta.camera!r}"
        )
        self.notes = self.meta.notes
        self.faults: list[str] = []
        self.own_splits: list[Split] | None = self.meta.splits(
            [place.number for place in self.places]
        )
        self._last: tuple[Path, pyarrow.Table] | None = None

    @staticmethod
    def fits(path: Path) -> bool:
        return (path / "meta" / "info.json").is_file() and read_version(path).startswith("v3")

    def __len__(self) -> int:
        return len(self.places)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_last": None}

    def read(self, index: int, every: int) -> RawEpisode:
        place = self.places[index]
        path = self.meta.path("data_path", chunk_index=place.data[0], file_index=place.data[1])
        name = f"{path}, episode {place.number}"
        start = place.first - self.file_starts[place.data]
        table = self._table(path).slice(start, place.length)
        episodes = table.column("episode_index").to_numpy()
        if len(table) != place.length or not (episodes == place.number).all():
            raise UserError(f"{name} should be the {place.length} rows from {start}; it is not.")
        actions = numbers(table, self.meta.action_key, path)
        states = numbers(table, self.meta.state_key, path) if self.meta.state_key else None
        if self.meta.has_videos:
            frames = self._frames(place, table.column("timestamp").to_numpy(), every)
        else:
            pictures = table.column(self.meta.camera).combine_chunks()[::every]
            frames = self.meta.pictures(pictures, name)
        return RawEpisode(
            f"episode {place.number}", frames, commands(actions, place.length, name), states
        )

    def _table(self, path: Path) -> pyarrow.Table:
        """Episodes come in order, so one file is kept at hand."""
        if self._last is None or self._last[0] != path:
            self._last = path, read_table(path, [*self.meta.columns, *ROW_COLUMNS])
        return self._last[1]

    def _frames(
        self, place: _Place, times: NDArray[np.floating], every: int
    ) -> Iterator[NDArray[np.uint8]]:
        path = self.meta.path("video_path", chunk_index=place.video[0], file_index=place.video[1])
        name = f"{path}, episode {place.number}"
        count = 0
        for time, frame in decode(path, name, place.start):
            expected = place.start + float(times[count])
            if abs(time - expected) > 0.5 / self.fps:
                raise UserError(
                    f"{name}: row {count} is at {expected:.3f} s, the video's frame at {time:.3f}."
                )
            if count % every == 0:
                yield frame
            count += 1
            if count == place.length:
                return
        raise UserError(f"{name} has {count} frames, but its table has {place.length} rows.")


def _places(folder: Path, meta: LeRobotMeta) -> list[_Place]:
    video = f"videos/{meta.camera}/"
    data_columns = ["episode_index", "dataset_from_index", "dataset_to_index"]
    data_columns += ["data/chunk_index", "data/file_index"]
    video_columns = [video + name for name in ("chunk_index", "file_index", "from_timestamp")]
    places = []
    for file in sorted(folder.rglob("*.parquet")):
        table = read_table(file, data_columns + (video_columns if meta.has_videos else []))
        for row in table.to_pylist():
            if any(value is None for value in row.values()):
                raise UserError(f"{file}: episode {row['episode_index']} has a null among {row}.")
            place = _place(row, video, file)
            if not 0 <= place.first < place.last:
                raise UserError(
                    f"{file}: episode {place.number} has the rows {place.first} to {place.last}."
                )
            places.append(place)
    if not places:
        raise UserError(f"{folder} names no episode.")
    return places


def _place(row: dict[str, Any], video: str, file: Path) -> _Place:
    try:
        return _Place(
            *(int(row["episode_index"]), int(row["dataset_from_index"])),
            *(int(row["dataset_to_index"]),),
            data=(int(row["data/chunk_index"]), int(row["data/file_index"])),
            video=(int(row.get(video + "chunk_index", 0)), int(row.get(video + "file_index", 0))),
            start=float(row.get(video + "from_timestamp", 0.0)),
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{file} does not say where its episodes lie ({error}).") from None
