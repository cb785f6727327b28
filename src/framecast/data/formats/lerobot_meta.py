"""What every version of a LeRobotDataset shares: meta/info.json, its features and templates.

Files are found by the templates in info.json, never outside the dataset's folder; where a folder
`video/` stands in place of the `videos/` that a template names, it is followed.
"""

from __future__ import annotations

import io
import json
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from framecast.data.episodes import Split
from framecast.data.formats.base import Keys, Signals, choose, kinds_by_name, numbered
from framecast.data.formats.pictures import decode_picture
from framecast.data.splits import SPLIT_NAMES, complete
from framecast.errors import UserError

ACTION_KEYS = ("action", "actions")
STATE_KEYS = ("observation.state", "state")
MAX_JSON_BYTES = 2**28
MAX_ROWS = 50_000_000
RANGE = re.compile(r"(\d{1,9}):(\d{1,9})")


class LeRobotMeta:
    """The dataset as info.json describes it.

    Attributes:
        camera, action_key: which features are read; state_key is None where there is none.
        has_videos: whether the camera's frames are in videos, or pictures in the tables.
    """

    def __init__(self, root: Path, keys: Keys, fields: frozenset[str]) -> None:
        self.root = root
        self.fields = fields
        self.info = read_json(root / "meta" / "info.json")
        features = {
            key: feature
            for key, feature in self.need("features", dict).items()
            if isinstance(feature, dict)
        }
        cameras = [key for key in features if features[key].get("dtype") in ("video", "image")]
        vectors = [key for key in features if str(features[key].get("dtype")).startswith("float")]
        if not cameras:
            raise UserError(f"{root} has no video feature; it has {', '.join(features)}.")
        self.camera = choose(keys.camera, cameras, (), "camera")
        self.has_videos = features[self.camera]["dtype"] == "video"
        usual = next((key for key in ACTION_KEYS if key in vectors), None)
        if usual is None and keys.action is None:
            raise UserError(f"{root} has no action feature; it has {', '.join(features)}.")
        self.action_key = choose(keys.action, vectors, ACTION_KEYS, "action")
        found = next((key for key in STATE_KEYS if key in vectors), None)
        self.state_key = choose(keys.state, vectors, (), "state") if keys.state else found
        self.fps = float(self.need("fps", (int, float)))
        if not 0 < self.fps < 1e4:
            raise UserError(f"{root}/meta/info.json names a rate of {self.fps} frames a second.")
        self.signals = _signals(features, self.action_key, self.state_key)
        self.notes = []
        if len(cameras) > 1:
            others = ", ".join(key for key in cameras if key != self.camera)
            self.notes.append(f"other cameras, for --camera: {others}")
        self.notes.append(f"actions from {self.action_key!r}, states from {self.state_key!r}")

    @property
    def columns(self) -> list[str]:
        keys = [self.action_key, *([self.state_key] if self.state_key else [])]
        return keys if self.has_videos else [*keys, self.camera]

    def path(self, template: str, **values: object) -> Path:
        """The file of a template. Raises UserError when it is missing or leads out."""
        text: str = self.need(template, str)
        unknown = {field for field in _template_fields(text) if field} - self.fields
        if unknown:
            raise UserError(
                f"{self.root}: {template} {text!r} cannot be filled: {', '.join(sorted(unknown))}."
            )
        try:
            relative = text.format(video_key=self.camera, **values)
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise UserError(
                f"{self.root}: {template} {text!r} cannot be filled ({error})."
            ) from None
        path: Path = self.root / relative
        if not path.exists() and relative.startswith("videos/"):
            path = self.root / relative.replace("videos/", "video/", 1)
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise UserError(f"{self.root}: {template} {text!r} leads out of the dataset.")
        if not path.is_file():
            raise UserError(f"{self.root / relative} is missing, though the dataset names it.")
        return path

    def splits(self, numbers: list[int]) -> list[Split] | None:
        """The split of every episode number, where info.json defines more than training."""
        ranges = self.info.get("splits")
        named: dict[int, Split] = {}
        for name, text in ranges.items() if isinstance(ranges, dict) else ():
            match = RANGE.fullmatch(str(text))
            if match and name in SPLIT_NAMES and int(match[2]) <= MAX_ROWS:
                for number in range(int(match[1]), int(match[2])):
                    named[number] = SPLIT_NAMES[name]
        return complete([named.get(number) for number in numbers])

    def need(self, key: str, kind: Any) -> Any:
        value = self.info.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise UserError(f"{self.root}/meta/info.json has no usable {key!r}.")
        return value

    def pictures(self, column: pyarrow.Array, where: str) -> Iterator[NDArray[np.uint8]]:
        """The pictures of an image feature: structs of encoded bytes."""
        for row, cell in enumerate(column):
            encoded = cell.as_py()
            encoded = encoded.get("bytes") if isinstance(encoded, dict) else encoded
            if not isinstance(encoded, bytes):
                raise UserError(f"{where}: row {row} of {self.camera!r} holds no picture.")
            yield decode_picture(io.BytesIO(encoded), f"{where}: row {row} of {self.camera!r}")


