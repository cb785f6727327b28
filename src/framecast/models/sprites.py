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

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from framecast.clip import ClipSpec

SPAN = 1.5  # sides of the frame in a sprite's side
SEEN, UNSEEN = -2.0, -20.0  # logits of opacity, at the start of a fit and without one
HIDES = 2.0  # opacity times this is how far what is behind is not seen
PATCH, FAINT = 8, 1e-3  # pixels a side whose colours are around; weight of the whole picture's
FEW_STATES = 8  # up to here the map is quadratic in the state; then there are too many products


@dataclass(frozen=True)
class Cover:
    """What the robot covers at a step.

    Attributes:
        now: (B, 1, H, W) opacity in the present frame
        then: (B, C + 1, H, W) colours times opacity, and opacity, in the next one
    """

    now: Tensor
    then: Tensor

    @property
    def opacities(self) -> tuple[Tensor, Tensor]:
        return self.now, self.then[:, -1:]

    def unbind(self) -> Iterator[Cover]:
        """Along the first dimension."""
        for now, then in zip(self.now, self.then, strict=True):
            yield Cover(now, then)


class Sprites(nn.Module):
    """Standardised states -> pictures of the robot. Not fitted, there is nothing on them."""

    def __init__(self, number: int, spec: ClipSpec) -> None:
        super().__init__()
        assert spec.state is not None
        self.size = (spec.height, spec.width)
        sides = [round(SPAN * side) for side in self.size]
        self.pictures = nn.Parameter(torch.zeros(number, spec.channels + 1, *sides))
        num_features = spec.state.size
        self.bends = num_features <= FEW_STATES
        if self.bends:
            num_features += num_features * (num_features + 1) // 2
        self.pose = nn.Linear(num_features, 6 * number)
        nn.init.zeros_(self.pose.weight)
        nn.init.zeros_(self.pose.bias)
        self.requires_grad_(False)
        self.vanish()

    def cover(self, state: Tensor, following: Tensor) -> Cover:
        """Of the standardised states (B, S) in the present and in the next frame."""
        return Cover(self.opacity(state), self(following))

    def opacity(self, state: Tensor) -> Tensor:
        """(B, S) -> (B, 1, H, W)"""
        return self._drawn(self.pictures[:, -1:], state)

    def forward(self, state: Tensor) -> Tensor:
        """(B, S) -> (B, C + 1, H, W): colours times opacity, and opacity, all in [0, 1]."""
        return self._drawn(self.pictures, state)

    def _drawn(self, pictures: Tensor, state: Tensor) -> Tensor:
        """Sprites (P, X, h, w), last their opacities, one over the other: (B, X, H, W)."""
        flat = state.reshape(-1, state.shape[-1]).to(pictures.dtype)
        with torch.autocast(flat.device.type, enabled=False):
            maps = self.pose(self._features(flat)).view(len(flat), -1, 2, 3)
            maps = (maps + torch.eye(2, 3, dtype=maps.dtype, device=maps.device)) / SPAN
            drawn = pictures.new_zeros(len(flat), pictures.shape[1], *self.size)
            for number, picture in enumerate(pictures):
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

    def _features(self, state: Tensor) -> Tensor:
        if not self.bends:
            return state
        first, second = torch.triu_indices(state.shape[1], state.shape[1], device=state.device)
        return torch.cat([state, state[:, first] * state[:, second]], dim=1)

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


def over(picture: Tensor, layer: Tensor) -> Tensor:
    """A layer (B, X + 1, ...), colours times opacity and opacity, over a picture (B, X, ...)."""
    return picture * (1 - layer[:, -1:]) + layer[:, :-1]


def behind(frame: Tensor, expected: Tensor, opacity: Tensor) -> Tensor:
    """A frame without the robot: where that hides it, what is expected there.

    Args:
        frame, expected: (B, C, ...)
        opacity: (B, 1, ...) of the robot in the frame
    """
    return torch.lerp(frame, expected, _hidden(opacity))


def guessed(frame: Tensor, opacity: Tensor) -> Tensor:
    """What may be behind the robot in a first frame (B, C, H, W): the colours around it."""
    seen = 1 - _hidden(opacity)
    both = torch.cat([frame * seen, seen], dim=1)
    near = functional.avg_pool2d(both, PATCH, ceil_mode=True, count_include_pad=False)
    near = functional.avg_pool2d(near, 3, 1, 1, count_include_pad=False)
    near = near + FAINT * both.mean(dim=(2, 3), keepdim=True)
    colours = near[:, :-1] / (near[:, -1:] + FAINT * FAINT)
    size = frame.shape[2:]
    around = functional.interpolate(colours, size, mode="bilinear", align_corners=False)
    return behind(frame, around, opacity)


def _hidden(opacity: Tensor) -> Tensor:
    return (HIDES * opacity).clamp(max=1)
