"""What was cut out of one frame is found in another."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from framecast.models.regions import colours_apart
from framecast.models.things import turns
from framecast.training.registration import Found, register

SIDE, REACH = 24, 8
WHOLE = SIDE + 2 * REACH


def corner() -> Tensor:
    """A patch (1, 4, SIDE, SIDE) of a red L, which looks the same from no two sides."""
    patch = torch.zeros(1, 4, SIDE, SIDE)
    for rows, columns in ((slice(6, 18), slice(7, 11)), (slice(14, 18), slice(7, 17))):
        patch[0, :, rows, columns] = torch.tensor([0.9, 0.2, 0.1, 1.0])[:, None, None]
    return patch


def window(x: float, y: float, turn: float) -> Tensor:
    """The same patch (1, 3, WHOLE, WHOLE) on a grey table, by this way from the middle."""
    maps = turns(torch.tensor([turn]))
    shift = maps @ torch.tensor([[[float(x)], [float(y)]]])
    whole = torch.cat([maps * WHOLE / SIDE, -2 / SIDE * shift], dim=2)
    grid = torch.nn.functional.affine_grid(whole, [1, 1, WHOLE, WHOLE], align_corners=False)
    drawn = torch.nn.functional.grid_sample(corner(), grid, align_corners=False)
    return 0.5 * (1 - drawn[:, 3:]) + drawn[:, :3]


def found(shown: Tensor, seen: Tensor, turn: float = 0.0) -> Found:
    start = torch.tensor([turn]), torch.zeros(1, 2)
    patch = corner()
    features = colours_apart(patch[:, :3]) * patch[:, 3:]
    both = torch.cat([features, patch[:, 3:]], dim=1)
    return register(both, colours_apart(shown), seen, *start)


EVERYWHERE = torch.ones(1, 1, WHOLE, WHOLE)


@pytest.mark.parametrize(
    ("x", "y", "turn"), [(0, 0, 0), (5, -3, 0), (-6.5, 2.3, 30), (0.4, 7.2, -50), (2, 2, 15)]
)
def test_a_patch_is_found_where_it_has_gone(x: float, y: float, turn: float):
    result = found(window(x, y, math.radians(turn)), EVERYWHERE)
    assert result.way[0].tolist() == pytest.approx([x, y], abs=0.35)
    assert math.degrees(float(result.turn)) == pytest.approx(turn, abs=7)
    assert result.cost < 0.012


def test_it_is_followed_from_how_it_was_turned():
    once = found(window(3, 1, math.radians(40)), EVERYWHERE)
    twice = found(window(1, -2, math.radians(75)), EVERYWHERE, turn=float(once.turn))
    assert math.degrees(float(twice.turn)) == pytest.approx(75, abs=7)


def test_what_has_not_moved_has_not_moved_at_all():
    torch.manual_seed(0)
    shown = window(0, 0, 0) + 0.01 * torch.randn(1, 3, WHOLE, WHOLE)
    result = found(shown, EVERYWHERE)
    assert result.way.abs().max() < 1e-5
    assert result.turn == 0


def test_it_is_found_though_the_robot_hides_half_of_it():
    shown, seen = window(4, -2, 0), EVERYWHERE.clone()
    shown[..., :18, :] = torch.tensor([0.1, 0.1, 0.1])[:, None, None]
    seen[..., :18, :] = 0
    result = found(shown, seen)
    assert result.way[0].tolist() == pytest.approx([4, -2], abs=0.8)
    hidden = found(shown, torch.zeros_like(seen))
    assert hidden.way.abs().max() < 1e-5, "where nothing is seen it is taken to have stayed"
    assert hidden.cost > 2 * result.cost
