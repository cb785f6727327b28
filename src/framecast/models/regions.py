"""Regions of one colour in a picture: what may be a thing that can be moved.

Neighbouring pixels of nearly the same colour belong together, whatever shadow falls on them
(single-linkage clustering of the pixels' graph). A region that is large is the ground, one that is
tiny a speck. Nothing here is learned, and nothing says that a region is a thing: whether it moves,
and how, is learned from recordings (things.py).

Shape letters: B batch, C H W picture, P = H W pixels, N regions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

UNIT = 64  # units in a picture's height: all lengths are the same in pictures of other sizes
SIDE = 24  # units in a side of the square that a region has to fit into
MARGIN = 4  # units of that which stay free, for what is turned in it
AREAS = (6, 200)  # square units that a thing has at least and at most
ALIKE = 0.04  # difference in colour below which neighbours belong together
BRIGHTNESS = 0.07  # weight of brightness beside hue and saturation
DARK = 0.03  # sum of the channels below which these are not told apart
GROWTH = 2  # pixels by which regions grow into specks: their edges, mixed with what is behind
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))


@dataclass(frozen=True)
class Regions:
    """Attributes:
    labels: (B, H, W) number of a pixel's region, from 0 to N - 1 and from the top of the picture
        to its bottom; -1 where there is none
    middles: (B, N, 2) x and y in pixels, whole numbers; 0 for a region that is not there
    """

    labels: Tensor
    middles: Tensor


def colours_apart(pictures: Tensor) -> Tensor:
    """(..., C, H, W) -> (..., C + 1, H, W): hue and saturation, and a little of the brightness."""
    hue = pictures / (pictures.sum(dim=-3, keepdim=True) + DARK)
    return torch.cat([hue, BRIGHTNESS * pictures.mean(dim=-3, keepdim=True)], dim=-3)


@torch.no_grad()
def find_regions(pictures: Tensor, most: int) -> Regions:
    """The largest regions, `most` at most, of each picture (B, C, H, W) in [0, 1]."""
    batch_size, _, height, width = pictures.shape
    roots = _connected(colours_apart(pictures))
    count = height * width
    unit = height / UNIT
    areas = _per_root(torch.ones_like(roots), roots, "sum")
    spans = [_span(places, roots) for places in _grid(roots, height, width)]
    fits = torch.stack(spans).amax(dim=0) < (SIDE - MARGIN) * unit
    least, largest = (area * unit**2 for area in AREAS)
    is_root = roots == torch.arange(count, device=roots.device)
    solid = _per_root(_in_squares(roots.view(batch_size, height, width)), roots, "amax")
    eligible = is_root & fits & (solid > 0) & (areas >= least) & (areas <= largest)
    size, chosen = (areas * eligible).topk(min(most, count), dim=1)
    chosen = torch.where(size > 0, chosen, count).sort(dim=1).values  # a root is the first pixel
    names = torch.full((batch_size, count + 1), -1, device=roots.device)
    numbers = torch.arange(chosen.shape[1], device=roots.device).expand_as(chosen)
    names = names.scatter(1, chosen, numbers)
    names[:, -1] = -1
    labels = names.gather(1, roots).view(batch_size, height, width)
    speck = (areas.gather(1, roots) <= largest).view_as(labels)
    labels = _grown(labels, speck, max(1, round(GROWTH * unit)))
    return Regions(labels, _middles(labels, chosen.shape[1]))


def _connected(features: Tensor) -> Tensor:
    """(B, F, H, W) -> (B, P): the first pixel of each pixel's region."""
    batch_size, _, height, width = features.shape
    pixels = torch.arange(height * width, device=features.device).view(1, height, width)
    firsts, seconds = [], []
    for down, across in NEIGHBOURS:
        one, other = _pair(features, down, across)
        alike = (one - other).square().sum(dim=1) < ALIKE**2
        here, there = _pair(pixels, down, across)
        firsts.append(here.expand_as(alike).flatten(1))
        seconds.append(torch.where(alike, there, here).flatten(1))
    first, second = torch.cat(firsts, dim=1), torch.cat(seconds, dim=1)
    names = pixels.flatten(1).repeat(batch_size, 1)
    while True:
        before = names
        one, other = names.gather(1, first), names.gather(1, second)
        least = torch.minimum(one, other)
        for joined in (one, other):  # whom a pixel follows, follows the least of both
            names = names.scatter_reduce(1, joined, least, "amin")
        names = names.gather(1, names)
        if torch.equal(names, before):
            return names


def _pair(pictures: Tensor, down: int, across: int) -> tuple[Tensor, Tensor]:
    """Views (..., H', W') of all pixels that have a neighbour there, and of those neighbours."""
    height, width = pictures.shape[-2:]
    left, right = max(0, -across), max(0, across)
    here = pictures[..., : height - down, left : width - right]
    there = pictures[..., down:, right : width - left]
    return here, there


def _grid(roots: Tensor, height: int, width: int) -> list[Tensor]:
    """Columns and rows of all pixels, (B, P) each."""
    pixels = torch.arange(height * width, device=roots.device).expand_as(roots)
    return [pixels % width, pixels // width]


def _per_root(values: Tensor, roots: Tensor, how: str) -> Tensor:
    """(B, P) of all pixels -> (B, P) at each root, of its region's pixels."""
    return values.scatter_reduce(1, roots, values, how, include_self=False)


def _span(places: Tensor, roots: Tensor) -> Tensor:
    return _per_root(places, roots, "amax") - _per_root(places, roots, "amin")


def _in_squares(roots: Tensor) -> Tensor:
    """Whether a pixel is the first of two by two of one region, (B, P): no edge is that wide."""
    right, below, across = roots[:, :-1, 1:], roots[:, 1:, :-1], roots[:, 1:, 1:]
    first = roots[:, :-1, :-1]
    same = (first == right) & (first == below) & (first == across)
    return functional.pad(same, (0, 1, 0, 1)).to(roots.dtype).flatten(1)


def _grown(labels: Tensor, free: Tensor, pixels: int) -> Tensor:
    """Labels (B, H, W), grown into what is free and has no label."""
    for _ in range(pixels):
        padded = functional.pad(labels, (1, 1, 1, 1), value=-1)
        grown = labels
        rows, columns = padded[:, 1:-1], padded[:, :, 1:-1]
        for near in (rows[:, :, :-2], rows[:, :, 2:], columns[:, :-2], columns[:, 2:]):
            grown = torch.where((grown < 0) & free, near, grown)
        labels = grown
    return labels


def _middles(labels: Tensor, count: int) -> Tensor:
    """(B, N, 2) the corner of pixels that is next to the mean of each region's."""
    masks = labels[:, None] == torch.arange(count, device=labels.device)[None, :, None, None]
    height, width = labels.shape[1:]
    rows = torch.arange(height, device=labels.device)[:, None] + 0.5
    columns = torch.arange(width, device=labels.device) + 0.5
    area = masks.sum(dim=(2, 3)).clamp(min=1)
    sums = [(masks * places).sum(dim=(2, 3)) for places in (columns, rows)]
    return (torch.stack(sums, dim=-1) / area[..., None]).round()
