"""Pixels of one file or of many, here or far away, read as one array.

A store of one local file is a plain memory map. Rows of several files, or of files behind a URL,
are fetched as they are asked for: nothing is copied whole. Shape letters: N rows, H, W, C.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from framecast.errors import UserError

MAX_OPEN_FILES = 256
URL = re.compile(r"^([a-z][a-z0-9+.-]+):/+(.*)$", re.DOTALL)
LOCAL_SCHEMES = ("file", "local")


def as_url(path: Path | str) -> str | None:
    """The URL that a path is, or None for a local one. A Path halves the slashes: they return."""
    match = URL.match(str(path))
    if match is None:
        return None
    scheme, rest = match.groups()
    return f"{scheme}://{'/' if scheme in LOCAL_SCHEMES else ''}{rest}"


def remote_filesystem(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL and the path on it. Raises UserError when there is none."""
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UserError(f"{url} cannot be opened: {error}") from None
    return filesystem, path


@dataclass(frozen=True)
class Part:
    """Where the rows of one file lie: `num_rows` of them, contiguous from byte `offset`."""

    path: str
    offset: int
    num_rows: int


class Rows:
    """The rows of several files end to end, indexed by rows like an array: int, slice or array.

    Reading gives (..., H, W, C) uint8. With a `filesystem` the parts are fetched from it, one
    request for each run of neighbouring rows; else they are memory-mapped as they are used.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self, parts: Sequence[Part], row_shape: tuple[int, ...], filesystem: Any = None
    ) -> None:
        self.parts = list(parts)
        self.starts = np.cumsum([0, *(part.num_rows for part in self.parts)])
        self.shape = (int(self.starts[-1]), *row_shape)
        self.filesystem = filesystem
        self._maps: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape))

    def __getitem__(self, key: int | slice | NDArray[np.integer]) -> NDArray[np.uint8]:
        wanted = self._numbers(key)
        flat = wanted.reshape(-1)
        rows = np.empty((len(flat), *self.shape[1:]), np.uint8)
        part_of = np.searchsorted(self.starts, flat, side="right") - 1
        for part in np.unique(part_of).tolist():
            mine = part_of == part
            local = flat[mine] - self.starts[part]
            rows[mine] = (
                self._mapped(part)[local]
                if self.filesystem is None
                else (self._fetched(self.parts[part], local))
            )
        return rows.reshape(*wanted.shape, *self.shape[1:])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": OrderedDict()}

    def _numbers(self, key: int | slice | NDArray[np.integer]) -> NDArray[np.int64]:
        if isinstance(key, slice):
            return np.arange(*key.indices(len(self)))
        numbers = np.asarray(key)
        if numbers.dtype.kind not in "iu":
            raise IndexError(f"rows are indexed by whole numbers, got {key!r}")
        numbers = np.where(numbers < 0, numbers + len(self), numbers)
        if numbers.size and not (numbers.min() >= 0 and numbers.max() < len(self)):
            raise IndexError(f"row out of 0..{len(self) - 1}: {key!r}")
        return numbers.astype(np.int64)

    def _mapped(self, index: int) -> NDArray[np.uint8]:
        if index in self._maps:
            self._maps.move_to_end(index)
            return self._maps[index]
        part = self.parts[index]
        shape = (part.num_rows, *self.shape[1:])
        self._maps[index] = np.memmap(part.path, np.uint8, "r", offset=part.offset, shape=shape)
        if len(self._maps) > MAX_OPEN_FILES:
            self._maps.popitem(last=False)
        return self._maps[index]

    def _fetched(self, part: Part, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        size = int(np.prod(self.shape[1:]))
        needed, place = np.unique(rows, return_inverse=True)
        runs = np.split(needed, np.flatnonzero(np.diff(needed) > 1) + 1)
        starts = [part.offset + int(run[0]) * size for run in runs]
        ends = [part.offset + (int(run[-1]) + 1) * size for run in runs]
        pieces = self.filesystem.cat_ranges([part.path] * len(runs), starts, ends)
        got = np.frombuffer(b"".join(pieces), np.uint8)
        if len(got) != len(needed) * size:
            raise UserError(f"{part.path} is cut off: {len(got)} of {len(needed) * size} bytes.")
        return got.reshape(len(needed), *self.shape[1:])[place]
