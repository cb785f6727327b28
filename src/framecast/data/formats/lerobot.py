"""LeRobotDataset v2.1: a parquet table and an mp4 an episode, described by meta/info.json.

Files are found by the templates in info.json, never outside the dataset's folder. A video one
frame longer than its table is known from public datasets and read; any other difference is a
fault.
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from framecast.data.episodes import Split
from framecast.data.formats.base import (
    ActionKind,
    RawEpisode,
    Signals,
    check_image_size,
    commands,
    numbered,
)
from framecast.errors import UserError

VERSIONS = ("v2.0", "v2.1")
ACTION_KEYS = ("action", "actions")
STATE_KEYS = ("observation.state", "state")
TEMPLATE_FIELDS = {"episode_chunk", "episode_index", "video_key"}
MAX_JSON_BYTES = 2**28


class LeRobotReader:
    """A dataset folder with meta/info.json."""

    format: ClassVar[str] = "lerobot-v2.1"
    own_splits: list[Split] | None = None

    def __init__(self, path: Path, camera: str | None) -> None:
        self.root = path
        self.info = _json(path / "meta" / "info.json")
        version = self.info.get("codebase_version")
        if version not in VERSIONS:
            raise UserError(
                f"{path} is a LeRobot dataset of version {version}; this framecast reads "
                f"{' and '.join(VERSIONS)}."
            )
        features = self._need("features", dict)
        self.camera = _camera(features, camera, path)
        self.action_key = _first_of(ACTION_KEYS, features)
        if self.action_key is None:
            raise UserError(f"{path} has no action feature; it has {', '.join(features)}.")
        self.state_key = _first_of(STATE_KEYS, features)
        self.fps = float(self._need("fps", (int, float)))
        self.lengths = _episode_lengths(path / "meta" / "episodes.jsonl")
        self.signals = _signals(features, self.action_key, self.state_key)
        self.what = (
            f"LeRobot {version}, {len(self.lengths)} episodes of {self.info.get('robot_type')}, "
            f"camera {self.camera!r}"
        )
        self.notes: list[str] = []

    @staticmethod
    def fits(path: Path) -> bool:
        return (path / "meta" / "info.json").is_file()

    def __len__(self) -> int:
        return len(self.lengths)

    def read(self, index: int, every: int) -> RawEpisode:
        number, length = self.lengths[index]
        table_path = self._path("data_path", number)
        table = _columns(table_path, [key for key in (self.action_key, self.state_key) if key])
        rows = table[self.action_key or ""]
        if len(rows) != length:
            raise UserError(
                f"{table_path} has {len(rows)} rows, but meta/episodes.jsonl says {length}."
            )
        states = table[self.state_key] if self.state_key else None
        frames = self._frames(self._path("video_path", number), table_path, len(rows), every)
        return RawEpisode(
            f"episode {number}", frames, commands(rows, len(rows), str(table_path)), states
        )

    def _frames(
        self, path: Path, table_path: Path, num_rows: int, every: int
    ) -> Iterator[NDArray[np.uint8]]:
        count = 0
        try:
            with av.open(str(path)) as container:
                if not container.streams.video:
                    raise UserError(f"{path} holds no video.")
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                check_image_size(stream.width, stream.height, str(path))
                for frame in container.decode(stream):
                    if count % every == 0 and count < num_rows:
                        yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                    count += 1
        except (av.error.FFmpegError, OSError) as error:
            raise UserError(f"{path} is not a video that can be decoded ({error}).") from None
        if count == num_rows + 1:
            self.notes.append(f"{path.name}: one frame more than the table has rows, left out")
        elif count != num_rows:
            raise UserError(
                f"{path} has {count} frames, but its table {table_path} has {num_rows} rows. "
                "One of them was cut off; leave the episode out or fetch it again."
            )

    def _path(self, template: str, number: int) -> Path:
        chunk = number // int(self.info.get("chunks_size") or 1000)
        text = self._need(template, str)
        fields = {field for _, field, _, _ in _template_fields(text) if field}
        if not fields <= TEMPLATE_FIELDS:
            unknown = ", ".join(sorted(fields - TEMPLATE_FIELDS))
            raise UserError(f"{self.root}: {template} {text!r} cannot be filled: {unknown}.")
        try:
            relative = text.format(episode_chunk=chunk, episode_index=number, video_key=self.camera)
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise UserError(
                f"{self.root}: {template} {text!r} cannot be filled ({error})."
            ) from None
        path = self.root / str(relative)
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise UserError(f"{self.root}: {template} {text!r} leads out of the dataset.")
        if not path.is_file():
            raise UserError(
                f"{path} is missing, though meta/episodes.jsonl names episode {number}."
            )
        return path

    def _need(self, key: str, kind: Any) -> Any:
        value = self.info.get(key)
        if not isinstance(value, kind):
            raise UserError(f"{self.root}/meta/info.json has no usable {key!r}.")
        return value


def _template_fields(text: str) -> list[tuple[str, str | None, str | None, str | None]]:
    try:
        return list(string.Formatter().parse(text))
    except ValueError as error:
        return [("", str(error), None, None)]


def _camera(features: dict[str, Any], wanted: str | None, path: Path) -> str:
    cameras = [
        key
        for key, feature in features.items()
        if isinstance(feature, dict) and feature.get("dtype") == "video"
    ]
    if not cameras:
        raise UserError(f"{path} has no video feature; it has {', '.join(features)}.")
    if wanted is None:
        return cameras[0]
    if wanted not in cameras:
        raise UserError(f"{path} has no camera {wanted!r}; it has {', '.join(cameras)}.")
    return wanted


def _signals(features: dict[str, Any], action_key: str, state_key: str | None) -> Signals:
    action_names = _names(features[action_key], "action")
    state_names = _names(features[state_key], "state") if state_key else ()
    kinds: tuple[ActionKind, ...] = tuple(
        "displacement" if "delta" in name.lower() else "target" for name in action_names
    )
    return Signals(
        action_names,
        ("1",) * len(action_names),
        kinds,
        state_names,
        ("1",) * len(state_names),
    )


def _names(feature: dict[str, Any], prefix: str) -> tuple[str, ...]:
    shape = feature.get("shape")
    if not (isinstance(shape, list) and len(shape) == 1 and isinstance(shape[0], int)):
        raise UserError(f"The feature {prefix!r} should be a vector, its shape is {shape}.")
    names = feature.get("names")
    if isinstance(names, dict):
        names = list(names.values())
    while isinstance(names, list) and len(names) == 1 and isinstance(names[0], list):
        names = names[0]
    if isinstance(names, list) and len(names) == shape[0]:
        return tuple(str(name) for name in names)
    return numbered(prefix, shape[0])


def _columns(path: Path, keys: list[str]) -> dict[str, NDArray[np.float32]]:
    try:
        table = pyarrow.parquet.read_table(path, columns=keys)
        columns = {}
        for key in keys:
            rows = table.column(key).combine_chunks()
            width = len(rows[0]) if len(rows) else 0
            columns[key] = np.asarray(rows.flatten(), np.float32).reshape(len(rows), width)
        return columns
    except (pyarrow.ArrowException, OSError, KeyError, ValueError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is not a table with {' and '.join(keys)} ({reason}).") from None


def _episode_lengths(path: Path) -> list[tuple[int, int]]:
    lengths = []
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise UserError(f"{path} is larger than any list of episodes.")
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip():
                episode = json.loads(line)
                lengths.append((int(episode["episode_index"]), int(episode["length"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a list of episodes ({error!r}).") from None
    if not lengths or min(min(pair) for pair in lengths) < 0:
        raise UserError(f"{path} names no usable episode.")
    return lengths


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise UserError(f"{path} is larger than any description of a dataset.")
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not JSON ({error}).") from None
    if not isinstance(document, dict):
        raise UserError(f"{path} should hold an object, got {type(document).__name__}.")
    return document


def _first_of(keys: tuple[str, ...], features: dict[str, Any]) -> str | None:
    return next((key for key in keys if key in features), None)
