"""Laws of imagining candidates, in a world whose model is exact."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from framecast.errors import UserError
from framecast.planning import geometry
from framecast.planning.costs import Cost, DesignatedPixel, EndEffector, GoalImage, WeightedSum
from framecast.planning.futures import Futures, Present
from framecast.planning.imagination import Imagination, ImaginationConfig, require_actions
from framecast.planning.tracking import Mark
from tests.planning.world import SIZE, Squares, SquareState, picture, spec, step

HAND, THING = torch.tensor([[8.0, 16.0]]), torch.tensor([[18.0, 16.0]])
EXACT = {"bfloat16": False}


def present(*marks: Mark) -> Present:
    frame = picture(HAND, THING)
    places = torch.stack([mark.place for mark in marks]) if marks else torch.zeros(0, 2)
    return Present(frame.repeat(2, 1, 1, 1), torch.zeros(1, 2), HAND.repeat(2, 1), places)


def candidates(count: int = 7, horizon: int = 4) -> Tensor:
    return torch.randn(count, horizon, 2, generator=torch.Generator().manual_seed(1))


def imagination(cost: Cost, model: Squares | None = None, **changes: object) -> Imagination:
    config = ImaginationConfig(**EXACT | changes)
    return Imagination(model or Squares(), present(*cost.marks), cost, 4, config, seed=0)


class FinalAcross(Cost):
    """Where the hand ends, left is better."""

    def __call__(self, futures: Futures) -> Tensor:
        assert futures.states is not None
        return futures.states[-1, :, 0]


def test_imagined_futures_are_the_true_ones():
    commands = candidates()
    cost = DesignatedPixel(present().frames[-1], (18, 16), (22, 16), spec())
    futures = imagination(cost).futures(commands)
    hand, thing = HAND.repeat(7, 1), THING.repeat(7, 1)
    for index in range(4):
        hand, thing = step(hand, thing, commands[:, index])
        torch.testing.assert_close(futures.frames[index], picture(hand, thing))
        torch.testing.assert_close(futures.states[index], hand)


def test_the_context_is_encoded_once_and_the_budget_changes_nothing():
    results = []
    for memory_mb in (256.0, 3.0):
        model = Squares(shake=0.3)
        cost = WeightedSum(
            [GoalImage(torch.zeros(3, SIZE, SIZE), spec()), FinalAcross()], [0.5, 2.0]
        )
        world = imagination(cost, model, memory_mb=memory_mb, samples=3)
        results.append(world(candidates()))
        assert model.observed == 1
        assert sum(model.batches) == 4 * 7 * 3
    torch.testing.assert_close(*results, rtol=0, atol=0)
    assert max(model.batches) < 7 * 3, "the small budget was cut into chunks"


def test_latent_samples_are_aggregated_and_shared_between_candidates():
    model = Squares(shake=0.5)
    costs = {
        name: imagination(FinalAcross(), model, samples=5, aggregate=name)(candidates())
        for name in ("mean", "worst", "best")
    }
    assert (costs["best"] < costs["mean"]).all()
    assert (costs["mean"] < costs["worst"]).all()
    twins = candidates()[:1].repeat(3, 1, 1)
    alike = imagination(FinalAcross(), model, samples=5)(twins)
    torch.testing.assert_close(alike, alike[:1].repeat(3), rtol=0, atol=0)


def test_a_model_that_ignores_actions_is_refused():
    require_actions(Squares(), present())
    with pytest.raises(UserError, match="trained without actions"):
        require_actions(Squares(listens=False), present())


class FlowState(SquareState):
    """Carries marks along by the thing's true motion of one pixel to the right."""

    def advect(self, maps: Tensor) -> Tensor:
        return torch.roll(maps, 1, dims=-1)


def test_a_model_that_moves_pixels_carries_the_marks_itself():
    class Flowing(Squares):
        def observe(self, *context: Tensor | None) -> SquareState:
            return FlowState(**vars(super().observe(*context)))  # type: ignore[arg-type]

    cost = DesignatedPixel(present().frames[-1], (18, 16), (22, 16), spec())
    still = torch.zeros(1, 4, 2)
    for flow, across in ((True, 22.0), (False, 18.0)):
        tracks = imagination(cost, Flowing(), flow=flow).futures(still).tracks
        assert float(tracks[-1, 0, 0, 0]) == pytest.approx(across, abs=0.1)


