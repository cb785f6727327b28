"""Where a thing that was cut out of one frame is in another: registration of pictures.

Turns and ways within reach are tried by correlation at half the size, the best is refined by
descent. What the robot hides costs as much as a moderate difference, so that a thing is neither
found where nothing can be seen of it, nor lost because the robot is before it.

Shape letters: M patches, F features, s pixels a side of a patch, S = s + 2 reach those of a window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from framecast.models.things import cut, drawn

TURNS = tuple(math.radians(degrees) for degrees in range(-45, 46, 15))
UNSEEN = 0.02  # cost of a pixel that the robot hides, beside squared differences of features
WAY, TURN = 2e-5, 1e-2  # cost of a squared pixel and of a squared radian
ALIKE = 4e-4  # cost a pixel of a thing that has stayed
BETTER = 1e-4  # cost a pixel that a move has to save, else the thing has stayed too
REFINEMENTS, RATES, COOLING = 18, (0.06, 0.4), 0.85
COARSE = 2  # pixels a step of the search
FAINT = 1e-4


@dataclass(frozen=True)
class Found:
    """Attributes:
    way: (M, 2) from the middle of the window, x and y in pixels
    turn: (M,) radians
    cost: (M,) a pixel of the patch, on average
    """

    way: Tensor
    turn: Tensor
    cost: Tensor


def register(patches: Tensor, windows: Tensor, seen: Tensor, turn: Tensor, offset: Tensor) -> Found:
    """The patches in the windows.

    Args:
        patches: (M, F + 1, s, s) features times opacity, and opacity
        windows: (M, F, S, S) around where each was
        seen: (M, 1, S, S) how much of that is not hidden
        turn: (M,) how it was turned
        offset: (M, 2) how far it was from the middle of the window, less than a pixel
    """
    both = torch.cat([windows, seen], dim=1)
    stays = _costs(patches, _there(both, torch.zeros_like(offset), patches), turn, offset)
    gone = (stays > ALIKE).nonzero()[:, 0]
    if not len(gone):
        return Found(offset, turn, stays)
    patches, windows, seen, both = (x[gone] for x in (patches, windows, seen, both))
    way, turned = _searched(patches, windows, seen, turn[gone], offset[gone])
    found = _refined(patches, both, way, turned, offset[gone])
    better = found.cost < stays[gone] - BETTER
    gone, found = gone[better], Found(found.way[better], found.turn[better], found.cost[better])
    return Found(
        offset.index_copy(0, gone, found.way),
        turn.index_copy(0, gone, found.turn),
        stays.index_copy(0, gone, found.cost),
    )


def _searched(
    patches: Tensor, windows: Tensor, seen: Tensor, turn: Tensor, offset: Tensor
) -> tuple[Tensor, Tensor]:
    """Ways (M, 2), whole multiples of COARSE pixels, and turns (M,)."""
    windows, seen = (functional.avg_pool2d(x, COARSE) for x in (windows * seen, seen))
    squares = (windows.square() / (seen + FAINT)).sum(dim=1, keepdim=True)
    span = windows.shape[-1] - patches.shape[-1] // COARSE + 1
    ways = COARSE * (torch.arange(span, dtype=patches.dtype) - span // 2)
    far = (ways[:, None] ** 2 + ways**2).flatten()
    costs = []
    for angle in TURNS:
        shown = functional.avg_pool2d(_drawn(patches, turn + angle, offset), COARSE)
        colours, opacity = shown[:, :-1], shown[:, -1:]
        own = (colours.square() / (opacity + FAINT)).sum(dim=1, keepdim=True)
        cost = _correlated(squares, opacity) - 2 * _correlated(windows, colours)
        cost += _correlated(seen, own - UNSEEN * opacity)
        area = opacity.sum(dim=(1, 2, 3))[:, None] + FAINT
        costs.append(cost.flatten(1) / area + WAY * far + TURN * angle**2)
    best = torch.cat(costs, dim=1).argmin(dim=1)
    chosen, place = best // span**2, best % span**2
    way = torch.stack([ways[place % span], ways[place // span]], dim=1)
    return way, turn + patches.new_tensor(TURNS)[chosen]


@torch.enable_grad()
def _refined(patches: Tensor, both: Tensor, way: Tensor, turn: Tensor, offset: Tensor) -> Found:
    """From the way and the turn that were found by search; of windows and what is seen of them."""
    there = _there(both, way, patches)
    angle, shift = turn.clone().requires_grad_(True), offset.clone().requires_grad_(True)
    groups = [
        {"params": [part], "lr": rate} for part, rate in zip((angle, shift), RATES, strict=True)
    ]
    optimizer = torch.optim.Adam(groups)
    cooling = torch.optim.lr_scheduler.ExponentialLR(optimizer, COOLING)
    for _ in range(REFINEMENTS):
        optimizer.zero_grad()
        cost = _costs(patches, there, angle, shift) + TURN * (angle - turn).square()
        cost.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        cooling.step()
    angle, shift = angle.detach(), shift.detach()
    return Found(way + shift, angle, _costs(patches, there, angle, shift))


def _there(both: Tensor, way: Tensor, patches: Tensor) -> Tensor:
    """What is where a patch would be, this way from the middle: (M, F + 1, s, s)."""
    middles = way + both.shape[-1] // 2
    return cut(both, torch.arange(len(both)), middles, patches.shape[-1])


def _costs(patches: Tensor, there: Tensor, angle: Tensor, shift: Tensor) -> Tensor:
    """(M,)"""
    shown, visible = _drawn(patches, angle, shift), there[:, -1:]
    opacity = shown[:, -1:]
    gap = (there[:, :-1] * opacity - shown[:, :-1]).square().sum(dim=1, keepdim=True)
    cost = gap * visible + UNSEEN * opacity * (1 - visible)
    return cost.sum(dim=(1, 2, 3)) / (patches[:, -1].sum(dim=(1, 2)) + FAINT)


def _drawn(patches: Tensor, angle: Tensor, shift: Tensor) -> Tensor:
    """The patches turned and moved by a few pixels."""
    side = patches.shape[-1]
    return drawn(patches, angle, shift, patches.new_full((2,), side / 2), (side, side))


def _correlated(windows: Tensor, patches: Tensor) -> Tensor:
    """(M, X, S, S) with (M, X, s, s) at every place: (M, S - s + 1, S - s + 1)."""
    joined = windows.reshape(1, -1, *windows.shape[2:])
    return functional.conv2d(joined, patches, groups=len(patches))[0]
