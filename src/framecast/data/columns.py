"""The columns of a store's file, checked before a byte of them is used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast, get_args

import h5py
import numpy as np
from numpy.typing import NDArray

from framecast.clip import ClipSpec
from framecast.data.header import ActionKind
from framecast.data.rows import Part, Rows, remote_filesystem
from framecast.errors import UserError

KINDS: dict[str, ActionKind] = {kind: kind for kind in get_args(ActionKind)}


@dataclass(frozen=True)
class Columns:
    """What EpisodeStore shows."""

    spec: ClipSpec
    pixels: NDArray[np.uint8]
    action: NDArray[np.float32]
    state: NDArray[np.float32] | None
    ep_len: NDArray[np.int64]
    ep_offset: NDArray[np.int64]
    action_kinds: tuple[ActionKind, ...]


def read_columns(path: Path, url: str | None = None) -> Columns:
    """Raises UserError for columns of a wrong kind, OSError and KeyError for a broken file."""
    place = _Place(path, url)
    with place.open(place.name) as file:
        spec = ClipSpec.from_json(file.attrs["clip_spec"])
        return Columns(
            spec,
            _pixels(place, file["pixels"]),
            _numbers(place, file["action"]),
            _numbers(place, file["state"]) if "state" in file else None,
            file["ep_len"][:].astype(np.int64),
            file["ep_offset"][:].astype(np.int64),
            _kinds(file.attrs.get("action_kinds", ""), spec.action.size),
        )


def _kinds(stored: object, count: int) -> tuple[ActionKind, ...]:
    """Of every action, as they were when the dataset was written; none where that is not told."""
    try:
        kinds = tuple(KINDS[kind] for kind in json.loads(str(stored)))
    except (ValueError, KeyError, TypeError, RecursionError):
        return ()
    return kinds if len(kinds) == count else ()


class _Place:
    """A folder with a store's files, here or on a remote file system."""

    def __init__(self, path: Path, url: str | None) -> None:
        self.filesystem: Any = None
        self.folder = str(path.parent)
        self.name = path.name
        if url is not None:
            self.filesystem, remote = remote_filesystem(url)
            self.folder = str(PurePosixPath(remote).parent)

    def path(self, name: str) -> str:
        return f"{self.folder}/{name}"

    def size(self, name: str) -> int:
        if self.filesystem is None:
            return Path(self.path(name)).stat().st_size
        return int(self.filesystem.size(self.path(name)))

    @contextmanager
    def open(self, name: str) -> Iterator[h5py.File]:
        if self.filesystem is None:
            with h5py.File(self.path(name), "r") as file:
                yield file
        else:
            with self.filesystem.open(self.path(name), "rb") as raw, h5py.File(raw, "r") as file:
                yield file


def _pixels(place: _Place, dataset: h5py.Dataset) -> NDArray[np.uint8]:
    if dataset.is_virtual:
        rows = Rows(_shards(place, dataset), dataset.shape[1:], place.filesystem)
        if rows.shape != dataset.shape:
            raise UserError(f"{place.path(place.name)}: its shards hold {len(rows)} frames.")
        return cast("NDArray[np.uint8]", rows)
    part = _part(place, place.name, dataset, np.uint8, 4)
    if place.filesystem is not None:
        return cast("NDArray[np.uint8]", Rows([part], dataset.shape[1:], place.filesystem))
    return np.memmap(part.path, np.uint8, "r", offset=part.offset, shape=dataset.shape)


def _numbers(place: _Place, dataset: h5py.Dataset) -> NDArray[np.float32]:
    if dataset.size == 0 and dataset.ndim == 2:  # an action-free recording
        return np.zeros(dataset.shape, np.float32)
    part = _part(place, place.name, dataset, np.float32, 2)
    if place.filesystem is not None:
        return np.asarray(dataset[:], np.float32)
    return np.memmap(part.path, np.float32, "r", offset=part.offset, shape=dataset.shape)


def _shards(place: _Place, dataset: h5py.Dataset) -> list[Part]:
    """The parts of a virtual dataset, which have to be files beside it, whole and in order."""
    parts, next_row = [], 0
    for source in dataset.virtual_sources():
        name = source.file_name
        first = source.vspace.get_select_bounds()[0][0]
        if "/" in name or "\\" in name or source.dset_name.lstrip("/") != "pixels":
            raise UserError(f"{place.path(place.name)}: its shard {name!r} is not beside it.")
        try:
            with place.open(name) as file:
                part = _part(place, name, file["pixels"], np.uint8, 4)
                fits = first == next_row and file["pixels"].shape[1:] == dataset.shape[1:]
        except (OSError, KeyError) as error:
            raise UserError(
                f"{place.path(name)}, a shard of {place.name}, is missing or cut off ({error}). "
                "Copy, record or import it again."
            ) from None
        if not fits:
            raise UserError(f"{place.path(name)} does not fit {place.name}.")
        parts.append(part)
        next_row += part.num_rows
    return parts


def _part(place: _Place, name: str, dataset: h5py.Dataset, dtype: type[Any], ndim: int) -> Part:
    offset = dataset.id.get_offset()
    if dataset.dtype != dtype or dataset.ndim != ndim or dataset.external:
        raise UserError(
            f"{place.path(name)}: column {dataset.name} should be {np.dtype(dtype)} of {ndim} "
            f"dimensions, got {dataset.dtype} of {dataset.ndim}."
        )
    if offset is None or offset + dataset.nbytes > place.size(name):
        raise UserError(
            f"{place.path(name)}: column {dataset.name} is not contiguous in the file or cut off."
        )
    return Part(place.path(name), offset, len(dataset))
