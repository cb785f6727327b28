"""Paths of an end effector that is commanded by displacements, in metres.

Costs suggest them to a planner, which judges them by what it imagines, like any other candidate.

Shape letters: N candidates, W waypoints, H steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ARRIVED = 0.012  # metres; a waypoint this near is passed
ABOVE_IT = 0.02  # metres; from there the way behind a thing is straight down
BEHIND_IT = 0.75  # cosine between where a thing lies and where it should go
IN_REACH = 0.03  # metres beyond the standoff; from there a push begins without rising


@dataclass(frozen=True)
class Heights:
    """Heights of the end effector above the table, in metres.

    Attributes:
        contact: where it pushes things.
        passing: where it is above them.
        clear: where it travels.
    """

    contact: float = 0.03
    passing: float = 0.075
    clear: float = 0.09

    @property
    def low(self) -> float:
        """Below, it is among the things."""
        return self.contact + 0.02


def walk(start: Tensor, waypoints: Tensor, max_step: Tensor, num_steps: int) -> Tensor:
    """Displacements (N, H, 3) from a start (3,) along the waypoints (N, W, 3), then rest.

    A step goes straight toward the next waypoint, at most `max_step` an axis, and on to the one
    after it with what is left of the step.

    Args:
        max_step: (3,), or (N, W, 3) of the ways that end at each waypoint.
    """
    count, num_waypoints = waypoints.shape[:2]
    max_step = max_step.expand(waypoints.shape)
    position = start.expand(count, 3)
    index = torch.zeros(count, dtype=torch.long)
    rows = torch.arange(count)
    steps = []
    for _ in range(num_steps):
        before, left = position, torch.ones(count)
        for _ in range(num_waypoints):
            away = waypoints[rows, index] - position
            needed = (away.abs() / max_step[rows, index]).amax(dim=1).clamp(min=1e-9)
            passed = (away.norm(dim=1) < ARRIVED) & (index < num_waypoints - 1)
            used = torch.minimum(needed, left) * ~passed
            position = position + away * (used / needed)[:, None]
            left = left - used
            index = (index + (passed | (used == needed))).clamp(max=num_waypoints - 1)
        steps.append(position - before)
    return torch.stack(steps, dim=1)


def push_waypoints(
    tip: Tensor, thing: Tensor, goal: Tensor, standoff: Tensor, turn: Tensor, heights: Heights
) -> Tensor:
    """Up, over, down behind the thing and through it to the goal: (N, 4, 3).

    From behind the thing, down among the things, the push goes on from there.

    Args:
        tip: (3,) the end effector.
        thing, goal: (N, 2) where the thing is and should be.
        standoff: (N,) distance behind the thing, from its centre.
        turn: (N,) radians by which the side to push from is turned.
    """
    direction = _turned(_unit(goal - thing), turn)
    to_thing = thing - tip[:2]
    gap = to_thing.norm(dim=1)
    is_low = tip[2] < heights.low
    is_behind = (to_thing * direction).sum(dim=1) > BEHIND_IT * gap
    ready = is_low & is_behind & (gap < standoff + IN_REACH)
    touching = 0.6 * standoff  # about how far ahead of the tip a thing's middle is pushed
    standoff = torch.where(ready, torch.minimum(standoff, gap), standoff)
    behind = thing - standoff[:, None] * direction
    last = goal - torch.minimum(touching, standoff)[:, None] * _unit(goal - behind)
    arrived = (behind - tip[:2]).norm(dim=1) < ABOVE_IT
    direct = (ready | arrived)[:, None]
    here = tip.expand(len(thing), 3)
    risen = _at(here, tip[2].clamp(min=heights.passing))
    above = _at(behind, torch.tensor(heights.clear))
    contact = torch.tensor(heights.contact)
    return torch.stack(
        [
            torch.where(direct, here, risen),
            torch.where(direct, here, above),
            _at(behind, contact),
            _at(last, contact),
        ],
        dim=1,
    )


def _at(places: Tensor, height: Tensor) -> Tensor:
    """Places (N, 2 or more) at a height: (N, 3)."""
    return torch.cat([places[:, :2], height.expand(len(places), 1)], dim=1)


def _unit(vectors: Tensor) -> Tensor:
    unit: Tensor = vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    return unit


def _turned(vectors: Tensor, angle: Tensor) -> Tensor:
    cos, sin = angle.cos(), angle.sin()
    x, y = vectors.unbind(dim=-1)
    return torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)
