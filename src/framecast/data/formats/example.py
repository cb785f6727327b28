"""`tf.train.Example` without TensorFlow: the little of protobuf's wire format that it needs.

    Example  { 1: Features }            Feature { 1: BytesList, 2: FloatList, 3: Int64List }
    Features { 1: repeated Entry }      a list  { 1: repeated bytes, float or int64 }
    Entry    { 1: key, 2: Feature }

Nothing is trusted: lengths are bounded by what contains them, there is no recursion beyond these
five levels, and values are views of the payload, so memory never exceeds a small multiple of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
Values = list[memoryview] | NDArray[np.float32] | NDArray[np.int64]
Field = tuple[int, int, memoryview | int]


class MalformedError(ValueError):
    """Not a protobuf of the expected form; the message says what was met."""


def parse_example(payload: bytes) -> dict[str, Values]:
    """The features by name. Raises MalformedError; a name that comes twice is refused."""
    features: dict[str, Values] = {}
    for outer in _messages(memoryview(payload), 1):
        for entry in _messages(outer, 1):
            key, feature = _entry(entry)
            if key in features:
                raise MalformedError(f"the feature {key!r} is there twice")
            features[key] = _feature(feature, key)
    return features


def encode_example(features: Mapping[str, bytes | NDArray[np.float32]]) -> bytes:
    """An Example of single byte strings and packed floats."""
    entries = []
    for key, value in features.items():
        content = value if isinstance(value, bytes) else value.astype("<f4").tobytes()
        kind = 1 if isinstance(value, bytes) else 2
        feature = _delimited(kind, _delimited(1, content))
        entries.append(_delimited(1, _delimited(1, key.encode()) + _delimited(2, feature)))
    return _delimited(1, b"".join(entries))


def _entry(entry: memoryview) -> tuple[str, memoryview]:
    key, feature = "", memoryview(b"")
    for number, wire, value in _fields(entry):
        if number == 1 and wire == LENGTH:
            try:
                key = bytes(value).decode()
            except UnicodeDecodeError:
                raise MalformedError("the name of a feature is not UTF-8") from None
        elif number == 2 and wire == LENGTH:
            assert isinstance(value, memoryview)
            feature = value
    return key, feature


def _feature(feature: memoryview, key: str) -> Values:
    values: Values = []
    for number, wire, content in _fields(feature):
        if wire != LENGTH or number not in (1, 2, 3):
            continue
        assert isinstance(content, memoryview)
        if number == 1:
            values = list(_messages(content, 1))
        elif number == 2:
            values = _floats(content, key)
        else:
            values = _integers(content)
    return values


def _floats(content: memoryview, key: str) -> NDArray[np.float32]:
    pieces: list[bytes] = []
    for number, wire, value in _fields(content):
        if number == 1 and wire in (LENGTH, FIXED32):
            assert isinstance(value, memoryview)
            if len(value) % 4:
                raise MalformedError(f"the floats of {key!r} take {len(value)} bytes")
            pieces.append(bytes(value))
    return np.frombuffer(b"".join(pieces), "<f4")


def _integers(content: memoryview) -> NDArray[np.int64]:
    values: list[int] = []
    for number, wire, value in _fields(content):
        if number != 1:
            continue
        if isinstance(value, int):
            values.append(value)
        elif wire == LENGTH:
            position = 0
            while position < len(value):
                integer, position = _varint(value, position)
                values.append(integer)
    return np.array(values, np.uint64).astype(np.int64)


def _messages(message: memoryview, wanted: int) -> Iterator[memoryview]:
    for number, wire, value in _fields(message):
        if number == wanted and wire == LENGTH:
            assert isinstance(value, memoryview)
            yield value


def _fields(message: memoryview) -> Iterator[Field]:
    """Every field as (number, wire type, value): a varint as int, everything else as a view."""
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, position = _varint(message, position)
            yield number, wire, value
            continue
        if wire == LENGTH:
            size, position = _varint(message, position)
        elif wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
        else:
            raise MalformedError(f"wire type {wire} at byte {position} of a message")
        if size > end - position:
            raise MalformedError(f"a field of {size} bytes where {end - position} are left")
        yield number, wire, message[position : position + size]
        position += size


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise MalformedError("a number is cut off")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position
    raise MalformedError("a number of more than ten bytes")


def _delimited(number: int, content: bytes) -> bytes:
    return b"".join((_encoded(number << 3 | LENGTH), _encoded(len(content)), content))


def _encoded(value: int) -> bytes:
    return bytes(_encoded_bytes(value))


def _encoded_bytes(value: int) -> Iterable[int]:
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value
