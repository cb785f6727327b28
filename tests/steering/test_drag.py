"""Which actions move things in the picture, and how far."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from framecast.data.episodes import Episode, EpisodeStore
from framecast.data.writer import DatasetWriter, Header
from framecast.errors import UserError
from framecast.pusher.env import PusherEnv
from framecast.steering.controls import Controls
from framecast.steering.drag import PusherDrag, estimate_drag, find_drag, motion_centres
from tests.conftest import moving_square, write_squares
from tests.steering.conftest import pusher_spec

STILL = np.array([0, 0, 0, -1], np.float32)


def test_the_squares_mapping_is_found_from_pictures(squares: Path):
    found = estimate_drag(EpisodeStore.open(squares, "train"))
    assert found is not None
    assert found.dims == (0, 1)
    np.testing.assert_allclose(found.matrix * 64, np.eye(2), atol=0.1)
    assert found.explained > 0.95


def test_the_place_follows_from_the_state(squares: Path):
    found = estimate_drag(EpisodeStore.open(squares, "train"))
    assert found is not None
    episode = moving_square(20)
    for frame, state in zip(episode.frames, episode.states, strict=True):
        place = found.place(found.locate(frame[None], state))
        rows, columns = np.nonzero(frame.max(axis=-1) > 50)
        np.testing.assert_allclose(place * 64, [columns.mean(), rows.mean()], atol=2.0)


def test_without_states_the_place_is_where_things_move(tmp_path: Path):
    store = EpisodeStore.open(write_squares(tmp_path / "d", with_states=False), "train")
    found = estimate_drag(store)
    assert found is not None
    episode = moving_square(21)
    place = found.locate(episode.frames[:2], None)
    expected = (episode.states[0] + episode.states[1]) / 2
    np.testing.assert_allclose(place * 64, expected, atol=2.0)


def test_it_picks_the_two_actions_that_matter(tmp_path: Path):
    store = EpisodeStore.open(write_squares(tmp_path / "d", num_actions=5), "train")
    found = estimate_drag(store)
    assert found is not None
    assert found.dims == (0, 1)


def test_actions_without_effect_offer_no_drag(tmp_path: Path):
    random = np.random.default_rng(0)
    header = Header(64, 64, 3, 5.0, ("a", "b", "c"), ("1",) * 3, (), (), "unrelated")
    with DatasetWriter(tmp_path / "d", header) as writer:
        for seed in range(12):
            seen = moving_square(seed)
            actions = random.uniform(-1, 1, (11, 3)).astype(np.float32)
            writer.add("train", Episode(seen.frames, actions, None, "unrelated"))
    assert estimate_drag(EpisodeStore.open(tmp_path / "d", "train")) is None
    store = EpisodeStore.open(tmp_path / "d", "train")
    with pytest.raises(UserError, match="do not show a,b moving anything"):
        find_drag(store.spec, store, "a,b")


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("d0", "takes two actions"),
        ("d0,d0", "takes two actions"),
        ("d0,d9", "there is no action 'd9'. Did you mean 'd0'?"),
    ],
)
def test_names_that_are_none_are_one_line(squares: Path, wanted: str, words: str):
    store = EpisodeStore.open(squares, "train")
    with pytest.raises(UserError) as refused:
        find_drag(store.spec, store, wanted)
    assert words in str(refused.value)


def test_no_drag_can_be_asked_for(squares: Path):
    store = EpisodeStore.open(squares, "train")
    assert find_drag(store.spec, store, "none") is None
    assert find_drag(pusher_spec(), None, "none") is None


def test_the_pusher_needs_no_estimate_and_its_camera_agrees_with_the_world():
    drag = find_drag(pusher_spec(), None, None)
    assert isinstance(drag, PusherDrag)
    env = PusherEnv()
    position = env.reset(seed=2)[0]["state"]
    for dim, action in enumerate((np.array([0.04, 0, 0, -1]), np.array([0, 0.04, 0, -1]))):
        before = drag.locate(np.zeros((1, 64, 64, 3), np.uint8), position)
        observation, *_ = env.step(action.astype(np.float32))
        position = observation["state"]
        moved = drag.place(position.astype(np.float64)) - drag.place(before)
        expected = drag.effect(before)[:, dim] * 0.04
        assert np.dot(moved, expected) > 0.7 * np.dot(expected, expected)
        np.testing.assert_allclose(drag.after(before, STILL), before)


def test_centres_of_motion_are_told_from_stillness():
    frames = np.zeros((3, 64, 64, 3), np.uint8)
    frames[1:, 10:20, 30:40] = 200
    centres, moved = motion_centres(frames)
    assert moved.tolist() == [True, False]
    np.testing.assert_allclose(centres[0] * 64, [35, 15])


def test_numbers_that_hold_are_told_from_those_that_spring_back(tmp_path: Path):
    random = np.random.default_rng(1)
    names = ("dx", "target", "fixed", "grip")
    header = Header(64, 64, 3, 5.0, names, ("m", "rad", "1", "1"), (), (), "made up")
    with DatasetWriter(tmp_path / "d", header) as writer:
        for seed in range(6):
            seen = moving_square(seed, num_frames=40)
            target = np.cumsum(random.normal(0, 0.02, 39)) + 1
            grip = np.where(np.arange(39) // 9 % 2 == 0, 1.0, -1.0)
            parts = (random.uniform(-1, 1, 39), target, np.full(39, 0.5), grip)
            actions = np.stack(parts, axis=1)
            writer.add("train", Episode(seen.frames, actions.astype(np.float32), None, "made up"))
    store = EpisodeStore.open(tmp_path / "d", "train")
    controls = Controls.of(store.spec, store)
    assert controls.holds[:2] == (False, True)
    assert controls.holds[3]
    assert controls.rest[0] == 0
    assert controls.low[1] <= controls.rest[1] <= controls.high[1]
    assert controls.rest[2] == pytest.approx(0.5)
