"""`framecast inspect`, and the moving digits."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from framecast.data.digits import Digits, mnist_digits
from framecast.data.episodes import EpisodeStore
from tests.conftest import Outcome, moving_square

Command = Callable[..., Outcome]


def test_a_dataset_is_described_and_pictured(squares: Path, tmp_path: Path, framecast: Command):
    done = framecast("inspect", squares, "--check", "--out", tmp_path / "looks")
    assert done.code == 0, done.err
    for text in ("9: 4 train, 2 validation, 3 test", "108, 12 an episode", "64x64", "5 frames a"):
        assert text in done.out
    numbers = np.concatenate([moving_square(seed).actions for seed in range(9)])[:, 0]
    row = next(line for line in done.out.splitlines() if "d0" in line and "px" in line)
    assert f"{numbers.min():.4g}" in row
    assert f"{numbers.max():.4g}" in row
    for name, least in (("sheet.png", (8 * 96, 8 * 96)), ("actions.png", (300, 200))):
        with Image.open(tmp_path / "looks" / name) as picture:
            assert picture.width > least[0]
            assert picture.height > least[1]


def test_the_real_recordings_are_described(shared_data: Path, framecast: Command):
    done = framecast("inspect", shared_data / "bair" / "bair_sample.npz")
    assert done.code == 0, done.err
    for text in ("aux1_image", "30, 30 an episode", "dx, dy, close_nstep, up_nstep", "none"):
        assert text in done.out


def test_check_lists_every_fault(tmp_path: Path, framecast: Command):
    for seed in range(5):
        square = moving_square(seed)
        np.savez(tmp_path / f"{seed}.npz", image=square.frames, action=square.actions)
    (tmp_path / "1.npz").write_bytes(b"junk")
    still = np.repeat(moving_square(2).frames[:1], 12, axis=0)
    actions = moving_square(3).actions.copy()
    actions[4] = np.nan
    np.savez(tmp_path / "2.npz", image=still, action=moving_square(2).actions)
    np.savez(tmp_path / "3.npz", image=moving_square(3).frames, action=actions)
    done = framecast("inspect", tmp_path, "--check")
    assert done.code == 1
    assert "has 3 faults" in done.err
    for text in (
        "1.npz is not a whole npz",
        "2.npz: all 12 frames are the same",
        "3.npz: actions hold a value that is not finite in row 4",
    ):
        assert text in done.out


def test_digits_bounce_and_are_named_by_their_seed(tmp_path: Path, framecast: Command):
    pytest.importorskip("sklearn", reason="pip install 'framecast[digits]'")
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        options = ("--episodes", 6, "--frames", 40, "--seed", seed, "--split", "1,0,0")
        assert framecast("digits", *options, "--out", tmp_path / name).code == 0
    stores = [EpisodeStore.open(tmp_path / name, "train") for name in ("a", "b", "c")]
    np.testing.assert_array_equal(stores[0].pixels, stores[1].pixels)
    assert (stores[0].pixels[:] != stores[2].pixels[:]).any()
    frames = stores[0].episode(0).frames
    assert (frames[..., 0] == frames[..., 2]).all()
    lit = (frames[..., 0] > 0).reshape(40, -1).sum(axis=1)
    assert lit.min() > 50  # both digits stay inside


def test_what_happens_at_a_wall_cannot_be_foretold():
    images = np.full((1, 32, 32), 255, np.uint8)
    digits = Digits(images, "squares", num_digits=1, num_frames=400)
    path = np.array(digits._path(32, np.random.default_rng(0)))
    assert path.min() == 0
    assert path.max() == 32
    speeds = np.diff(path, axis=0)
    assert len(np.unique(speeds, axis=0)) > 20


def test_mnist_files_of_the_user(tmp_path: Path, framecast: Command):
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28)).astype(np.uint8)
    content = struct.pack(">IIII", 0x803, 5, 28, 28) + images.tobytes()
    (tmp_path / "images.gz").write_bytes(gzip.compress(content))
    assert mnist_digits(tmp_path / "images.gz", 28).tolist() == images.tolist()
    done = framecast(
        *("digits", "--images", tmp_path / "images.gz", "--episodes", 3, "--out", tmp_path / "out")
    )
    assert done.code == 0, done.err
    for broken in (b"", b"junk" * 10, content[:-1], gzip.compress(content)[:-9]):
        file = tmp_path / ("broken.gz" if broken[:2] == b"\x1f\x8b" else "broken")
        file.write_bytes(broken)
        line = framecast("digits", "--images", file, "--out", tmp_path / "no").one_line()
        assert file.name in line
