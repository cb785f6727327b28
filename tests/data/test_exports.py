"""What is exported and imported again is the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from framecast.data.episodes import SPLITS, Episode, EpisodeStore
from framecast.data.header import Header
from framecast.data.writer import DatasetWriter
from tests.conftest import Outcome, moving_square, write_squares

Command = Callable[..., Outcome]


def same(one: Path, other: Path) -> None:
    """Every split with the same pixels and numbers."""
    assert EpisodeStore.splits(one) == EpisodeStore.splits(other)
    for split in EpisodeStore.splits(one):
        mine, theirs = EpisodeStore.open(one, split), EpisodeStore.open(other, split)
        np.testing.assert_array_equal(mine.ep_len, theirs.ep_len)
        np.testing.assert_array_equal(mine.pixels[:], theirs.pixels[:])
        np.testing.assert_array_equal(mine.action, theirs.action)
        if mine.state is None:
            assert theirs.state is None
        else:
            np.testing.assert_array_equal(mine.state, theirs.state)


@pytest.mark.parametrize("format", ["lerobot-v3", "course", "swm-hdf5", "tfrecord"])
def test_what_is_exported_comes_back_the_same(
    squares: Path, tmp_path: Path, framecast: Command, format: str
):
    there = framecast("export-data", squares, "--format", format, "--out", tmp_path / "there")
    assert there.code == 0, there.err
    back = framecast("import", tmp_path / "there", "--out", tmp_path / "back")
    assert back.code == 0, back.err
    same(squares, tmp_path / "back")
    if format in ("lerobot-v3", "swm-hdf5"):
        one, two = (EpisodeStore.open(path, "train").spec for path in (squares, tmp_path / "back"))
        assert (one.action, one.state, one.fps) == (two.action, two.state, two.fps)


def test_the_kinds_of_actions_come_back_from_hdf5(tmp_path: Path, framecast: Command):
    """Targets that no name tells, which would add up where frames are dropped on the way back."""
    kinds = ("target", "displacement")
    header = Header(64, 64, 3, 5.0, ("d0", "d1"), ("px",) * 2, (), (), "squares", kinds)
    with DatasetWriter(tmp_path / "here", header) as writer:
        square = moving_square(0)
        writer.add("train", Episode(square.frames, square.actions, None, square.name))
    there = framecast(
        "export-data", tmp_path / "here", "--format", "swm-hdf5", "--out", tmp_path / "there"
    )
    assert there.code == 0, there.err
    assert EpisodeStore.open(tmp_path / "there", "train").action_kinds == kinds
    back = framecast("import", tmp_path / "there", "--out", tmp_path / "back", "--fps", 2.5)
    assert back.code == 0, back.err
    store = EpisodeStore.open(tmp_path / "back", "train")
    assert store.action_kinds == kinds
    of_two = square.actions[:10].reshape(5, 2, 2)
    np.testing.assert_allclose(store.action[:5, 0], of_two[:, -1, 0])
    np.testing.assert_allclose(store.action[:5, 1], of_two[:, :, 1].sum(axis=1), rtol=1e-6)


def test_exported_hdf5_is_read_without_the_clip_spec(
    squares: Path, tmp_path: Path, framecast: Command
):
    framecast("export-data", squares, "--format", "swm-hdf5", "--out", tmp_path / "there")
    done = framecast(
        "import", tmp_path / "there", "--format", "swm-hdf5", "--out", tmp_path / "back"
    )
    assert done.code == 0, done.err
    same(squares, tmp_path / "back")


def test_real_recordings_in_v2_and_in_our_v3_give_identical_stores(
    two_g1_episodes: Path, tmp_path: Path, framecast: Command
):
    """Real G1 data, every third frame; v3 is written by our own exporter."""
    options = ("--fps", 10, "--split", ".5,.5,0")
    assert framecast("import", two_g1_episodes, "--out", tmp_path / "v2", *options).code == 0
    v3 = tmp_path / "v3"
    there = framecast("export-data", tmp_path / "v2", "--format", "lerobot-v3", "--out", v3)
    assert there.code == 0, there.err
    done = framecast("import", v3, "--out", tmp_path / "again")
    assert done.code == 0, done.err
    same(tmp_path / "v2", tmp_path / "again")
    first, again = (EpisodeStore.open(tmp_path / name, "train") for name in ("v2", "again"))
    assert first.spec.action == again.spec.action
    assert first.spec.state == again.spec.state


def test_our_v3_is_read_by_pyarrow_and_a_video_player_alone(
    squares: Path, tmp_path: Path, framecast: Command
):
    framecast("export-data", squares, "--format", "lerobot-v3", "--out", tmp_path / "v3")
    info = json.loads((tmp_path / "v3" / "meta" / "info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert info["splits"] == {"train": "0:4", "validation": "4:6", "test": "6:9"}
    table = pq.read_table(tmp_path / "v3" / "data/chunk-000/file-000.parquet")
    episodes = pq.read_table(tmp_path / "v3" / "meta/episodes/chunk-000/file-000.parquet")
    with av.open(str(tmp_path / "v3/videos/observation.images.main/chunk-000/file-000.mp4")) as it:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in it.decode(video=0)]
    row = episodes.to_pylist()[5]
    first, last = row["dataset_from_index"], row["dataset_to_index"]
    stored = EpisodeStore.open(squares, "validation").episode(1)
    actions = np.array(table.column("action")[first:last].to_pylist(), np.float32)
    np.testing.assert_array_equal(actions[:-1], stored.actions)
    start = row["videos/observation.images.main/from_timestamp"]
    for step, stamp in enumerate(table.column("timestamp")[first:last].to_pylist()):
        picture = next(its for time, its in frames if abs(time - start - stamp) < 1e-3)
        np.testing.assert_array_equal(picture, stored.frames[step])


def test_a_dataset_without_states_is_exported_without(tmp_path: Path, framecast: Command):
    bare = write_squares(tmp_path / "bare", num_actions=4, with_states=False)
    for format in ("lerobot-v3", "course", "tfrecord"):
        out, back = tmp_path / format, tmp_path / f"{format}-back"
        assert framecast("export-data", bare, "--format", format, "--out", out).code == 0
        assert framecast("import", out, "--out", back).code == 0
        same(bare, back)


def test_what_cannot_be_exported_is_one_line_and_leaves_nothing(
    squares: Path, tmp_path: Path, framecast: Command
):
    no_actions = tmp_path / "digits"
    assert framecast("digits", "--episodes", 3, "--frames", 4, "--out", no_actions).code == 0
    out = tmp_path / "out"
    line = framecast("export-data", no_actions, "--format", "lerobot-v3", "--out", out).one_line()
    assert "hold actions" in line
    missing = framecast("export-data", tmp_path, "--format", "course", "--out", out).one_line()
    assert "no train.h5" in missing
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits"]
    assert all(split in SPLITS for split in EpisodeStore.splits(no_actions))
