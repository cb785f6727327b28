"""Costs of end effectors and pushed things in metres, whoever says where they are.

The same formulas serve the model planner (places found in imagined pictures) and the planner that
uses the simulator (true places), so that the two differ by what they know and by nothing else.

Shape letters: P predicted frames, B futures.
"""

from __future__ import annotations

import torch
from torch import Tensor

ALONG = 0.5  # weight of the mean over the way beside where it ends
APPROACH = 0.15  # weight of the gripper's distance from where it could push
STANDOFF = 0.055  # metres behind a thing's middle
SETTLED = 0.025  # metres; nearer to its goal, the gripper need not stay


def reach_cost(tip: Tensor, goal: Tensor) -> Tensor:
    """|tip_P - goal| + 0.5 mean_t |tip_t - goal|, of tips (P, B, n) and a goal (n,): (B,)."""
    gap: Tensor = (tip - goal).norm(dim=-1)
    return gap[-1] + ALONG * gap.mean(dim=0)


def push_cost(thing: Tensor, goal: Tensor, tip: Tensor | None, contact_height: float) -> Tensor:
    """Where a thing ends up, and whether the gripper ends up where it could go on: (B,).

        |o_P - g| + 0.5 mean_t |o_t - g|
        + 0.15 min(1, |o_P - g| / 2.5 cm) (|tip_P - behind(o_P)| + |height_P - contact height|)

    with behind(o) = o - 5.5 cm along o -> g. The first two are the distance of visual foresight
    (Finn and Levine 2017); the last shows the way while the thing has not been touched.

    Args:
        thing: (P, B, 2) o
        goal: (2,) g
        tip: (P, B, 3) end effector, or None to leave out the last term
    """
    gap: Tensor = (thing - goal).norm(dim=-1)
    cost = gap[-1] + ALONG * gap.mean(dim=0)
    if tip is None:
        return cost
    toward = (goal - thing[-1]) / gap[-1].clamp(min=1e-6)[:, None]
    behind = thing[-1] - STANDOFF * toward
    away: Tensor = (tip[-1, :, :2] - behind).norm(dim=-1) + (tip[-1, :, 2] - contact_height).abs()
    return cost + APPROACH * (gap[-1] / SETTLED).clamp(max=1) * away


def arrangement_cost(things: Tensor, goals: Tensor, tip: Tensor, tip_goal: Tensor) -> Tensor:
    """How far several things and the end effector are from a goal scene: (B,).

    Reach cost of the end effector plus twice the sum over things of |o_P - g|.

    Shape:
        things: (P, B, N, 2)
        goals: (N, 2)
    """
    gaps: Tensor = (things[-1] - goals).norm(dim=-1).sum(dim=-1)
    return reach_cost(tip, tip_goal) + 2 * gaps


def as_tensor(values: object) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32)
