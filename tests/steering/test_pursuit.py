"""Laws of planning by hand: an exact model of two squares, whose truth can be watched."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from framecast.cli.planner_options import planner_options, planning_of
from framecast.errors import UserError
from framecast.planning.handmap import KnownCamera
from framecast.steering.controls import Controls
from framecast.steering.drag import EstimatedDrag, PusherDrag
from framecast.steering.moments import Moment
from framecast.steering.pursuit import EXECUTE, IMAGINATION, PLANNER, TURN, Preview, Pursuit, Round
from framecast.steering.session import Session
from framecast.steering.starts import Beginning, Start, Starts
from framecast.steering.truth import TrueMoment
from tests.planning.world import SIZE, Squares, picture, spec, step
from tests.steering.conftest import SCENE, Mover, Seen, pusher_spec
from tests.steering.test_session import last

HAND, THING, GOAL = (8.0, 14.0), (16.0, 14.0), (24.0, 14.0)  # pixels
TO_PICTURE = np.array([[1 / SIZE, 0, 0], [0, 1 / SIZE, 0]])


def share(pixel: tuple[float, float]) -> tuple[float, float]:
    return pixel[0] / SIZE, pixel[1] / SIZE


class SquaresTruth:
    """The true squares, whose hand slips a little; they can end after so many steps."""

    kind = "simulator"

    def __init__(self, ends_after: int) -> None:
        self.ends_after = ends_after

    def at(self, hand: Tensor, thing: Tensor, depth: int) -> TrueMoment:
        frame = (picture(hand, thing)[0].permute(1, 2, 0) * 255).round().byte().numpy()
        return TrueMoment(frame, hand[0].numpy().copy(), True, (hand, thing, depth))

    def after(self, moment: TrueMoment, action: np.ndarray) -> TrueMoment | None:
        hand, thing, depth = moment.memory
        if depth == self.ends_after:
            return None
        slip = 0.1 * torch.randn(1, 2, generator=torch.Generator().manual_seed(depth))
        return self.at(*step(hand, thing, torch.from_numpy(action)[None] + slip), depth + 1)

    def recorded_action(self, moment: TrueMoment) -> None:
        return None


class OneStart:
    """The squares at rest."""

    def __init__(self, ends_after: int) -> None:
        self.truth = SquaresTruth(ends_after)

    def begin(self, start: Start) -> Beginning:
        first = self.truth.at(torch.tensor([HAND]), torch.tensor([THING]), 0)
        frames, states = np.stack([first.frame] * 2), np.stack([first.state] * 2)
        return Beginning(frames, np.zeros((1, 2), np.float32), states, self.truth, first)


def squares_session(ends_after: int = 100, seed: int = 0, listens: bool = True) -> Session:
    model = Squares(listens=listens)
    drag = EstimatedDrag((0, 1), np.eye(2) / SIZE, 1.0, TO_PICTURE)
    session = Session(model, OneStart(ends_after), Controls.of(spec(), None), drag)
    session.seed = seed
    last(session.open(Start("scene", 0)))
    return session


def pushing(session: Session) -> Pursuit:
    return Pursuit(session, share(THING), share(GOAL), 0)


def think(pursuit: Pursuit) -> list[Round | Preview]:
    """One whole decision."""
    thoughts: list[Round | Preview] = []
    while not (thoughts and isinstance(thoughts[-1], Preview)):
        thoughts += [thought for thought in pursuit.think() if thought is not None]
    return thoughts


def run(pursuit: Pursuit, steps: int) -> list[Moment]:
    moments: list[Moment] = []
    while len(moments) < steps and not pursuit.standing().reached:
        if pursuit.standing().undecided:
            think(pursuit)
        moments.append(last(pursuit.act()))
    return moments


def test_a_plan_that_runs_brings_the_thing_to_its_goal_in_the_truth():
    session = squares_session()
    pursuit = pushing(session)
    assert pursuit.standing().remaining == pytest.approx(8, abs=0.5)
    moments = run(pursuit, 20)
    standing = pursuit.standing()
    assert standing.reached
    assert standing.sees_truth
    true_thing = session.current.truth.memory[1][0]
    assert float((true_thing - torch.tensor(GOAL)).norm()) < 1.5
    np.testing.assert_allclose(np.array(standing.thing) * SIZE, true_thing.numpy(), atol=0.5)
    assert [moment.parent for moment in moments] == [session.moments[0], *moments[:-1]]


def test_where_the_truth_ends_it_plans_from_what_was_imagined():
    session = squares_session(ends_after=1)
    pursuit = pushing(session)
    assert pursuit.standing().sees_truth
    run(pursuit, 20)
    assert session.current.truth is None
    assert not pursuit.standing().sees_truth
    assert pursuit.standing().remaining < 1.5
    blue = session.current.frames[0].astype(float) @ (-1, 0, 1) > 60
    assert np.argwhere(blue).mean(axis=0)[1] + 0.5 == pytest.approx(GOAL[0], abs=1.5)


def test_the_model_is_shown_the_last_true_frames(monkeypatch: pytest.MonkeyPatch):
    session = squares_session()
    pursuit = pushing(session)
    run(pursuit, 2)
    assert pursuit.standing().undecided
    observed: list[Tensor] = []
    observe = Squares.observe

    def spy(model: Squares, frames: Tensor, *rest: Any) -> Any:
        observed.append(frames)
        return observe(model, frames, *rest)

    monkeypatch.setattr(Squares, "observe", spy)
    think(pursuit)
    true = [moment.truth.frame for moment in session.current.path()]
    shown = (observed[0][:, 0].permute(0, 2, 3, 1) * 255).round().byte().numpy()
    np.testing.assert_array_equal(shown, true)
    assert (session.current.frames[0] != true[-1]).any(), "which are not those imagined"


def test_the_seed_decides_every_action():
    taken = []
    for seed in (0, 0, 1):
        moments = run(pushing(squares_session(seed=seed)), 4)
        taken.append(np.stack([moment.step.action for moment in moments]))
    np.testing.assert_array_equal(taken[0], taken[1])
    assert (taken[0] != taken[2]).any()


def test_candidates_narrow_round_by_round():
    *rounds, preview = think(pushing(squares_session()))
    assert [(thought.index, thought.count) for thought in rounds] == [(1, 2), (2, 2)]
    for thought in rounds:
        assert thought.gripper.shape == thought.thing.shape == (32, PLANNER.horizon + 1, 2)
        np.testing.assert_allclose(thought.gripper[:, 0], [share(HAND)] * 32, atol=1e-6)
        np.testing.assert_allclose(thought.thing[:, 0], [share(THING)] * 32, atol=0.01)
        assert len(thought.elites) == PLANNER.num_elites
    assert rounds[1].mean < rounds[0].mean
    assert rounds[1].best <= rounds[0].best
    spreads = [thought.gripper[:, -1].std(axis=0).sum() for thought in rounds]
    assert spreads[1] < spreads[0]
    assert preview.frames.shape == (PLANNER.horizon, SIZE, SIZE, 3)
    assert preview.gripper.shape == (PLANNER.horizon + 1, 2)


def test_a_turn_imagines_a_few_candidates_only():
    session = squares_session()
    pursuit = pushing(session)
    session.model.batches.clear()
    turns = pursuit.think()
    for _ in range(PLANNER.candidates // TURN):
        assert next(turns) is None
        assert sum(session.model.batches) == TURN * PLANNER.horizon
        session.model.batches.clear()
    assert isinstance(next(turns), Round)
    assert not list(turns)
    assert not session.model.batches


def test_thinking_takes_no_step_and_what_is_stopped_leaves_the_session_as_it_was():
    session = squares_session()
    pursuit = pushing(session)
    next(pursuit.think())  # stopped amid a round
    think(pursuit)
    assert len(session.moments) == 1
    last(session.step(session.controls.high))
    assert pursuit.standing().undecided, "what was decided was decided for another moment"
    think(pursuit)
    moment = last(pursuit.act())
    assert moment.depth == 2
    assert last(session.go(1)) is moment.parent
    think(pursuit)
    last(pursuit.act())
    assert len(moment.parent.children) in (1, 2), "a branch, or the same step again"


def test_a_path_of_planned_steps_is_shared_like_any_other():
    session = squares_session()
    moments = run(pushing(session), 3)
    path = [moment.step for moment in moments]
    again = last(squares_session().open(Start("scene", 0), path))
    np.testing.assert_array_equal(again.frames, session.current.frames)
    np.testing.assert_array_equal(again.truth.frame, session.current.truth.frame)


@pytest.mark.parametrize(
    ("do", "words"),
    [
        (lambda p, s: last(p.act()), "think first"),
        (lambda p, s: Pursuit(s, (1.2, 0.5), share(GOAL), 0), "outside the picture"),
        (lambda p, s: Pursuit(s, share(THING), (0.5, -0.1), 0), "outside the picture"),
        (lambda p, s: Pursuit(s, None, share(GOAL), 0), "not known for this model"),
        (lambda p, s: pushing(squares_session(listens=False)), "trained without actions"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_a_line(do: Callable[..., Any], words: str):
    session = squares_session()
    with pytest.raises(UserError, match=words) as refused:
        do(pushing(session), session)
    assert "\n" not in str(refused.value)


def test_a_goal_holds_for_the_moments_after_its_click_only():
    session = squares_session()
    last(session.step(session.controls.rest))
    pursuit = pushing(session)
    last(session.go(0))
    with pytest.raises(UserError, match="click it again"):
        pursuit.standing()
    assert session.current.number == 0


def test_another_start_drops_the_goal():
    session = squares_session()
    session.pursuit = pushing(session)
    last(session.open(Start("scene", 0)))
    assert session.pursuit is None


def test_planning_is_that_of_the_command():
    parser = argparse.ArgumentParser()
    planner_options(parser)
    options = parser.parse_args([])
    planner, imagination, _ = planning_of(options, pusher_spec())
    assert (planner, imagination, options.execute) == (PLANNER, IMAGINATION, EXECUTE)


class Reacher(Mover):
    """A mover that knows where displacements lead."""

    @property
    def uses_states(self) -> bool:
        return True

    def observe(self, frames: Tensor, actions: Tensor, states: Tensor | None) -> Seen:
        assert states is not None
        return Seen(states[-1] / 0.1, frames[-1])

    def imagine(self, state: Seen, action: Tensor, *rest: Any) -> tuple[Tensor, Seen]:
        frame, seen = super().imagine(state, action, None)
        return frame, replace(seen, robot_state=state.robot_state + action[:, :3] / 0.1)


def test_the_gripper_is_brought_to_a_clicked_place():
    model, hand_map = Reacher(pusher_spec()).eval(), KnownCamera(64)
    starts = Starts(model.spec, 2, None, has_scenes=True)
    session = Session(model, starts, Controls.of(model.spec, None), PusherDrag(), hand_map)
    last(session.open(SCENE))
    place = np.array([0.1, 0.05, hand_map.contact_height])
    across, down = hand_map.pixels(place[None])[0] / 64
    before = np.linalg.norm(session.current.truth.state - place)
    pursuit = Pursuit(session, None, (across, down), 0)
    assert pursuit.standing().unit == "m"
    assert pursuit.standing().remaining == pytest.approx(before, abs=1e-4)
    moments = run(pursuit, 12)
    assert np.linalg.norm(session.current.truth.state - place) < 0.3 * before
    assert {moment.step.action[3] for moment in moments} == {-1.0}, "the gripper stays as it was"
    with pytest.raises(UserError, match="out of reach"):
        Pursuit(session, None, (0.02, 0.02), 0)


def test_a_known_camera_leads_from_places_to_pixels_and_back():
    hand_map = KnownCamera(64)
    places = np.random.default_rng(0).uniform(-0.15, 0.15, (50, 2))
    pixels = hand_map.pixels(np.c_[places, np.full(50, hand_map.contact_height)])
    np.testing.assert_allclose(hand_map.places(pixels), places, atol=1e-9)
