"""What browser and server say to each other.

The browser sends JSON objects with a `type`, and perhaps an `id` that comes back with the answers.
The server sends JSON, and where pictures or files come along, binary messages: the length of the
JSON as 4 bytes (little-endian), the JSON, the bytes. Nothing that comes in is trusted.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from framecast.errors import UserError, did_you_mean
from framecast.steering.moments import Step
from framecast.steering.starts import MAX_SEED, Start

MAX_BYTES = 1 << 18  # of one message from a browser; a shared link of 600 steps has its room
MAX_PATH = 600
MAX_ID = 2**53


@dataclass(frozen=True)
class Message:
    """One message of a browser; every getter raises UserError for what it cannot use."""

    type: str
    id: int | None
    fields: dict[str, Any]

    @classmethod
    def parse(cls, text: str) -> Message:
        try:
            fields = json.loads(text, parse_constant=_no_number)
        except (ValueError, RecursionError):
            raise UserError("Expected a message in JSON, got something else.") from None
        if not isinstance(fields, dict):
            raise UserError("Expected a JSON object with a type, got another value.")
        kind, number = fields.pop("type", None), fields.pop("id", None)
        if not isinstance(kind, str):
            raise UserError("Expected a message with a type.")
        if number is not None and not _is_whole(number, 0, MAX_ID):
            raise UserError("The id of a message is a whole number.")
        return cls(kind, number, fields)

    def number(self, name: str, low: int, high: int) -> int:
        value: Any = self.fields.get(name)
        if not _is_whole(value, low, high):
            self._refuse(name, f"a whole number from {low} to {high}")
        return int(value)

    def flag(self, name: str, default: bool | None = None) -> bool:
        value = self.fields.get(name, default)
        if not isinstance(value, bool):
            self._refuse(name, "true or false")
        return value

    def choice(self, name: str, choices: Sequence[str]) -> str:
        value = self.fields.get(name)
        if not isinstance(value, str) or value not in choices:
            self._refuse(name, "one of " + ", ".join(choices))
        return value

    def action(self, size: int) -> NDArray[np.float32]:
        return _action(self.fields.get("action"), size)

    def place(self, name: str) -> tuple[float, float]:
        """A place in the picture, (across, down) as shares of its width and height."""
        value: Any = self.fields.get(name)
        numbers = isinstance(value, list) and all(_is_number(share) for share in value)
        if not numbers or len(value) != 2:
            self._refuse(name, "two finite numbers, shares of the picture's width and height")
        return float(value[0]), float(value[1])

    def start(self) -> Start:
        value = self.fields.get("start")
        if not isinstance(value, dict) or value.get("kind") not in ("clip", "scene"):
            self._refuse("start", "an object with a kind (clip or scene) and a number")
        number: Any = value.get("number")
        frame: Any = value.get("frame", 0)
        if not (_is_whole(number, 0, MAX_SEED) and _is_whole(frame, 0, MAX_SEED)):
            self._refuse("start", "an object whose number and frame are whole numbers")
        return Start(value["kind"], int(number), int(frame))

    def path(self, size: int) -> list[Step]:
        """The steps of a shared link: objects with an action and a seed (or null)."""
        value = self.fields.get("path", [])
        if not isinstance(value, list) or len(value) > MAX_PATH:
            self._refuse("path", f"a list of at most {MAX_PATH} steps")
        return [self._step(entry, size) for entry in value]

    def _step(self, entry: Any, size: int) -> Step:
        if not isinstance(entry, dict):
            self._refuse("path", "a list of objects with an action and a seed")
        seed = entry.get("seed")
        if seed is not None and not _is_whole(seed, 0, MAX_SEED):
            self._refuse("path", f"a list whose seeds are whole numbers up to {MAX_SEED}")
        return Step(_action(entry.get("action"), size), seed)

    def _refuse(self, name: str, expected: str) -> NoReturn:
        raise UserError(f"{self.type!r} needs {name!r}: {expected}.")


def unknown_type(kind: str, known: Sequence[str]) -> UserError:
    hint = did_you_mean(kind[:40], known)
    return UserError(f"There is no message {kind[:40]!r}.{hint} Known: {', '.join(known)}.")


def pack(header: dict[str, Any], *payloads: bytes) -> bytes:
    """A binary message."""
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    return b"".join((struct.pack("<I", len(text)), text, *payloads))


def unpack(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The inverse of `pack`."""
    (length,) = struct.unpack_from("<I", data)
    return json.loads(data[4 : 4 + length]), data[4 + length :]


def _action(value: Any, size: int) -> NDArray[np.float32]:
    numbers = isinstance(value, list) and all(_is_number(number) for number in value)
    if not numbers or len(value) != size:
        got = f"{len(value)} values" if isinstance(value, list) else type(value).__name__
        raise UserError(f"An action has {size} finite numbers, got {got}.")
    return np.array(value, np.float64).clip(-1e30, 1e30).astype(np.float32)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)


def _is_whole(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
