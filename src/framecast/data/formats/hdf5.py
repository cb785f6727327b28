"""Opening HDF5 files of unknown origin: nothing outside the file is followed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from framecast.errors import UserError

MAX_COLUMN_BYTES = 2**32


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Raises UserError, naming the file, for whatever HDF5 cannot read."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is not an HDF5 file that can be read ({reason}).") from None


def dataset(file: h5py.File, key: str) -> h5py.Dataset:
    """A dataset that lies in this very file. Raises UserError otherwise."""
    link, found = file, None
    for part in key.split("/"):
        if not isinstance(link, h5py.Group) or link.get(part, getlink=True) is None:
            raise UserError(f"{file.filename} has no {key!r}.")
        if not isinstance(link.get(part, getlink=True), h5py.HardLink):
            raise UserError(f"{file.filename}: {key!r} is a link; only plain datasets are read.")
        link = found = link[part]
    if not isinstance(found, h5py.Dataset):
        raise UserError(f"{file.filename}: {key!r} is not a dataset.")
    if found.external or found.is_virtual:
        raise UserError(f"{file.filename}: {key!r} lies in other files, which are not read.")
    return found


def small(file: h5py.File, key: str) -> h5py.Dataset:
    """A dataset that may be read as a whole."""
    found = dataset(file, key)
    if found.nbytes > MAX_COLUMN_BYTES:
        raise UserError(f"{file.filename}: {key!r} has {found.nbytes} bytes, too many to read.")
    return found
