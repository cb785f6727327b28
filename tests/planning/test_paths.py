"""Laws of the paths that costs suggest, walked in a world of one round thing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from framecast.planning.paths import Heights, push_waypoints, walk

MAX_STEP = torch.tensor([0.05, 0.05, 0.03])
TOUCHING = 0.035  # metres between the thing's middle and the tip that pushes it
GOAL = torch.tensor([0.08, -0.02])


def path(tip: Tensor, thing: Tensor) -> Tensor:
    """Moves (H, 3) by the book."""
    waypoints = push_waypoints(
        tip, thing[None], GOAL[None], torch.tensor([0.065]), torch.zeros(1), Heights()
    )
    return walk(tip, waypoints, MAX_STEP, 30)[0]


def pushed(tip: Tensor, thing: Tensor) -> Tensor:
    away = thing - tip[:2]
    overlap = TOUCHING - float(away.norm())
    if tip[2] > 0.06 or overlap <= 0:
        return thing
    return thing + overlap * away / away.norm()


def steps_to_goal(execute: int, start: Tensor) -> int:
    tip, thing = start, torch.tensor([-0.02, 0.01])
    for count in range(0, 40, execute):
        for move in path(tip, thing)[:execute]:
            for _ in range(10):  # so that the tip does not jump over the thing
                tip = tip + move / 10
                thing = pushed(tip, thing)
        if float((thing - GOAL).norm()) < 0.015:
            return count + execute
    return 1000


@pytest.mark.parametrize("angle", range(0, 360, 45))
@pytest.mark.parametrize("height", [0.03, 0.06, 0.12])
def test_a_push_begun_anew_at_every_step_is_not_put_off(angle: int, height: float):
    side = torch.tensor([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    start = torch.cat([0.12 * side, torch.tensor([height])])
    at_once = steps_to_goal(30, start)
    assert at_once == 30
    assert steps_to_goal(1, start) <= 16
    assert steps_to_goal(2, start) <= 16


def test_a_step_goes_on_to_the_next_waypoint_with_what_is_left_of_it():
    start = torch.tensor([0.0, 0.0, 0.1])
    corner, end = [0.075, 0.0, 0.1], [0.075, 0.05, 0.1]
    moves = walk(start, torch.tensor([[corner, end]]), MAX_STEP, 4)[0]
    expected = torch.tensor([[0.05, 0, 0], [0.025, 0.025, 0], [0, 0.025, 0], [0, 0, 0]])
    torch.testing.assert_close(moves, expected, rtol=0, atol=1e-6)


def test_a_waypoint_that_is_reached_already_takes_no_step():
    start = torch.tensor([0.0, 0.0, 0.1])
    waypoints = torch.tensor([[[0.0, 0.005, 0.1], [0.004, 0.0, 0.1], [0.1, 0.0, 0.1]]])
    moves = walk(start, waypoints, MAX_STEP, 3)[0]
    torch.testing.assert_close(moves[0], torch.tensor([0.05, 0, 0]), rtol=0, atol=1e-6)
    torch.testing.assert_close(start + moves.sum(dim=0), waypoints[0, -1], rtol=0, atol=1e-6)


def test_no_step_is_larger_than_allowed_on_its_way():
    random = torch.Generator().manual_seed(0)
    waypoints = 0.2 * torch.randn(50, 4, 3, generator=random)
    slow = MAX_STEP.repeat(50, 4, 1)
    slow[:, -1] *= 0.2
    moves = walk(torch.zeros(3), waypoints, slow, 400)
    assert (moves.abs() <= MAX_STEP + 1e-6).all()
    torch.testing.assert_close(moves.sum(dim=1), waypoints[:, -1], rtol=0, atol=1e-3)
    last = moves[:, -3:]
    assert (last.abs() <= 0.2 * MAX_STEP + 1e-6).all()