def test_tracking_follows_a_pushed_thing_to_a_fraction_of_a_pixel():
    cost = DesignatedPixel(present().frames[-1], (18, 16), (24, 16), spec())
    right = torch.tensor([1.5, 0.0]).expand(1, 8, 2)
    config = ImaginationConfig(**EXACT)
    world = Imagination(Squares(), present(*cost.marks), cost, 8, config, 0)
    tracks = world.futures(right).tracks[:, 0, 0]
    hand, thing = HAND, THING
    for index in range(8):
        hand, thing = step(hand, thing, right[:, index])
        assert (tracks[index] - thing[0]).norm() < 0.6
    assert float(thing[0, 0]) > 25


def test_a_hidden_thing_stays_where_it_was_seen():
    frame = picture(HAND, THING)
    mark = Mark.at(frame[0], (18, 16))
    covered = picture(THING, THING)
    place, mass = mark.find(covered, mark.place[None])
    assert (place[0] - mark.place).norm() < 0.5
    assert float(mass) < 0.3 * float(mark.find(frame, mark.place[None])[1])


@pytest.mark.parametrize(("pixel", "what"), [((40, 3), "outside the 32x32"), ((-1, 3), "outside")])
def test_a_pixel_outside_the_picture_is_refused(pixel: tuple[int, int], what: str):
    with pytest.raises(UserError, match=what):
        Mark.at(picture(HAND, THING)[0], pixel)
    with pytest.raises(UserError, match="outside"):
        DesignatedPixel(picture(HAND, THING)[0], (18, 16), pixel, spec())


def test_costs_are_what_their_formulas_say():
    tip = torch.tensor([[[0.0, 0.0, 0.0]], [[3.0, 4.0, 0.0]]])
    assert geometry.reach_cost(tip, torch.zeros(3)).tolist() == pytest.approx([5 + 0.5 * 2.5])
    thing = torch.tensor([[[0.0, 0.0]], [[0.1, 0.0]]])
    goal = torch.tensor([0.3, 0.0])
    plain = 0.2 + 0.5 * 0.25
    assert geometry.push_cost(thing, goal, None, 0.0).tolist() == pytest.approx([plain])
    tip = torch.tensor([[[0.0, 0.0, 0.0]], [[0.1 - 0.055, 0.1, 0.05]]])
    shown = geometry.push_cost(thing, goal, tip, 0.03)
    assert shown.tolist() == pytest.approx([plain + 0.15 * (0.1 + 0.02)])
    image = GoalImage(torch.zeros(3, SIZE, SIZE), spec())
    frames = torch.full((2, 1, 3, SIZE, SIZE), 0.5)
    futures = Futures(frames, torch.zeros(2, 1, 2), None, torch.zeros(2, 1, 0, 2))
    assert image(futures).tolist() == pytest.approx([0.25 * 1.5])


def test_a_weighted_sum_adds_up_and_gives_each_cost_its_own_marks():
    frame = present().frames[-1]
    red = DesignatedPixel(frame, (8, 16), (10, 16), spec())
    blue = DesignatedPixel(frame, (18, 16), (20, 16), spec())
    both = WeightedSum([red, blue], [2.0, 0.5])
    expected = 2 * imagination(red)(candidates()) + 0.5 * imagination(blue)(candidates())
    torch.testing.assert_close(imagination(both)(candidates()), expected)


@pytest.mark.parametrize("sees_frames", [True, False])
def test_frames_that_no_cost_sees_are_not_kept(sees_frames: bool):
    shapes = []

    class Watching(FinalAcross):
        def __call__(self, futures: Futures) -> Tensor:
            shapes.append(futures.frames.shape)
            return super().__call__(futures)

    cost = Watching()
    cost.sees_frames = sees_frames
    costs = imagination(cost)(candidates())
    torch.testing.assert_close(costs, imagination(FinalAcross())(candidates()))
    assert {len(shape) for shape in shapes} == {5}
    assert {shape[0] for shape in shapes} == {4 if sees_frames else 1}
    pixel = DesignatedPixel(present().frames[-1], (18, 16), (20, 16), spec())
    assert WeightedSum([pixel, cost], [1.0, 1.0]).sees_frames == sees_frames


def test_goals_that_cannot_be_are_refused_in_one_line():
    with pytest.raises(UserError, match=r"goal image is 16x24 .* predicts 32x32"):
        GoalImage(torch.zeros(3, 24, 16), spec())
    with pytest.raises(UserError, match="across=99 is out of reach"):
        EndEffector([99.0, 3.0], spec())
    with pytest.raises(UserError, match="recorded states"):
        EndEffector([1.0], spec(with_states=False))
    with pytest.raises(UserError, match="got a goal of 3"):
        EndEffector([5.0, 5.0, 5.0], spec())
