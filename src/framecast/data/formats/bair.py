"""BAIR robot pushing as published: TFRecords of raw 64x64 frames, commands and positions.

    softmotion30_44k/{train,test}/traj_{a}_to_{b}.tfrecords

Every record is one sequence. For frame i it has `{i}/{camera}/encoded` (raw RGB bytes, no PNG),
`{i}/action` (dx, dy, close_nstep, up_nstep) and `{i}/endeffector_pos` (x, y, z). Papers use the
camera `image_aux1`. The test folder is the test split; of the training files, papers set
`traj_256_to_511` apart for validation.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from framecast.data.episodes import Split
from framecast.data.formats.base import (
    Keys,
    RawEpisode,
    Signals,
    choose,
    commands,
    kinds_by_name,
    numbered,
)
from framecast.data.formats.example import MalformedError, Values, parse_example
from framecast.data.formats.tfrecord import Record, index_records
from framecast.data.splits import split_of
from framecast.errors import UserError

BAIR = Signals(
    action_names=("dx", "dy", "close_nstep", "up_nstep"),
    action_units=("m", "m", "1", "1"),
    action_kinds=("displacement", "displacement", "target", "target"),
)
POSITION = (("x", "y", "z"), ("m", "m", "m"))
ASSUMED_FPS = 5.0
BAIR_CAMERA = "image_aux1"
ACTION_KEY, STATE_KEY = "action", "endeffector_pos"
VALIDATION_FILE = "traj_256_to_511"
IMAGE_KEY = re.compile(r"0/(.+)/encoded")
LOOKED_AT = 64  # records that may be broken before the first sound one


class BairReader:
    """A file, or the folder that holds the files."""

    format: ClassVar[str] = "bair"

    def __init__(self, path: Path, keys: Keys) -> None:
        self.records, self.faults = index_files(record_files(path, "*.tfrecords"))
        first = first_sound(self.records)
        self.camera = choose(keys.camera, _cameras(first), (BAIR_CAMERA,), "camera")
        self.action_key = keys.action or ACTION_KEY
        self.state_key = keys.state or STATE_KEY
        self.signals = self._signals(first)
        self.frames_hint = _num_frames(first, self.camera)
        self.fps = ASSUMED_FPS
        self.what = f"{len(self.records)} BAIR sequences in TFRecords, camera {self.camera!r}"
        self.notes = [f"TFRecords name no frame rate: {ASSUMED_FPS:g} a second assumed"]
        self.own_splits = _splits(path, self.records)

    @staticmethod
    def fits(path: Path) -> bool:
        names = feature_names(path, "*.tfrecords")
        return names is not None and (not names or any(map(IMAGE_KEY.fullmatch, names)))

    def __len__(self) -> int:
        return len(self.records)

    def read(self, index: int, every: int) -> RawEpisode:
        record = self.records[index]
        features = features_of(record)
        num_frames = _num_frames(features, self.camera)
        frames = [
            _image(features, f"{step}/{self.camera}/encoded", record) for step in range(num_frames)
        ]
        if not frames:
            raise UserError(f"{record} has no frame of the camera {self.camera!r}.")
        actions = self._numbers(features, self.action_key, self.signals.action_names, record)
        states = self._numbers(features, self.state_key, self.signals.state_names, record)
        return RawEpisode(
            str(record),
            iter(frames[::every]),
            commands(actions, num_frames, str(record)),
            states if self.signals.state_names else None,
        )

    def _signals(self, first: Mapping[str, Values]) -> Signals:
        num_actions, num_states = (
            len(first.get(f"0/{key}", ())) for key in (self.action_key, self.state_key)
        )
        signals = BAIR
        if num_actions != len(BAIR.action_names):
            names = numbered("action", num_actions)
            signals = Signals(names, ("1",) * num_actions, kinds_by_name(names, "displacement"))
        names, units = numbered("state", num_states), ("1",) * num_states
        if num_states == len(POSITION[0]):
            names, units = POSITION
        return dataclasses.replace(signals, state_names=names, state_units=units)

    def _numbers(
        self, features: Mapping[str, Values], key: str, names: tuple[str, ...], record: Record
    ) -> NDArray[np.float32]:
        """Rows (T, N), one a frame; commands may stop one frame earlier."""
        rows = []
        num_frames = _num_frames(features, self.camera)
        for step in range(num_frames):
            row = features.get(f"{step}/{key}")
            if row is None and key == self.action_key and step == num_frames - 1:
                break
            if names and not (isinstance(row, np.ndarray) and len(row) == len(names)):
                got = "nothing" if row is None else f"{len(row)} values"
                raise UserError(
                    f"{record}: expected {len(names)} numbers in '{step}/{key}', got {got}."
                )
            rows.append(row if names else ())
        if names and f"{num_frames}/{key}" in features:
            raise UserError(f"{record} has {num_frames} frames, but a '{num_frames}/{key}' too.")
        return np.array(rows, np.float32).reshape(len(rows), len(names))


def record_files(path: Path, pattern: str) -> list[Path]:
    """The file, or the files of that name below the folder, 2 before 10."""
    if path.is_file():
        return [path]
    files = (file for file in path.rglob(pattern) if not file.name.startswith("."))
    return sorted((file for file in files if file.is_file()), key=natural)


def index_files(files: list[Path]) -> tuple[list[Record], list[str]]:
    """The records of all files, and the faults of those that cannot be followed to their end."""
    records: list[Record] = []
    faults: list[str] = []
    for file in files:
        try:
            found, fault = index_records(file)
        except OSError as error:
            found, fault = [], f"{file} cannot be read ({error.strerror})."
        records += found
        faults += [fault] if fault else []
    if not records:
        raise UserError(faults[0] if faults else "There is no record in the files.")
    return records, faults


def features_of(record: Record) -> dict[str, Values]:
    try:
        return parse_example(record.read())
    except MalformedError as error:
        raise UserError(f"{record} is not a tf.train.Example: {error}.") from None


def first_sound(records: list[Record]) -> dict[str, Values]:
    """The features of the first record that can be read, to learn its columns from."""
    fault: UserError | None = None
    for record in records[:LOOKED_AT]:
        try:
            return features_of(record)
        except UserError as error:
            fault = fault or error
    assert fault is not None
    raise fault


def feature_names(path: Path, pattern: str) -> list[str] | None:
    """Names in the first sound record: none where all are broken, None where there is no file."""
    if path.is_file() and ".tfrecord" not in path.name:
        return None
    files = record_files(path, pattern)
    for file in files:
        with contextlib.suppress(OSError, UserError):
            records, _ = index_records(file)
            if records:
                return list(first_sound(records))
    return [] if files else None


def natural(path: Path) -> list[tuple[int, str]]:
    """Sorts 2 before 10, wherever the number stands."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _cameras(features: Mapping[str, Values]) -> list[str]:
    return [match[1] for match in map(IMAGE_KEY.fullmatch, features) if match]