def read_version(root: Path) -> str:
    """The version that meta/info.json names, or nothing."""
    try:
        return str(read_json(root / "meta" / "info.json").get("codebase_version"))
    except UserError:
        return ""


def read_table(path: Path, columns: list[str] | None) -> pyarrow.Table:
    """Raises UserError when it is no parquet file with these columns."""
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            if file.metadata.num_rows > MAX_ROWS:
                raise UserError(f"{path} claims {file.metadata.num_rows} rows, too many to read.")
            missing = set(columns or ()) - set(file.schema_arrow.names)
            if missing:
                raise UserError(
                    f"{path} is not a table with {' and '.join(columns or ())} "
                    f"(it has {', '.join(file.schema_arrow.names)})."
                )
            return file.read(columns=columns)
    except (pyarrow.ArrowException, OSError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is not a parquet table that can be read ({reason}).") from None


def numbers(table: pyarrow.Table, key: str, path: Path) -> NDArray[np.float32]:
    """A column of vectors (T, N), or of single numbers (T, 1)."""
    rows = table.column(key).combine_chunks()
    flat = rows
    try:
        if not pyarrow.types.is_floating(rows.type) and not pyarrow.types.is_integer(rows.type):
            flat = rows.flatten()
        if rows.null_count or flat.null_count:
            row = next((at for at, cell in enumerate(rows.to_pylist()) if _has_null(cell)), 0)
            raise UserError(f"{path}: {key!r} is null in row {row}.")
        return np.asarray(flat, np.float32).reshape(len(rows), -1 if len(rows) else 0)
    except (pyarrow.ArrowException, AttributeError, ValueError, TypeError) as error:
        raise UserError(f"{path}: {key!r} is not a vector of numbers a row ({error}).") from None


def read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise UserError(f"{path} is larger than any description of a dataset.")
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}).") from None
    if not isinstance(document, dict):
        raise UserError(f"{path} should hold an object, got {type(document).__name__}.")
    return document


def _has_null(cell: object) -> bool:
    return cell is None or (isinstance(cell, list) and None in cell)


def _template_fields(text: str) -> list[str | None]:
    try:
        return [field for _, field, _, _ in string.Formatter().parse(text)]
    except ValueError as error:
        return [str(error)]


def _signals(features: dict[str, Any], action_key: str, state_key: str | None) -> Signals:
    action_names = _names(features[action_key], "action")
    state_names = _names(features[state_key], "state") if state_key else ()
    return Signals(
        *(action_names, _units(features[action_key], len(action_names))),
        kinds_by_name(action_names, "target"),
        *(state_names, _units(features[state_key], len(state_names)) if state_key else ()),
    )


def _units(feature: dict[str, Any], size: int) -> tuple[str, ...]:
    """Units, which framecast's own export writes."""
    units = feature.get("units")
    known = isinstance(units, list) and len(units) == size
    return tuple(map(str, units)) if known and isinstance(units, list) else ("1",) * size


def _names(feature: dict[str, Any], prefix: str) -> tuple[str, ...]:
    shape = feature.get("shape")
    if not (isinstance(shape, list) and len(shape) == 1 and isinstance(shape[0], int)):
        raise UserError(f"The feature {prefix!r} should be a vector, its shape is {shape}.")
    if not 0 < shape[0] < 2**16:
        raise UserError(f"The feature {prefix!r} should be a vector, its shape is {shape}.")
    names = feature.get("names")
    if isinstance(names, dict):
        names = list(names.values())
    while isinstance(names, list) and len(names) == 1 and isinstance(names[0], list):
        names = names[0]
    if isinstance(names, list) and len(names) == shape[0]:
        return tuple(str(name) for name in names)
    return numbered(prefix, shape[0])
