"""Laws of the control loop: with an exact model, goals are reached."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from framecast.errors import UserError
from framecast.planning.actions import ActionBox
from framecast.planning.control import Controller
from framecast.planning.costs import Cost, DesignatedPixel, EndEffector, GoalImage
from framecast.planning.films import control_film
from framecast.planning.imagination import ImaginationConfig
from framecast.planning.planners import PLANNERS, PlannerConfig
from tests.planning.world import Squares, picture, spec, step

PLANNER = PlannerConfig(horizon=8, candidates=48, rounds=3)


class World:
    """The true squares, with a little execution noise that the model does not know."""

    def __init__(self, hand: Sequence[float], thing: Sequence[float]) -> None:
        self.hand, self.thing = torch.tensor([hand]), torch.tensor([thing])
        self.random = torch.Generator().manual_seed(5)

    def look(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        frame = picture(self.hand, self.thing)[0].permute(1, 2, 0)
        return (frame * 255).round().byte().numpy(), self.hand[0].numpy().copy()

    def act(self, action: NDArray[np.float32]) -> None:
        noise = 0.1 * torch.randn(1, 2, generator=self.random)
        moved = torch.from_numpy(action)[None] + noise
        self.hand, self.thing = step(self.hand, self.thing, moved)


def run(
    world: World, cost: Cost, steps: int, name: str = "icem", execute: int = 1, seed: int = 0
) -> tuple[Controller, bytes]:
    planner = PlannerConfig(**vars(PLANNER) | {"name": name})
    imagination = ImaginationConfig(bfloat16=False)
    box = ActionBox.of(spec())
    controller = Controller(Squares(), cost, box, planner, imagination, seed, execute)
    frame, state = world.look()
    controller.start(frame, state)
    truth, places = [frame], [controller.places]
    for _ in range(steps):
        action = controller.act()
        world.act(action)
        frame, state = world.look()
        controller.observe(action, frame, state)
        truth.append(frame)
        places.append(controller.places)
    film = control_film(truth, controller.decisions, places, cost, None, 5.0)
    return controller, film


@pytest.mark.parametrize("name", PLANNERS)
def test_every_planner_reaches_a_place_or_comes_near(name: str):
    world = World((6.0, 6.0), (26.0, 6.0))
    controller, _ = run(world, EndEffector([12.0, 24.0], spec()), 14, name)
    limit = {"shooting": 6.0, "mppi": 3.0}.get(name, 2.0)  # pixels, of 19 to begin with
    assert float((world.hand - torch.tensor([12.0, 24.0])).norm()) < limit
    assert len(controller.decisions) == 14


def test_a_thing_is_pushed_where_the_designated_pixel_should_go():
    for goal in ((24.0, 14.0), (22.0, 14.0)):
        world = World((8.0, 14.0), (16.0, 14.0))
        frame = torch.from_numpy(world.look()[0]).permute(2, 0, 1) / 255
        controller, _ = run(world, DesignatedPixel(frame, (16, 14), goal, spec()), 12)
        assert float((world.thing - torch.tensor([goal])).norm()) < 1.0
        assert float((controller.places[0] - world.thing[0]).norm()) < 0.5, "and it was followed"


def test_a_goal_image_is_matched():
    world = World((8.0, 8.0), (25.0, 25.0))
    goal = picture(torch.tensor([[20.0, 12.0]]), torch.tensor([[25.0, 25.0]]))[0]
    run(world, GoalImage(goal, spec()), 14)
    assert float((world.hand - torch.tensor([20.0, 12.0])).norm()) < 1.0


def test_the_seed_decides_every_decision_and_the_film_to_the_byte():
    outcomes = []
    for seed in (0, 0, 1):
        cost = EndEffector([20.0, 20.0], spec())
        controller, film = run(World((6.0, 6.0), (26.0, 6.0)), cost, 4, seed=seed)
        decisions = [decision.to_dict() for decision in controller.decisions]
        outcomes.append(([d | {"seconds": 0} for d in decisions], film))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0] != outcomes[2]


def test_a_plan_is_carried_out_as_far_as_told_before_the_next():
    controller, _ = run(
        World((6.0, 6.0), (26.0, 6.0)), EndEffector([20.0, 20.0], spec()), 7, execute=3
    )
    assert [decision.step for decision in controller.decisions] == [0, 3, 6]
    with pytest.raises(UserError, match="1 to 8"):
        run(World((6.0, 6.0), (26.0, 6.0)), EndEffector([20.0, 20.0], spec()), 1, execute=9)


def test_what_the_model_saw_is_the_latest_context():
    world = World((6.0, 6.0), (26.0, 6.0))
    controller, _ = run(world, EndEffector([20.0, 20.0], spec()), 3)
    present = controller.present
    torch.testing.assert_close(present.states[-1], world.hand[0])
    assert present.frames.shape[0] == controller.model.num_context
    assert present.actions.shape == (1, 2)


def test_other_bounds_than_the_models_are_refused():
    box = ActionBox.of(spec())
    box.require_same_bounds(np.array([-2, -2.5]), np.array([2, 2.5]), "the same")
    with pytest.raises(UserError, match=r"right was recorded between -2 and 2.* takes -1 to 1"):
        box.require_same_bounds(np.array([-1, -1]), np.array([1, 1]), "Other-v0")
    with pytest.raises(UserError, match="other units"):
        box.require_same_bounds(np.array([-90, -90]), np.array([90, 90]), "Other-v0")
    with pytest.raises(UserError, match="2 actions"):
        box.require_same_bounds(np.zeros(3), np.ones(3), "Other-v0")
    with pytest.raises(UserError, match="Did you mean 'right'"):
        ActionBox.of(spec(), fixed={"rigth": 0.0})