def _num_frames(features: Mapping[str, Values], camera: str) -> int:
    """Frames up to the last one there is: a gap is met, and named, when its image is read."""
    suffix = f"/{camera}/encoded"
    steps = (key.removesuffix(suffix) for key in features if key.endswith(suffix))
    return max((int(step) + 1 for step in steps if step.isdecimal() and len(step) < 6), default=0)


def _image(features: Mapping[str, Values], key: str, record: Record) -> NDArray[np.uint8]:
    values = features.get(key)
    if not isinstance(values, list) or len(values) != 1:
        raise UserError(f"{record} has no image {key!r}.")
    side = math.isqrt(len(values[0]) // 3)
    if not side or side * side * 3 != len(values[0]):
        raise UserError(
            f"{record}: the image {key!r} has {len(values[0])} bytes; "
            "a raw RGB one of 64x64 has 12288."
        )
    return np.frombuffer(values[0], np.uint8).reshape(side, side, 3)


def _splits(root: Path, records: list[Record]) -> list[Split] | None:
    """As papers split BAIR, or by the folders where there is one for validation."""
    if root.is_file():
        return None
    paths = [record.path.relative_to(root) for record in records]
    splits = [split_of(path) or "train" for path in paths]
    if "validation" not in splits:
        splits = [
            "validation" if path.name.startswith(VALIDATION_FILE) and split == "train" else split
            for path, split in zip(paths, splits, strict=True)
        ]
    return splits if {"train"} < set(splits) else None
