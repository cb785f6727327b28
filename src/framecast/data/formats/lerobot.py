"""LeRobotDataset v2.1: a parquet table and an mp4 an episode, described by meta/info.json.

A video one frame longer than its table is known from public datasets and read; any other
difference is a fault.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from framecast.data.episodes import Split
from framecast.data.formats.base import Keys, RawEpisode, commands
from framecast.data.formats.lerobot_meta import (
    MAX_JSON_BYTES,
    LeRobotMeta,
    numbers,
    read_table,
    read_version,
)
from framecast.data.formats.video import decode
from framecast.errors import UserError

VERSIONS = ("v2.0", "v2.1")
FIELDS = frozenset({"episode_chunk", "episode_index", "video_key"})


class LeRobotReader:
    """A dataset folder with meta/info.json."""

    format: ClassVar[str] = "lerobot-v2.1"

    def __init__(self, path: Path, keys: Keys) -> None:
        self.meta = LeRobotMeta(path, keys, FIELDS)
        version = self.meta.info.get("codebase_version")
        if version not in VERSIONS:
            raise UserError(
                f"{path} is a LeRobot dataset of version {version}; this framecast reads "
                f"{', '.join(VERSIONS)} and v3.0."
            )
        self.lengths = _episode_lengths(path / "meta" / "episodes.jsonl")
        self.fps, self.signals = self.meta.fps, self.meta.signals
        self.frames_hint = int(np.median([length for _, length in self.lengths]))
        self.what = (
            f"LeRobot {version}, {len(self.lengths)} episodes of "
            f"{self.meta.info.get('robot_type')}, camera {self.meta.camera!r}"
        )
        self.notes = self.meta.notes
        self.faults: list[str] = []
        self.own_splits: list[Split] | None = self.meta.splits(
            [number for number, _ in self.lengths]
        )

    @staticmethod
    def fits(path: Path) -> bool:
        return (path / "meta" / "info.json").is_file() and not read_version(path).startswith("v3")

    def __len__(self) -> int:
        return len(self.lengths)

    def read(self, index: int, every: int) -> RawEpisode:
        number, length = self.lengths[index]
        table_path = self._path("data_path", number)
        table = read_table(table_path, self.meta.columns)
        if len(table) != length:
            raise UserError(
                f"{table_path} has {len(table)} rows, but meta/episodes.jsonl says {length}."
            )
        actions = numbers(table, self.meta.action_key, table_path)
        states = numbers(table, self.meta.state_key, table_path) if self.meta.state_key else None
        if self.meta.has_videos:
            frames = self._frames(self._path("video_path", number), table_path, length, every)
        else:
            pictures = table.column(self.meta.camera).combine_chunks()[::every]
            frames = self.meta.pictures(pictures, str(table_path))
        return RawEpisode(
            f"episode {number}", frames, commands(actions, length, str(table_path)), states
        )

    def _frames(
        self, path: Path, table_path: Path, num_rows: int, every: int
    ) -> Iterator[NDArray[np.uint8]]:
        count = 0
        for _, frame in decode(path, str(path)):
            if count % every == 0 and count < num_rows:
                yield frame
            count += 1
        if count == num_rows + 1:
            self.notes.append(f"{path.name}: one frame more than the table has rows, left out")
        elif count != num_rows:
            raise UserError(
                f"{path} has {count} frames, but its table {table_path} has {num_rows} rows. "
                "One of them was cut off; leave the episode out or fetch it again."
            )

    def _path(self, template: str, number: int) -> Path:
        size = self.meta.info.get("chunks_size")
        chunk = number // (size if isinstance(size, int) and size > 0 else 1000)
        return self.meta.path(template, episode_chunk=chunk, episode_index=number)


def _episode_lengths(path: Path) -> list[tuple[int, int]]:
    lengths = []
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise UserError(f"{path} is larger than any list of episodes.")
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip():
                episode = json.loads(line)
                lengths.append((int(episode["episode_index"]), int(episode["length"])))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is not a list of episodes ({error!r}).") from None
    if not lengths or min(min(pair) for pair in lengths) < 0:
        raise UserError(f"{path} names no usable episode.")
    return lengths
