"""Laws of the tree of moments."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from framecast.data.episodes import EpisodeStore
from framecast.errors import UserError
from framecast.steering import saving
from framecast.steering import session as sessions
from framecast.steering.controls import Controls
from framecast.steering.drag import find_drag
from framecast.steering.moments import Moment, Step
from framecast.steering.session import Session
from framecast.steering.starts import Start, Starts
from framecast.training.runs import Run
from tests.steering.conftest import RIGHT, SCENE, Mover

ACTION = np.array(RIGHT, np.float32)
BACK = np.array([-0.04, 0.02, 0.0, 1.0], np.float32)


def last(turns: Iterator[Moment | None]) -> Moment:
    """The moment that all turns lead to."""
    return [moment for moment in turns if moment is not None][-1]


@pytest.fixture
def opened(session: Session) -> Session:
    last(session.open(SCENE))
    return session


@pytest.fixture
def recorded(run_folder: Path, squares: Path) -> Session:
    """A course model on recordings."""
    model = Run(run_folder).load_model("best")
    store = EpisodeStore.open(squares, "test")
    starts = Starts(model.spec, 2, store, has_scenes=False)
    drag = find_drag(model.spec, EpisodeStore.open(squares, "train"), None)
    session = Session(model, starts, Controls.of(model.spec, store), drag)
    last(session.open(Start("clip", 1)))
    return session


def test_undo_restores_the_exact_frame(opened: Session):
    first = last(opened.step(ACTION)).frames.copy()
    second = last(opened.step(BACK))
    assert second.parent is not None
    undone = last(opened.go(second.parent.number))
    np.testing.assert_array_equal(undone.frames, first)


def test_a_branch_keeps_its_parent_and_what_was_there(opened: Session):
    first = last(opened.step(ACTION))
    one = last(opened.step(ACTION))
    kept = one.frames.copy()
    last(opened.go(first.number))
    other = last(opened.step(BACK))
    assert other.parent is first
    assert one.parent is first
    np.testing.assert_array_equal(opened.moments[one.number].frames, kept)
    assert first.children == [one, other]


def test_the_same_step_from_the_same_moment_is_the_same_moment(opened: Session):
    first = last(opened.step(ACTION))
    last(opened.go(0))
    assert last(opened.step(ACTION)) is first
    assert len(opened.moments) == 2


def test_a_seed_names_a_future(opened: Session):
    last(opened.adjust(3, 5, True))
    three = last(opened.step(ACTION)).frames
    last(opened.go(0))
    last(opened.adjust(1, 6, True))
    alone = last(opened.step(ACTION)).frames
    np.testing.assert_array_equal(alone[0], three[1])


def test_resampling_takes_the_step_again_with_another_seed(opened: Session):
    first = last(opened.step(ACTION))
    again = last(opened.resample())
    assert again.parent is first.parent
    assert again.step is not None
    np.testing.assert_array_equal(again.step.action, ACTION)
    assert (again.frames != first.frames).any()


def test_without_the_latent_all_futures_agree(opened: Session):
    last(opened.adjust(4, 0, False))
    frames = last(opened.step(ACTION)).frames
    np.testing.assert_array_equal(frames, np.repeat(frames[:1], 4, axis=0))
    last(opened.adjust(4, 0, True))
    assert (last(opened.step(ACTION)).frames[0] != frames[0]).any()


@pytest.mark.parametrize("kind", ["mover", "course"])
def test_forgotten_states_are_imagined_again_alike(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
):
    session: Session = request.getfixturevalue({"mover": "opened", "course": "recorded"}[kind])
    actions = [session.controls.high, session.controls.low, session.controls.high * 0.5]
    last(session.adjust(2, 0, True))
    for action in actions:
        far = last(session.step(action))
    kept = far.frames.copy()
    assert far.parent is not None
    session.states.budget = 0
    last(session.go(0))
    last(session.step(actions[2]))  # pushes every other state out
    last(session.go(far.parent.number))
    parent = session.current
    parent.children.clear()  # so that the step has to be imagined
    np.testing.assert_array_equal(last(session.step(actions[2])).frames, kept)


def test_more_futures_keep_the_first_ones(recorded: Session):
    last(recorded.adjust(2, 3, True))
    for _ in range(3):
        two = last(recorded.step(recorded.controls.high))
    before = two.frames.astype(int)
    five = last(recorded.adjust(5, 3, True))
    assert five is two
    assert len(five.frames) == 5
    # The batch's size may change the order of sums, so the last bit of a pixel.
    assert np.abs(five.frames[:2].astype(int) - before).max() <= 1
    assert len(last(recorded.go(0)).frames) == 5


def test_a_path_leads_to_the_same_frames(opened: Session, mover: Mover):
    last(opened.adjust(2, 11, True))
    last(opened.step(ACTION))
    last(opened.resample())
    shown = last(opened.step(BACK))
    path = [moment.step for moment in shown.path() if moment.step is not None]
    other = Session(mover, opened.starts, opened.controls, opened.drag)
    assert not list(other.adjust(2, 0, True)), "there is nothing to show yet"
    again = last(other.open(SCENE, path))
    np.testing.assert_array_equal(again.frames, shown.frames)


def test_the_simulator_branches_as_exactly_as_the_model(opened: Session):
    first = last(opened.step(ACTION))
    one = last(opened.step(ACTION)).truth
    last(opened.go(first.number))
    last(opened.step(BACK))
    last(opened.go(first.number))
    opened.current.children.clear()
    again = last(opened.step(ACTION)).truth
    assert one is not None
    assert again is not None
    assert again is not one
    np.testing.assert_array_equal(one.frame, again.frame)
    np.testing.assert_array_equal(one.state, again.state)


def test_the_truth_moves_with_the_command(opened: Session):
    start = opened.current.truth
    for _ in range(3):
        end = last(opened.step(ACTION)).truth
    assert start is not None
    assert end is not None
    assert end.state[0] - start.state[0] > 0.05
    assert (end.frame != start.frame).any()


def test_a_recording_plays_on_and_says_when_it_is_departed_from(recorded: Session):
    episode = recorded.starts.store.episode(1)
    for step in range(3):
        moment = last(recorded.step(None))
        assert moment.truth is not None
        assert moment.truth.commanded
        np.testing.assert_array_equal(moment.truth.frame, episode.frames[2 + step])
    departed = last(recorded.step(recorded.controls.low))
    assert departed.truth is not None
    assert not departed.truth.commanded
    np.testing.assert_array_equal(departed.truth.frame, episode.frames[5])


def test_a_recording_that_ends_leaves_the_model_alone(recorded: Session):
    for _ in range(10):
        moment = last(recorded.step(None))
    assert moment.truth is not None
    with pytest.raises(UserError, match="Nothing more was recorded"):
        last(recorded.step(None))
    beyond = last(recorded.step(recorded.controls.low))
    assert beyond.truth is None
    assert beyond.psnr == []


def test_psnr_is_that_of_the_definition(opened: Session):
    moment = last(opened.step(ACTION))
    assert moment.truth is not None
    error = moment.frames[0] / 255.0 - moment.truth.picture / 255.0
    channels = -10 * np.log10((error**2).mean(axis=(0, 1)))
    assert moment.psnr[0] == pytest.approx(channels.mean(), abs=1e-3)


def test_a_command_is_cut_off_at_the_bounds_of_training(opened: Session):
    moment = last(opened.step(np.full(4, 100, np.float32)))
    assert moment.step is not None
    np.testing.assert_allclose(moment.step.action, [0.05, 0.05, 0.03, 1.0])


def test_a_full_session_says_so_and_stays_usable(opened: Session, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sessions, "FRAME_BUDGET", 4 * 64 * 64 * 3)
    for _ in range(3):
        last(opened.step(ACTION))
    with pytest.raises(UserError, match="full"):
        last(opened.step(ACTION))
    assert last(opened.go(1)).number == 1


def test_states_stay_within_their_budget(opened: Session):
    size = 64 * 64 * 3 * 4
    opened.states.budget = 5 * size
    for _ in range(12):
        last(opened.step(ACTION))
        assert opened.states.bytes() <= 5 * size


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (lambda s: s.step(ACTION), "Choose a start"),
        (lambda s: s.resample(), "Choose a start"),
        (lambda s: s.go(0), "Choose a start"),
        (lambda s: s.open(Start("clip", 0)), "no episode 0"),
    ],
)
def test_a_session_without_a_start_says_what_to_do(session: Session, command: Any, words: str):
    with pytest.raises(UserError, match=words):
        last(command(session))


def test_starts_that_are_not_there_are_named(recorded: Session):
    for start, words in (
        (Start("clip", 99), "There is no episode 99; the split has 3"),
        (Start("clip", 0, 10), "can start from frames 0 to 9, not 10"),
        (Start("scene", 0), "choose a clip"),
    ):
        with pytest.raises(UserError, match=words):
            last(recorded.open(start))
    assert last(recorded.go(0)).number == 0, "what was open stays open"


def test_a_film_shows_the_truth_and_every_future(opened: Session):
    last(opened.adjust(3, 0, True))
    for _ in range(4):
        last(opened.step(ACTION))
    film = Image.open(io.BytesIO(saving.film(opened)))
    assert film.n_frames == 2 + 4
    assert film.width >= 4 * 64


def test_an_npz_holds_what_was_shown(opened: Session):
    last(opened.adjust(2, 0, True))
    shown = [last(opened.step(action)) for action in (ACTION, BACK)]
    with np.load(io.BytesIO(saving.numbers(opened)), allow_pickle=False) as saved:
        np.testing.assert_array_equal(saved["futures"], [moment.frames for moment in shown])
        np.testing.assert_array_equal(saved["actions"], [ACTION, BACK])
        assert saved["truth"].shape == (2, 64, 64, 3)
        assert saved["context"].shape == (2, 64, 64, 3)
        assert saved["seeds"].tolist() == [0, 0]
        about = json.loads(str(saved["about"]))
    assert about["start"] == SCENE.to_dict()
    assert about["commanded"] == [True, True]


def test_saving_nothing_says_what_to_do(opened: Session):
    for save in saving.FORMATS.values():
        with pytest.raises(UserError, match="take a step first"):
            save(opened)


def test_step_equality_is_of_action_and_seed():
    step = Step(ACTION, 1)
    assert step.same_as(Step(ACTION.copy(), 1))
    assert not step.same_as(Step(ACTION, None))
    assert not step.same_as(Step(BACK, 1))
    assert not step.same_as(None)
