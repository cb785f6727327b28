"""A latent that says how things move otherwise than expected: it weighs flow fields.

At every step a small network looks at the decoder's features and predicts J flow fields: ways in
which things there may move differently. The latent's J numbers say how much of each, so what
samples differ in is where the fields are large; the decoder is told the numbers too. They persist,
z' = R z + noise: what pushes a thing aside in one step does so in the next.

There is no posterior. Two samples of every clip are drawn and trained by the energy score (Gneiting
and Raftery 2007): each should be near the truth, and they should be as far from each other as
they are from it. It is taken of every pixel alone and of every small patch, so that a small thing
counts as much as an arm. Of a pixel it hardly matters whether a thing that may lie here or there is
drawn or left out; of a patch it does.

Shape letters: B batch, C image channels, H W image, F M D fine, middle and coarse channels at
H/2 W/2, H/4 W/4 and at h w = H/8 W/8, J latent numbers, P the H/2 W/2 places of the fields, Q the
H W pixels in quarters.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from framecast.models.distributions import Gaussian
from framecast.models.warp_networks import full

PERSISTENCE = 0.9
HIDDEN = 32
SMALL = 0.005
PATCH = 8  # pixels a side; patches overlap by half
LEAST_DISTANCE = 1e-3  # of pixels in [0, 1]: below it a distance counts but little


class LatentFlows(nn.Module):
    """Where and how far samples differ."""

    def __init__(self, widths: tuple[int, int, int], count: int) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.count = count
        self.look = nn.Conv2d(fine, HIDDEN, 3, padding=1)
        self.fields_of = nn.Conv2d(HIDDEN, 2 * count, 1, bias=False)
        nn.init.normal_(self.fields_of.weight, 0.0, SMALL)
        self.for_middle = nn.Linear(count, middle, bias=False)
        nn.init.zeros_(self.for_middle.weight)
        self.spread = nn.Sequential(
            nn.Linear(2 * coarse, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, count)
        )

    def fields(self, features: Tensor) -> Tensor:
        """Decoder features (B, F, H/2, W/2) -> flow fields (B, J, 2 P), in units of FLOW_UNIT."""
        maps = full(self.fields_of(functional.silu(self.look(features))))
        return maps.reshape(len(maps), self.count, -1)

    def prior(self, hidden: Tensor, before: Tensor | None) -> Gaussian:
        """The latent (B, J), from the recurrent state (B, D, h, w) and the latent before it."""
        hidden = full(hidden)
        seen = torch.cat([hidden.mean(dim=(2, 3)), hidden.amax(dim=(2, 3))], dim=1)
        wide = full(self.spread(seen))
        if before is None:
            return Gaussian.from_raw(torch.zeros_like(wide), wide)
        return Gaussian.from_raw(PERSISTENCE * before, wide + math.log(1 - PERSISTENCE**2))

    def draw(self, hidden: Tensor, before: Tensor | None, noise: Tensor | None) -> Tensor | None:
        """(B, J) from the prior, by the first J of noise (B, Z) of any precision; else its mean.

        None where none was ever drawn: a mean of zero changes nothing.
        """
        if before is None and noise is None:
            return None
        prior = self.prior(hidden, before)
        if noise is None:
            return prior.mean
        return prior.sample(noise[:, : self.count].to(prior.mean.dtype))

    def told(self, latent: Tensor) -> Tensor:
        """What is added to the middle features: (B, M, 1, 1)."""
        added: Tensor = self.for_middle(latent)
        return added[:, :, None, None]

    def offset(self, latent: Tensor, fields: Tensor) -> Tensor:
        """What is added to every flow: (B, 2, Q)."""
        offset = (latent[:, :, None] * fields).sum(dim=1).view(len(latent), 2, 1, -1)
        return offset.expand(-1, -1, 4, -1).flatten(2)


def energy_score(one: Tensor, other: Tensor, true: Tensor) -> Tensor:
    """Of two samples a frame, (..., C, H, W) each: lowest in the mean for the true distribution."""
    apart = distance(one, other)
    return (distance(one, true) + distance(other, true) - apart) / 2


def distance(one: Tensor, other: Tensor) -> Tensor:
    """Root mean square over a pixel's channels and over a patch, their means over all: (...,)."""
    of_pixels = (one - other).square().mean(dim=-3)
    of_patches = functional.avg_pool2d(of_pixels.flatten(end_dim=-3), PATCH, PATCH // 2)
    patches = _root(of_patches).mean(dim=(-2, -1)).view(of_pixels.shape[:-2])
    return (_root(of_pixels).mean(dim=(-2, -1)) + patches) / 2


def _root(square: Tensor) -> Tensor:
    """With a gradient at zero too."""
    return (square + LEAST_DISTANCE**2).sqrt() - LEAST_DISTANCE
