"""Futures that need no model; a score means little below them.

Shape letters: P predicted frames, B batch, C H W image, K window, V displacements tried.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn import functional

from framecast.clip import Clip

REACH = 5  # pixels a frame that are searched for motion, each way
WINDOW = 7  # pixels a side over which a displacement has to fit
RELUCTANCE = 2e-4  # mean squared error that a pixel of displacement has to win


def copy_last(clip: Clip, num_context: int) -> Tensor:
    """The last context frame for every predicted one: (P, B, C, H, W) in [0, 1]."""
    frames = clip.float_frames(torch.float32)
    return frames[num_context - 1].expand_as(frames[num_context:])


def linear_motion(clip: Clip, num_context: int) -> Tensor:
    """What moves between the last two context frames goes on with the same speed.

    Block matching finds where every pixel of the last frame came from; each moving pixel is then
    painted `step` displacements further, over a copy of the last frame: (P, B, C, H, W).
    """
    assert num_context >= 2, "one frame shows no motion"
    frames = clip.float_frames(torch.float32)
    before, last = frames[num_context - 2], frames[num_context - 1]
    motion = _displacement(before, last)
    horizon = len(frames) - num_context
    return torch.stack([_moved(last, motion * (step + 1)) for step in range(horizon)])


def _displacement(before: Tensor, last: Tensor) -> Tensor:
    """Pixels (B, 2) down and right that each place of `last` moved since `before`: (B, 2, H, W)."""
    reach = range(-REACH, REACH + 1)
    # Small displacements come first, and win where several fit equally.
    tried = sorted(itertools.product(reach, reach), key=lambda d: abs(d[0]) + abs(d[1]))
    padded = functional.pad(before, (REACH,) * 4, mode="replicate")
    height, width = last.shape[-2:]
    best = torch.full_like(last[:, 0], torch.inf)
    motion = torch.zeros_like(last[:, :2])
    for dy, dx in tried:
        source = padded[..., REACH - dy :, REACH - dx :][..., :height, :width]
        error = (last - source).square().mean(dim=1, keepdim=True)
        cost = functional.avg_pool2d(
            error, WINDOW, stride=1, padding=WINDOW // 2, count_include_pad=False
        )[:, 0] + RELUCTANCE * (abs(dy) + abs(dx))
        better = cost < best
        best = torch.where(better, cost, best)
        here = torch.tensor([dy, dx], dtype=motion.dtype)
        motion = torch.where(better[:, None], here[:, None, None], motion)
    return motion


def _moved(frame: Tensor, motion: Tensor) -> Tensor:
    """The frame (B, C, H, W) with its moving pixels painted where the motion takes them."""
    height, width = frame.shape[-2:]
    rows = torch.arange(height)[:, None] + motion[:, 0].long()
    columns = torch.arange(width) + motion[:, 1].long()
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    moving = inside & (motion != 0).any(dim=1)
    clip, y, x = (index.numpy() for index in moving.nonzero(as_tuple=True))
    # Two pixels may go to one place: with NumPy the last one wins, with torch any may.
    source, painted = frame.numpy(), frame.numpy().copy()
    painted[clip, :, rows[moving].numpy(), columns[moving].numpy()] = source[clip, :, y, x]
    return torch.from_numpy(painted)
