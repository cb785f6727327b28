"""The store and its windows."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from framecast.data.episodes import Episode, EpisodeStore
from framecast.data.splits import assign_splits, parse_fractions
from framecast.data.windows import Windows
from framecast.data.writer import DatasetWriter, Header
from framecast.errors import UserError
from tests.conftest import moving_square, write_squares

HEADER = Header(64, 64, 3, 5.0, ("a", "b"), ("m", "m"), ("x", "y"), ("m", "m"), "made up")


def test_what_is_read_is_what_was_written(squares: Path):
    store = EpisodeStore.open(squares, "train")
    for seed in range(4):
        read, written = store.episode(seed), moving_square(seed)
        np.testing.assert_array_equal(read.frames, written.frames)
        np.testing.assert_array_equal(read.actions, written.actions)
        np.testing.assert_array_equal(read.states, written.states)


def test_the_file_is_plain_stable_worldmodel_hdf5_and_mapped(squares: Path):
    with h5py.File(squares / "test.h5") as file:
        assert file["pixels"].shape == (36, 64, 64, 3)
        assert file["action"].shape == (36, 2)
        assert file["ep_len"][:].tolist() == [12, 12, 12]
        assert file["ep_offset"][:].tolist() == [0, 12, 24]
        np.testing.assert_array_equal(file["action"][11::12], np.zeros((3, 2)))
    assert isinstance(EpisodeStore.open(squares, "test").pixels, np.memmap)


def test_statistics_are_those_of_the_training_split(squares: Path):
    train = np.concatenate([moving_square(seed).actions for seed in range(4)]).astype(np.float64)
    for split in ("train", "validation", "test"):
        spec = EpisodeStore.open(squares, split).spec
        np.testing.assert_allclose(spec.action.mean, train.mean(axis=0))
        np.testing.assert_allclose(spec.action.std, train.std(axis=0))


def test_a_window_never_crosses_an_episode(squares: Path):
    windows = Windows(EpisodeStore.open(squares, "train"), 5)
    assert len(windows.starts) == 4 * (12 - 5 + 1)
    assert ((windows.starts % 12) + 5 <= 12).all()


def test_a_window_holds_consecutive_frames_with_the_actions_between(squares: Path):
    store = EpisodeStore.open(squares, "train")
    clip = Windows(store, 5).at(np.array([12 + 3]))
    episode = moving_square(1)
    np.testing.assert_array_equal(
        clip.frames[:, 0].permute(0, 2, 3, 1).numpy(), episode.frames[3:8]
    )
    np.testing.assert_array_equal(clip.actions[:, 0].numpy(), episode.actions[3:7])
    np.testing.assert_array_equal(clip.states[:, 0].numpy(), episode.states[3:8])


def test_a_batch_is_a_function_of_seed_and_step(squares: Path):
    windows = Windows(EpisodeStore.open(squares, "train"), 5)
    first, again = windows.sample(1, 7, 4), windows.sample(1, 7, 4)
    assert (first.frames == again.frames).all()
    for seed, step in ((1, 8), (2, 7)):
        assert (windows.sample(seed, step, 4).frames != first.frames).any()


def test_every_test_window_is_seen_exactly_once(squares: Path):
    windows = Windows(EpisodeStore.open(squares, "test"), 5)
    rows = [start + offset for start in windows.disjoint() for offset in range(5)]
    assert len(rows) == len(set(rows)) == 3 * 2 * 5
    batches = list(windows.batches(windows.disjoint(), 4))
    assert [batch.batch_size for batch in batches] == [4, 2]
    assert windows.disjoint(first_only=True).tolist() == [0, 12, 24]


def test_too_long_a_window_is_refused(squares: Path):
    with pytest.raises(UserError, match="needs 13 frames.* has 12"):
        Windows(EpisodeStore.open(squares, "train"), 13)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.999])
def test_a_store_cut_off_in_the_middle_is_refused(tmp_path: Path, keep: float):
    file = write_squares(tmp_path / "cut") / "train.h5"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(UserError, match=r"train\.h5"):
        EpisodeStore(file)


def test_a_missing_split_names_those_that_are_there(tmp_path: Path):
    (write_squares(tmp_path / "data") / "test.h5").unlink()
    with pytest.raises(UserError, match="has the splits: train, validation"):
        EpisodeStore.open(tmp_path / "data", "test")


def test_a_failed_write_leaves_nothing(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt), DatasetWriter(tmp_path / "data", HEADER) as writer:
        writer.add("train", moving_square(0))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_failed_overwrite_keeps_the_old_dataset(tmp_path: Path):
    folder = write_squares(tmp_path / "data")
    with pytest.raises(ValueError, match="broken"), DatasetWriter(folder, HEADER, True) as writer:
        writer.add("train", moving_square(20))
        raise ValueError("broken")
    np.testing.assert_array_equal(
        EpisodeStore.open(folder, "train").episode(0).frames, moving_square(0).frames
    )
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def faulty(what: str) -> Episode:
    good = moving_square(0)
    frames, actions, states = good.frames, good.actions.copy(), good.states
    if what == "an action too many":
        actions = np.concatenate([actions, actions[:1]])
    elif what == "not finite":
        actions[3] = np.nan
    elif what == "another size":
        frames = frames[:, :32]
    elif what == "other actions":
        actions = actions[:, :1]
    return Episode(frames, actions, states, "the episode")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("an action too many", "12 frames need 11 actions, got 12"),
        ("not finite", "not finite in row 3"),
        ("another size", r"\(64, 64, 3\).*\(32, 64, 3\)"),
        ("other actions", "expected 2 action numbers"),
    ],
)
def test_a_faulty_episode_is_refused_by_name(tmp_path: Path, what: str, message: str):
    writer = DatasetWriter(tmp_path / "data", HEADER)
    with pytest.raises(UserError, match=f"the episode: .*{message}"), writer:
        writer.add("train", faulty(what))


@pytest.mark.parametrize("num_episodes", [3, 4, 12, 100])
def test_every_fraction_gets_an_episode_and_none_is_lost(num_episodes: int):
    splits = assign_splits(num_episodes, (0.8, 0.1, 0.1), seed=0)
    assert len(splits) == num_episodes
    assert set(splits) == {"train", "validation", "test"}


def test_too_few_episodes_all_train():
    assert assign_splits(2, (0.8, 0.1, 0.1), seed=0) == ["train", "train"]
    assert assign_splits(5, (1.0, 0.0, 0.0), seed=0) == ["train"] * 5


@pytest.mark.parametrize("text", ["", "1", ".5,.5", "a,b,c", ".9,.9,.9", "0,.5,.5", "1.5,-.5,0"])
def test_fractions_that_are_none_are_refused(text: str):
    with pytest.raises(UserError, match="--split"):
        parse_fractions(text)
