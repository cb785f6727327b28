"""TFRecord framing: length, checksum of the length, payload, checksum of the payload.

All numbers are little-endian; a checksum is a masked CRC-32C. Lengths are believed only when their
checksum holds and the file is long enough.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import google_crc32c

from framecast.errors import UserError

HEADER = struct.Struct("<QI")
FOOTER = struct.Struct("<I")
MASK_DELTA = 0xA282EAD8
MAX_RECORD_BYTES = 2**31


@dataclass(frozen=True)
class Record:
    """Where a record lies: its number in the file, its first byte and the length of its payload."""

    path: Path
    number: int
    offset: int
    length: int

    def __str__(self) -> str:
        return f"{self.path}, record {self.number} at byte {self.offset}"

    def read(self) -> bytes:
        """The payload. Raises UserError when its checksum is wrong or the file ends early."""
        with self.path.open("rb") as file:
            file.seek(self.offset + HEADER.size)
            body = file.read(self.length + FOOTER.size)
        if len(body) != self.length + FOOTER.size:
            raise UserError(f"{self} is cut off; fetch the file again.")
        payload = body[: self.length]
        if masked_crc(payload) != FOOTER.unpack(body[self.length :])[0]:
            raise UserError(f"{self}: the checksum of its content is wrong; fetch the file again.")
        return payload


def index_records(path: Path) -> tuple[list[Record], str | None]:
    """The records of a file, and what is wrong with the rest of it where it cannot be followed."""
    records: list[Record] = []
    offset, size = 0, path.stat().st_size
    with path.open("rb") as file:
        while offset < size:
            file.seek(offset)
            header = file.read(HEADER.size)
            place = f"{path}, record {len(records)} at byte {offset}"
            if len(header) < HEADER.size:
                return records, f"{place} is cut off; fetch the file again."
            length, checksum = HEADER.unpack(header)
            if masked_crc(header[:8]) != checksum:
                return records, f"{place}: the checksum of its length is wrong; the rest is lost."
            end = offset + HEADER.size + length + FOOTER.size
            if length > MAX_RECORD_BYTES or end > size:
                return records, (
                    f"{place} should have {length} bytes, but the file ends after "
                    f"{max(size - offset - HEADER.size, 0)}; fetch it again."
                )
            records.append(Record(path, len(records), offset, length))
            offset = end
    return records, None


def write_record(file: BinaryIO, payload: bytes) -> None:
    length = struct.pack("<Q", len(payload))
    file.write(length + FOOTER.pack(masked_crc(length)))
    file.write(payload)
    file.write(FOOTER.pack(masked_crc(payload)))


def masked_crc(data: bytes) -> int:
    crc = int(google_crc32c.value(data))
    return (((crc >> 15) | (crc << 17)) + MASK_DELTA) & 0xFFFFFFFF
