"""The robot as pictures that its state moves about: learned sprites.

A sprite is a picture with an opacity, larger than a frame, of which an affine map that depends on
the robot's state shows a part (a spatial transformer, Jaderberg 2015, whose map is told where the
robot is). Sprites lie on one another. They are fitted to the recordings before the video model is
trained, each episode's own background under them, and left alone after that: the video model
decides where to show them. So the robot is as sharp far ahead as in the first frame, which nothing
is that is predicted from predictions.

Shape letters: B batch (any leading dimensions), S state, P sprites, C H W image, h w a sprite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from framecast.clip import ClipSpec

SPAN = 1.5  # sides of the frame in a sprite's side
SEEN, UNSEEN = -2.0, -20.0  # logits of opacity, at the start of a fit and without one
ALIKE = 0.1  # standard deviation of the robot's colours from the sprites'
PATCH, FAINT = 8, 1e-3  # pixels a side whose colours are around; weight of the whole picture's
FEW_STATES = 8  # up to here the map is quadratic in the state; then there are too many products


@dataclass(frozen=True)
class Cover:
    """What the robot covers at a step.

    Attributes:
        now: (B, C + 1, H, W) colours times opacity, and opacity, in the present frame
        then: (B, C + 1, H, W) the same in the next one
        shade_now, shade_then: (B, 1, H, W) the share of light that is lost to its shadow in both,
            none of it on the robot; None where that is not drawn (shade.py) or not in the frame
    """

    now: Tensor
    then: Tensor
    shade_now: Tensor | None = None
    shade_then: Tensor | None = None

    @property
    def opacities(self) -> tuple[Tensor, Tensor]:
        return self.now[:, -1:], self.then[:, -1:]

    def at(self, step: int) -> Cover:
        """Of several steps (T, B, ...) one."""
        lost = (self.shade_now, self.shade_then)
        shades = (None if shade is None else shade[step] for shade in lost)
        return Cover(self.now[step], self.then[step], *shades)


class Sprites(nn.Module):
    """Standardised states -> pictures of the robot. Not fitted, there is nothing on them."""

    def __init__(self, number: int, spec: ClipSpec) -> None:
        super().__init__()
        assert spec.state is not None
        self.size = (spec.height, spec.width)
        sides = [round(SPAN * side) for side in self.size]
        self.pictures = nn.Parameter(torch.zeros(number, spec.channels + 1, *sides))
        self.pose = nn.Linear(num_bent(spec.state.size), 6 * number)
        nn.init.zeros_(self.pose.weight)
        nn.init.zeros_(self.pose.bias)
        self.requires_grad_(False)
        self.vanish()

    def forward(self, state: Tensor) -> Tensor:
        """(B, S) -> (B, C + 1, H, W): colours times opacity, and opacity, all in [0, 1]."""
        flat = state.reshape(-1, state.shape[-1]).to(self.pictures.dtype)
        with torch.autocast(flat.device.type, enabled=False):
            maps = self.pose(bent(flat)).view(len(flat), -1, 2, 3)
            maps = (maps + torch.eye(2, 3, dtype=maps.dtype, device=maps.device)) / SPAN
            drawn = self.pictures.new_zeros(len(flat), self.pictures.shape[1], *self.size)
            for number, picture in enumerate(self.pictures):
                shown = self._shown(picture, maps[:, number]).sigmoid()
                colours, opacity = shown[:, :-1], shown[:, -1:]
                drawn = over(drawn, torch.cat([colours * opacity, opacity, opacity], dim=1))
        return drawn.view(*state.shape[:-1], *drawn.shape[1:])

    def _shown(self, picture: Tensor, maps: Tensor) -> Tensor:
        """The part of a picture (X, h, w) that each map (B, 2, 3) shows: (B, X, H, W).

        The picture is sampled once, at B frames' places, instead of being copied B times.
        """
        size = [len(maps), 1, *self.size]
        places = functional.affine_grid(maps, size, align_corners=False)
        shown = functional.grid_sample(
            picture[None],
            places.reshape(1, -1, self.size[1], 2),
            "bilinear",
            "border",
            align_corners=False,
        )
        return shown.view(len(picture), len(maps), *self.size).transpose(0, 1)

    @torch.no_grad()
    def begin(self, generator: torch.Generator) -> None:
        """As they are before the first step of a fit: all alike, but for some noise."""
        for weight in (self.pictures, self.pose.weight):
            weight.copy_(0.01 * torch.randn(weight.shape, generator=generator))
        self.pose.bias.zero_()
        self.pictures[:, -1] = SEEN

    @torch.no_grad()
    def vanish(self) -> None:
        self.pictures[:, -1] = UNSEEN


def num_bent(num_states: int) -> int:
    """How many numbers `bent` makes of them."""
    products = num_states * (num_states + 1) // 2
    return num_states + (products if num_states <= FEW_STATES else 0)


def bent(state: Tensor) -> Tensor:
    """States (B, S) and their products, in which a place in a picture is linear."""
    if state.shape[1] > FEW_STATES:
        return state
    first, second = torch.triu_indices(state.shape[1], state.shape[1], device=state.device)
    return torch.cat([state, state[:, first] * state[:, second]], dim=1)


def over(picture: Tensor, layer: Tensor) -> Tensor:
    """A layer (B, X + 1, ...), colours times opacity and opacity, over a picture (B, X, ...)."""
    return picture * (1 - layer[:, -1:]) + layer[:, :-1]


def behind(frame: Tensor, expected: Tensor, robot: Tensor) -> Tensor:
    """A frame without the robot: where that hides it, what is expected there.

    Args:
        frame, expected: (B, C, ...)
        robot: (B, C + 1, ...) as it is drawn in the frame
    """
    return torch.lerp(frame, expected, _hidden(frame, robot))


def guessed(frame: Tensor, robot: Tensor) -> Tensor:
    """What may be behind the robot (B, C + 1, H, W) in a first frame: the colours around it."""
    return around(frame, _hidden(frame, robot))


def around(picture: Tensor, hidden: Tensor) -> Tensor:
    """A picture (B, C, H, W) with the colours around it where it is hidden (B, 1, H, W)."""
    seen = 1 - hidden
    both = torch.cat([picture * seen, seen], dim=1)
    near = functional.avg_pool2d(both, PATCH, ceil_mode=True, count_include_pad=False)
    near = functional.avg_pool2d(near, 3, 1, 1, count_include_pad=False)
    near = near + FAINT * both.mean(dim=(2, 3), keepdim=True)
    colours = near[:, :-1] / (near[:, -1:] + FAINT * FAINT)
    size = picture.shape[2:]
    filling = functional.interpolate(colours, size, mode="bilinear", align_corners=False)
    return torch.lerp(picture, filling, hidden)


@torch.no_grad()
def _hidden(frame: Tensor, robot: Tensor) -> Tensor:
    """The probability (B, 1, ...) that what is seen in a pixel is the robot.

    By its opacity there, and by whether the pixel has its colour, give or take ALIKE; what is not
    the robot may have any. So what touches a robot stays, though the robot's outline is known to a
    pixel or two.
    """
    opacity = robot[:, -1:]
    gap = (frame - robot[:, :-1] / (opacity + FAINT)).square().sum(dim=1, keepdim=True)
    density = (2 * math.pi * ALIKE**2) ** (-frame.shape[1] / 2)
    likely = opacity * density * (-gap / (2 * ALIKE**2)).exp()
    hidden: Tensor = likely / (likely + 1 - opacity + FAINT * FAINT)
    return hidden
