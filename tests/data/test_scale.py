"""Large data: shards, several processes, kills, far-away files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import fsspec
import h5py
import numpy as np
import pytest

from framecast.data.episodes import EpisodeStore
from framecast.data.statistics import Moments
from framecast.data.windows import Windows
from framecast.data.writer import DatasetWriter, Header
from framecast.errors import UserError
from tests.conftest import Outcome, moving_square

Command = Callable[..., Outcome]
HEADER = Header(64, 64, 3, 5.0, ("a", "b"), ("m", "m"), ("x", "y"), ("m", "m"), "made up")
MEGABYTE = 2**20  # about 7 episodes of 12 frames


def write_episodes(folder: Path, count: int, shard_bytes: int) -> Path:
    with DatasetWriter(folder, HEADER, shard_bytes=shard_bytes) as writer:
        for seed in range(count):
            writer.add("train", moving_square(seed))
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_episodes(tmp_path_factory.mktemp("whole") / "data", 20, 2**30)


@pytest.fixture(scope="module")
def in_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_episodes(tmp_path_factory.mktemp("shards") / "data", 20, MEGABYTE)


@pytest.fixture(scope="module")
def npz_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("npz")
    for seed in range(30):
        square = moving_square(seed)
        actions = np.concatenate([square.actions, np.zeros((1, 2), np.float32)])
        arrays = {"image": square.frames, "action": actions, "state": square.states}
        np.savez(folder / f"traj_{seed:05d}.npz", **arrays)
    return folder


def test_shards_read_like_one_file(whole: Path, in_shards: Path):
    assert len(list(in_shards.glob("train-*.h5"))) == 3
    one, many = EpisodeStore.open(whole, "train"), EpisodeStore.open(in_shards, "train")
    np.testing.assert_allclose(one.spec.action.std, many.spec.action.std, rtol=1e-12)
    np.testing.assert_array_equal(one.pixels[:], many.pixels[:])
    np.testing.assert_array_equal(many.pixels[100], one.pixels[100])
    np.testing.assert_array_equal(many.pixels[-1], one.pixels[-1])
    np.testing.assert_array_equal(many.pixels[5:230:7], one.pixels[5:230:7])
    np.testing.assert_array_equal(many.state, one.state)
    windows = [Windows(store, 5) for store in (one, many)]
    clips = [its.sample(seed=3, step=1, batch_size=16) for its in windows]
    assert (clips[0].frames == clips[1].frames).all()
    assert (clips[0].actions == clips[1].actions).all()
    with pytest.raises(IndexError):
        many.pixels[240]


def test_a_store_of_one_file_is_a_plain_memory_map(whole: Path):
    assert isinstance(EpisodeStore.open(whole, "train").pixels, np.memmap)


def test_hdf5_itself_sees_shards_as_one(whole: Path, in_shards: Path):
    with h5py.File(whole / "train.h5") as one, h5py.File(in_shards / "train.h5") as many:
        for column in ("pixels", "action", "state", "ep_len", "ep_offset"):
            np.testing.assert_array_equal(one[column][:], many[column][:])


@pytest.mark.parametrize("what", ["missing", "cut off", "elsewhere"])
def test_a_broken_shard_is_named(tmp_path: Path, what: str):
    folder = write_episodes(tmp_path / "data", 16, MEGABYTE)
    shard = folder / "train-00001.h5"
    if what == "missing":
        shard.unlink()
    elif what == "cut off":
        shard.write_bytes(shard.read_bytes()[:100_000])
    else:
        with h5py.File(folder / "train.h5", "a") as file:
            del file["pixels"]
            layout = h5py.VirtualLayout((192, 64, 64, 3), "u1")
            layout[:] = h5py.VirtualSource("../secret.h5", "pixels", (192, 64, 64, 3))
            file.create_virtual_dataset("pixels", layout)
    expected = "is not beside it" if what == "elsewhere" else "train-00001.h5"
    with pytest.raises(UserError, match=expected):
        EpisodeStore.open(folder, "train")


@pytest.mark.parametrize("name", ["whole", "in_shards"])
def test_a_store_behind_a_url_reads_the_same(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
):
    local = request.getfixturevalue(name)
    memory = fsspec.filesystem("memory")
    memory.put(f"{local}/", f"/{name}/", recursive=True)
    here, there = EpisodeStore.open(local, "train"), EpisodeStore.open(f"memory://{name}", "train")
    assert here.spec == there.spec
    np.testing.assert_array_equal(here.pixels[37:50], there.pixels[37:50])
    clips = [Windows(store, 5).sample(0, 0, 8) for store in (here, there)]
    assert (clips[0].frames == clips[1].frames).all()
    assert (clips[0].states == clips[1].states).all()
    # A command's Path halves the slashes.
    assert EpisodeStore.open(Path(f"memory://{name}"), "train").num_episodes == 20
    assert EpisodeStore.splits(f"memory://{name}") == ["train"]
    with pytest.raises(UserError, match="is not there"):
        EpisodeStore.open(f"memory://{name}", "test")


def test_moments_of_pieces_are_those_of_the_whole():
    rows = np.random.default_rng(0).normal(5, [1, 1e-3, 100], (1000, 3)) + 1e3
    pieces = Moments()
    for piece in np.split(rows, [1, 7, 7, 500]):
        pieces.add(piece)
    spec = pieces.vector_spec("abc", "mmm")
    np.testing.assert_allclose(spec.mean, rows.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(spec.std, rows.std(axis=0), rtol=1e-9)
    assert spec.low == tuple(rows.min(axis=0))


def import_command(source: Path, out: Path, *options: str) -> list[str]:
    code = "import sys; from framecast.cli import main; sys.exit(main())"
    arguments = [str(source), "--out", str(out), "--shard-mb", "1", "--split", "1,0,0", *options]
    return [sys.executable, "-c", code, "import", *arguments]


def test_an_import_does_not_depend_on_the_number_of_workers(
    npz_folder: Path, tmp_path: Path, framecast: Command
):
    for workers in (1, 2):
        out = tmp_path / str(workers)
        subprocess.run(import_command(npz_folder, out, "--workers", f"{workers}"), check=True)
    files = [sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("1", "2")]
    assert files[0] == files[1]
    assert len(files[0]) == 6  # five shards and what binds them
    one, two = (EpisodeStore.open(tmp_path / name, "train") for name in ("1", "2"))
    np.testing.assert_array_equal(one.pixels[:], two.pixels[:])
    np.testing.assert_array_equal(one.action, two.action)
    np.testing.assert_array_equal(one.episode(11).frames, moving_square(11).frames)


def test_a_killed_import_goes_on_with_its_finished_shards(
    npz_folder: Path, tmp_path: Path, framecast: Command
):
    """The last recording is a pipe that nobody writes to: there the import hangs, and is killed."""
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for file in npz_folder.glob("*.npz"):
        (source / file.name).write_bytes(file.read_bytes())
    last = source / "traj_00029.npz"
    content = last.read_bytes()
    last.unlink()
    os.mkfifo(last)
    process = subprocess.Popen(import_command(source, out), stdout=subprocess.DEVNULL)
    finished = tmp_path / ".out.partial" / "dataset"
    deadline = time.monotonic() + 120
    while len(list(finished.glob("train-*.h5"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists()
    before = {shard.name: shard.stat().st_mtime_ns for shard in finished.glob("train-*.h5")}
    assert len(before) == 4
    last.unlink()
    last.write_bytes(content)
    options = ("--shard-mb", 1, "--split", "1,0,0")
    done = framecast("import", source, "--out", out, *options)
    assert done.code == 0, done.err
    assert "4 shards were finished before" in done.out
    after = {name: (out / name).stat().st_mtime_ns for name in before}
    assert after == before
    store = EpisodeStore.open(out, "train")
    assert store.num_episodes == 30
    for seed in (0, 13, 29):
        np.testing.assert_array_equal(store.episode(seed).frames, moving_square(seed).frames)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_finished_shards_are_kept_from_a_fault_and_not_for_other_options(
    npz_folder: Path, tmp_path: Path, framecast: Command
):
    source = tmp_path / "in"
    source.mkdir()
    for file in npz_folder.glob("*.npz"):
        (source / file.name).write_bytes(file.read_bytes())
    (source / "traj_00021.npz").write_bytes(b"broken")
    options = ("--shard-mb", 1, "--split", "1,0,0", "--out", tmp_path / "out")
    line = framecast("import", source, *options).one_line()
    assert "traj_00021.npz is not a whole npz" in line
    assert "The 3 finished shards are kept" in line
    done = framecast("import", source, *options, "--skip-broken")
    assert done.code == 0, done.err
    assert "3 shards were finished before" in done.out
    assert EpisodeStore.open(tmp_path / "out", "train").num_episodes == 29
    assert "traj_00021.npz" in (tmp_path / "out" / "left_out.txt").read_text()
    assert framecast("import", source, *options, "--overwrite").code == 1
    done = framecast("import", source, *options, "--overwrite", "--skip-broken", "--size", 32)
    assert done.code == 0, done.err
    assert "was discarded" in done.out
    assert EpisodeStore.open(tmp_path / "out", "train").spec.height == 32


def test_two_imports_do_not_write_to_one_place(npz_folder: Path, tmp_path: Path):
    from framecast.data.locks import locked

    with locked(tmp_path / ".out.partial"):
        failed = subprocess.run(
            import_command(npz_folder, tmp_path / "out"), capture_output=True, text=True
        )
    assert failed.returncode == 1
    assert "Another process is writing" in failed.stderr
