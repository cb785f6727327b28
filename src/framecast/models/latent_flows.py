"""A latent that says how things move otherwise than expected: it weighs flow fields.

At every step a small network looks at the decoder's features and predicts J flow fields: ways in
which things there may move differently. The latent's J numbers say how much of each, so what
samples differ in is where the fields are large. The numbers persist, z' = R z + noise: what pushes
a thing aside in one step does so in the next. All of them zero is the model's own prediction.

There is no posterior. Two samples of every clip are drawn and trained by the energy score (Gneiting
and Raftery 2007): each should be near the truth, and they should be as far from each other as
they are from it. So a trained model can be given such a latent in minutes, all else kept as it is.

Shape letters: B batch, C image channels, H W image, F D fine and coarse channels at H/2 W/2 and at
h w = H/8 W/8, J latent numbers, P the H/2 W/2 places of the fields, Q the H W pixels in quarters.
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
LEAST_DISTANCE = 1e-3  # of pixels in [0, 1]: below it a distance counts but little


class LatentFlows(nn.Module):
    """Where and how far samples differ."""

    def __init__(self, fine: int, coarse: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.look = nn.Conv2d(fine, HIDDEN, 3, padding=1)
        self.fields_of = nn.Conv2d(HIDDEN, 2 * count, 1, bias=False)
        nn.init.normal_(self.fields_of.weight, 0.0, SMALL)
        self.spread = nn.Sequential(nn.Linear(coarse, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, count))

    def fields(self, features: Tensor) -> Tensor:
        """Decoder features (B, F, H/2, W/2) -> flow fields (B, J, 2 P), in units of FLOW_UNIT."""
        maps = full(self.fields_of(functional.silu(self.look(features))))
        return maps.reshape(len(maps), self.count, -1)

    def prior(self, hidden: Tensor, before: Tensor | None) -> Gaussian:
        """The latent (B, J), from the recurrent state (B, D, h, w) and the latent before it."""
        wide = full(self.spread(full(hidden).mean(dim=(2, 3))))
        if before is None:
            return Gaussian.from_raw(torch.zeros_like(wide), wide)
        return Gaussian.from_raw(PERSISTENCE * before, wide + math.log(1 - PERSISTENCE**2))

    def offset(self, latent: Tensor, fields: Tensor) -> Tensor:
        """What is added to every flow: (B, 2, Q)."""
        offset = (latent[:, :, None] * fields).sum(dim=1).view(len(latent), 2, 1, -1)
        return offset.expand(-1, -1, 4, -1).flatten(2)


def energy_score(one: Tensor, other: Tensor, true: Tensor) -> Tensor:
    """Of two samples a frame, (..., C, H, W) each: lowest in the mean for the true distribution."""
    apart = distance(one, other)
    return (distance(one, true) + distance(other, true) - apart) / 2


def distance(one: Tensor, other: Tensor) -> Tensor:
    """Root mean square over a frame's pixels, (...,), with a gradient at zero too."""
    square = (one - other).square().mean(dim=(-3, -2, -1))
    return (square + LEAST_DISTANCE**2).sqrt() - LEAST_DISTANCE
