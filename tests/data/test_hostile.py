"""Mutated files: whatever the bytes, they are read or refused in a line of ours."""

from __future__ import annotations

import contextlib
import gzip
import io
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from framecast.data.digits import mnist_digits
from framecast.data.episodes import EpisodeStore
from framecast.data.formats import open_recordings
from framecast.data.formats.course import read_table
from framecast.errors import UserError
from tests.conftest import write_squares
from tests.data.test_formats import rlds_record, write_swm

FEW = settings(max_examples=40, deadline=None)


@st.composite
def changes(draw: st.DrawFn) -> list[tuple[float, int]]:
    """Places, as shares of the file's length, and the bytes to put there; a cut at the end."""
    place = st.floats(0, 0.999, allow_nan=False)
    return draw(st.lists(st.tuples(place, st.integers(0, 255)), min_size=1, max_size=8))


def mutate(content: bytes, where: list[tuple[float, int]]) -> bytes:
    data = bytearray(content)
    for share, value in where:
        data[int(share * len(data))] = value
    if where[0][1] % 4 == 0:
        del data[int(where[0][0] * len(data)) :]
    return bytes(data)


def read_all(path: Path, format: str) -> None:
    with contextlib.suppress(UserError):
        reader = open_recordings(path, format)
        for index in range(min(len(reader), 50)):
            with contextlib.suppress(UserError):
                list(reader.read(index, 1).frames)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


def npz() -> bytes:
    buffer = io.BytesIO()
    images = np.zeros((3, 16, 16, 3), np.uint8)
    np.savez(buffer, image=images, action=np.zeros((3, 2), np.float32))
    return buffer.getvalue()


@FEW
@given(changes())
@example([(0.9555250676076104, 65)])  # an unknown zip version
@example([(0.95703125, 1)])  # an unknown compression
@example([(0.9561001410437235, 1)])  # a password
def test_npz(place: Path, where: list[tuple[float, int]]):
    (place / "a.npz").write_bytes(mutate(npz(), where))
    read_all(place / "a.npz", "npz")


RLDS = rlds_record(0)


@FEW
@given(changes())
def test_rlds_records_with_right_checksums(place: Path, where: list[tuple[float, int]]):
    from framecast.data.formats.tfrecord import write_record

    with (place / "a.tfrecord").open("wb") as file:
        write_record(file, RLDS)
        write_record(file, mutate(RLDS, where))
    read_all(place / "a.tfrecord", "rlds")


@FEW
@given(st.one_of(st.text(max_size=80), st.text("0123456789.,-e\nnaif ", max_size=80)))
def test_tables(place: Path, text: str):
    (place / "a.csv").write_text(text, encoding="utf-8")
    with contextlib.suppress(UserError):
        table = read_table(place / "a.csv", 2)
        assert table.shape[1] == 2
        assert np.isfinite(table).all()


@FEW
@given(changes(), st.booleans())
def test_mnist_files(place: Path, where: list[tuple[float, int]], zipped: bool):
    content = struct.pack(">IIII", 0x803, 2, 28, 28) + bytes(2 * 28 * 28)
    name = "a.gz" if zipped else "a"
    (place / name).write_bytes(mutate(gzip.compress(content) if zipped else content, where))
    with contextlib.suppress(UserError):
        assert len(mnist_digits(place / name, 28)) == 2


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-(2**40), 2**40), max_size=5), st.data())
def test_any_lengths_and_offsets(place: Path, lengths: list[int], data: st.DataObject):
    """Whatever a file says of its episodes, what is read lies inside and never overlaps."""
    near = st.lists(st.integers(-3, 15), min_size=len(lengths), max_size=len(lengths))
    lengths = [data.draw(st.sampled_from((value, value % 7))) for value in lengths]
    offsets = data.draw(near)
    file = place / "any.h5"
    write_swm(file, [5, 7], [0, 5])
    with h5py.File(file, "a") as opened:
        del opened["ep_len"], opened["ep_offset"]
        opened["ep_len"] = np.array(lengths, np.int64)
        opened["ep_offset"] = np.array(offsets, np.int64)
    seen = 0
    with contextlib.suppress(UserError):
        reader = open_recordings(file, "swm-hdf5")
        for index in range(len(reader)):
            with contextlib.suppress(UserError):
                seen += len(list(reader.read(index, 1).frames))
    assert seen <= 12


@settings(max_examples=25, deadline=None)
@given(changes())
def test_a_clip_spec_and_lengths_of_a_store(place: Path, where: list[tuple[float, int]]):
    """The text of the spec is anybody's; the columns have to fit it."""
    if not (place / "squares").exists():
        write_squares(place / "squares")
    file = place / "squares" / "test.h5"
    spec = EpisodeStore(place / "squares" / "train.h5").spec.to_json().encode()
    with h5py.File(file, "a") as opened:
        opened.attrs["clip_spec"] = mutate(spec, where).replace(b"\0", b" ")
    with contextlib.suppress(UserError):
        EpisodeStore(file)
