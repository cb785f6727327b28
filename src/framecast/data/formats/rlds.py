"""RLDS episodes as TFDS writes them: TFRecords with one episode a record.

    {name}-{split}.tfrecord-00000-of-00012

Every feature is a list over the steps, `steps/...`: images are encoded (PNG or JPEG), numbers are
flattened. The action of the last step has no effect.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from framecast.data.episodes import Split
from framecast.data.formats.bair import (
    feature_names,
    features_of,
    first_sound,
    index_files,
    record_files,
)
from framecast.data.formats.base import (
    Keys,
    RawEpisode,
    Signals,
    choose,
    commands,
    kinds_by_name,
    numbered,
)
from framecast.data.formats.example import Values
from framecast.data.formats.pictures import decode_picture
from framecast.data.formats.tfrecord import Record
from framecast.data.splits import SPLIT_NAMES, complete
from framecast.errors import UserError

PATTERN = "*.tfrecord*"
OBSERVATION, ACTION = "steps/observation/", "steps/action"
CAMERAS = ("image", "image_primary", "image_0", "rgb")
STATES = ("state", "proprio", "end_effector_state", "eef_state")
PICTURE_STARTS = (b"\x89PNG", b"\xff\xd8\xff")
ASSUMED_FPS = 10.0


class RldsReader:
    """A file, or the folder of a TFDS version."""

    format: ClassVar[str] = "rlds"

    def __init__(self, path: Path, keys: Keys) -> None:
        self.records, self.faults = index_files(record_files(path, PATTERN))
        first = first_sound(self.records)
        self.camera = choose(keys.camera, _cameras(first), CAMERAS, "camera")
        self.frames_hint = len(first[OBSERVATION + self.camera])
        self.action_keys = _action_keys(first, keys.action, self.frames_hint)
        self.state_key = _state_key(first, keys.state, self.frames_hint)
        self.signals = self._signals(first)
        self.fps = ASSUMED_FPS
        self.what = f"{len(self.records)} RLDS episodes, camera {self.camera!r}"
        self.notes = [
            f"RLDS names no frame rate: {ASSUMED_FPS:g} a second assumed",
            f"action from {', '.join(self.action_keys)}; state from {self.state_key or 'nothing'}",
        ]
        self.own_splits = self._own_splits()

    @staticmethod
    def fits(path: Path) -> bool:
        names = feature_names(path, PATTERN)
        return names is not None and any(name.startswith("steps/") for name in names)

    def __len__(self) -> int:
        return len(self.records)

    def read(self, index: int, every: int) -> RawEpisode:
        record = self.records[index]
        features = features_of(record)
        key = OBSERVATION + self.camera
        pictures = features.get(key)
        if not isinstance(pictures, list) or not pictures:
            raise UserError(f"{record} has no pictures {key!r}.")
        actions = _table(features, self.action_keys, len(pictures), record)
        states = (
            _table(features, [OBSERVATION + self.state_key], len(pictures), record)
            if self.state_key
            else None
        )
        return RawEpisode(
            str(record),
            _decoded(pictures[::every], f"{record}: {key!r}"),
            commands(actions, len(pictures), str(record)),
            states,
        )

    def _signals(self, first: Mapping[str, Values]) -> Signals:
        num_frames = self.frames_hint
        action_names: list[str] = []
        for key in self.action_keys:
            size = len(first[key]) // num_frames
            short = key.removeprefix("steps/").removeprefix("action/")
            action_names += (short,) if size == 1 else numbered(short, size)
        num_states = len(first[OBSERVATION + self.state_key]) // num_frames if self.state_key else 0
        names = tuple(action_names)
        return Signals(
            names,
            ("1",) * len(names),
            kinds_by_name(names, "target"),
            numbered(self.state_key or "state", num_states),
            ("1",) * num_states,
        )

    def _own_splits(self) -> list[Split] | None:
        names = [record.path.name.split(".tfrecord")[0] for record in self.records]
        return complete([SPLIT_NAMES.get(name.rpartition("-")[2]) for name in names])


def _cameras(features: Mapping[str, Values]) -> list[str]:
    return sorted(
        key.removeprefix(OBSERVATION)
        for key, values in features.items()
        if key.startswith(OBSERVATION)
        and isinstance(values, list)
        and values
        and bytes(values[0][:4]).startswith(PICTURE_STARTS)
    )


def _is_table(values: Values | None, num_frames: int) -> bool:
    return (
        isinstance(values, np.ndarray)
        and values.dtype == np.float32
        and len(values) > 0
        and len(values) % num_frames == 0
    )


def _action_keys(features: Mapping[str, Values], wanted: str | None, num_frames: int) -> list[str]:
    """One feature, or the parts of a dictionary `steps/action/...`, sorted by name."""
    tables = [key for key, values in features.items() if _is_table(values, num_frames)]
    if wanted is not None:
        return [choose(wanted, tables, (), "action")]
    if ACTION in tables:
        return [ACTION]
    parts = sorted(key for key in tables if key.startswith(ACTION + "/"))
    if not parts:
        raise UserError(f"There is no {ACTION!r} of numbers; there is {', '.join(sorted(tables))}.")
    return parts


def _state_key(features: Mapping[str, Values], wanted: str | None, num_frames: int) -> str | None:
    tables = [
        key.removeprefix(OBSERVATION)
        for key, values in features.items()
        if key.startswith(OBSERVATION) and _is_table(values, num_frames)
    ]
    if wanted is not None:
        return choose(wanted, tables, (), "state")
    return next((key for key in STATES if key in tables), None)


def _table(
    features: Mapping[str, Values], keys: list[str], num_frames: int, record: Record
) -> NDArray[np.float32]:
    columns = []
    for key in keys:
        values = features.get(key)
        if not isinstance(values, np.ndarray) or not _is_table(values, num_frames):
            count = "none" if values is None else str(len(values))
            raise UserError(
                f"{record}: the numbers of {key!r} should be a multiple of its {num_frames} "
                f"steps, got {count}."
            )
        columns.append(values.reshape(num_frames, -1))
    return np.concatenate(columns, axis=1).astype(np.float32)


def _decoded(pictures: list[memoryview], where: str) -> Iterator[NDArray[np.uint8]]:
    for picture in pictures:
        yield decode_picture(io.BytesIO(picture), where)
