"""Paths of an end effector that is commanded by displacements, in metres.

They are used twice: the scripted pusher walks them, and costs suggest them to a planner, which
judges them by what it imagines, like any other candidate.

Shape letters: N candidates, W waypoints, H steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ARRIVED = 0.012  # metres; a waypoint this near is reached


@dataclass(frozen=True)
class Heights:
    """Heights of the end effector above the table, in metres.

    Attributes:
        contact: where it pushes things.
        clear: where it passes over them.
    """

    contact: float = 0.03
    clear: float = 0.11


def walk(start: Tensor, waypoints: Tensor, max_step: Tensor, num_steps: int) -> Tensor:
    """Displacements (N, H, 3) from a start (3,) along the waypoints (N, W, 3), then rest.

    A step goes straight toward the next waypoint, at most `max_step` (3,) an axis.
    """
    count, num_waypoints = waypoints.shape[:2]
    position = start.expand(count, 3).clone()
    index = torch.zeros(count, dtype=torch.long)
    rows = torch.arange(count)
    steps = []
    for _ in range(num_steps):
        away = waypoints[rows, index] - position
        share = (max_step / away.abs().clamp(min=1e-9)).amin(dim=1).clamp(max=1)
        step = away * share[:, None]
        position = position + step
        arrived = (waypoints[rows, index] - position).norm(dim=1) < ARRIVED
        index = (index + arrived).clamp(max=num_waypoints - 1)
        steps.append(step)
    return torch.stack(steps, dim=1)


def push_waypoints(
    tip: Tensor, thing: Tensor, goal: Tensor, standoff: Tensor, turn: Tensor, heights: Heights
) -> Tensor:
    """Up, over, down behind the thing and through it to the goal: (N, 4, 3).

    Args:
        tip: (3,) the end effector.
        thing, goal: (N, 2) where the thing is and should be.
        standoff: (N,) distance behind the thing, from its centre.
        turn: (N,) radians by which the side to push from is turned.
    """
    direction = _turned(_unit(goal - thing), turn)
    behind = thing - standoff[:, None] * direction
    # The thing is about two thirds of the standoff ahead of the tip while it is pushed.
    last = goal - 0.65 * standoff[:, None] * _unit(goal - behind)
    near = (behind - tip[:2]).norm(dim=1) < 0.04
    low = near & (tip[2] < heights.contact + 0.02)
    clear = torch.where(low, tip[2], torch.tensor(heights.clear))
    here = tip[:2].expand_as(behind)
    contact = torch.full_like(clear, heights.contact)
    halfway = here + 0.3 * (behind - here)
    return torch.stack(
        [
            torch.cat([halfway, clear[:, None]], dim=1),
            torch.cat([behind, clear[:, None]], dim=1),
            torch.cat([behind, contact[:, None]], dim=1),
            torch.cat([last, contact[:, None]], dim=1),
        ],
        dim=1,
    )


def _unit(vectors: Tensor) -> Tensor:
    unit: Tensor = vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    return unit


def _turned(vectors: Tensor, angle: Tensor) -> Tensor:
    cos, sin = angle.cos(), angle.sin()
    x, y = vectors.unbind(dim=-1)
    return torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)
