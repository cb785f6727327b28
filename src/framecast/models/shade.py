"""The robot's shadow, drawn from its state and the light that a clip's first frames show.

Where the light comes from differs from clip to clip, and decides where the robot's shadow lies. A
small network reads it off the context. For a state and a light another one draws lines in the
picture; a third, the same at every pixel, says from the sides of them on which it lies how much
light is lost there. So the outline is sharp, at any distance from the robot.

The video model then sees frames without the shadow, and predicts such frames; what is shown has it
at the place where it will be. It is fitted to the recordings before the training, and left alone
after that.

Shape letters: B batch, K frames, S state, L numbers of the light, C H W picture, N lines, P pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from framecast.clip import ClipSpec
from framecast.models.sprites import Cover, bent, num_bent
from framecast.models.warp_compositor import pixel_planes

LIGHT = 4
NUM_LINES, JOINED, HIDDEN = 24, 24, 64
WIDTHS, GRID = (16, 32, 32), 8
STEEPNESS = 4.0  # of a line, a side of the picture being 2
LEAST = 0.1  # share of the light that is taken to be left anywhere, when a frame is lit again
FAINT, NONE = -2.0, -30.0  # logits of what is lost, at the start of a fit and without one


class Shade(nn.Module):
    """Standardised states and a light -> the share of light that is lost at every pixel.

    Not fitted, there is no shadow.
    """

    def __init__(self, spec: ClipSpec) -> None:
        super().__init__()
        assert spec.state is not None
        self.size = (spec.height, spec.width)
        num_states = spec.state.size
        first, second, third = WIDTHS
        self.looks = nn.Sequential(
            nn.Conv2d(spec.channels + 1, first, 3, 2, 1),
            nn.SiLU(),
            nn.Conv2d(first, second, 3, 2, 1),
            nn.SiLU(),
            nn.Conv2d(second, third, 3, 2, 1),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(GRID),
            nn.Flatten(),
        )
        self.reads = nn.Sequential(
            nn.Linear(third * GRID * GRID + num_states, HIDDEN),
            nn.SiLU(),
            nn.Linear(HIDDEN, LIGHT),
        )
        self.anchor = nn.Linear(num_bent(num_states), 2)
        self.lines = nn.Sequential(
            nn.Linear(num_bent(num_states) + LIGHT, HIDDEN),
            nn.SiLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.SiLU(),
            nn.Linear(HIDDEN, 3 * NUM_LINES + 1),
        )
        self.joins = nn.Sequential(nn.Conv1d(NUM_LINES, JOINED, 1), nn.ReLU())
        self.says = nn.Conv1d(JOINED, 1, 1)
        self.requires_grad_(False)
        self.vanish()

    def light(self, frames: Tensor, robots: Tensor, states: Tensor) -> Tensor:
        """What the frames of a context show of the light, on the average, (B, L).

        Args:
            frames: (K, B, C, H, W)
            robots: (K, B, C + 1, H, W) as it is drawn in them
            states: (K, B, S) standardised
        """
        with torch.autocast(frames.device.type, enabled=False):
            dtype = self.anchor.weight.dtype
            seen = torch.cat([frames - 0.5, robots[:, :, -1:]], dim=2).to(dtype).flatten(0, 1)
            told = torch.cat([self.looks(seen), states.to(dtype).flatten(0, 1)], dim=1)
            read: Tensor = self.reads(told)
        return read.view(len(frames), -1, LIGHT).mean(dim=0)

    def forward(self, states: Tensor, light: Tensor, pixels: Tensor | None = None) -> Tensor:
        """(B, S), (B, L) -> (B, 1, H, W) in [0, 1), or (B, 1, P) of some pixels (P,) alone."""
        with torch.autocast(light.device.type, enabled=False):
            known = bent(states.to(light.dtype))
            numbers = self.lines(torch.cat([known, light], dim=1))
            deepest = numbers[:, -1:, None].sigmoid()
            lines = numbers[:, :-1].view(-1, NUM_LINES, 3)
            offset = (lines[:, :, 1:] @ self.anchor(known)[:, :, None])[:, :, 0]
            lines = torch.cat([lines[:, :, :1] - offset[:, :, None], lines[:, :, 1:]], dim=2)
            planes = pixel_planes(*self.size, like=lines).flatten(1)
            if pixels is not None:
                planes = planes[:, pixels]
            sides = functional.relu(STEEPNESS * (lines @ planes))
            lost: Tensor = deepest * self.says(self.joins(sides)).sigmoid()
        return lost if pixels is not None else lost.view(-1, 1, *self.size)

    @torch.no_grad()
    def begin(self, generator: torch.Generator) -> None:
        """As it is before the first step of a fit: faint, and the same everywhere."""
        for name, weight in self.named_parameters():
            if name.endswith("weight"):
                reach = weight[0].numel() ** -0.5
                weight.uniform_(-reach, reach, generator=generator)
            else:
                weight.zero_()
        self.anchor.weight.zero_()
        self._lose(FAINT)

    @torch.no_grad()
    def vanish(self) -> None:
        nn.init.zeros_(self.says.weight)
        self._lose(NONE)

    def _lose(self, logit: float) -> None:
        """Everywhere alike, to begin with."""
        assert self.says.bias is not None
        nn.init.constant_(self.says.bias, logit)


def lit(frame: Tensor, cover: Cover | None) -> Tensor:
    """The present frame (B, C, H, W) without the shade that lies in it."""
    if cover is None or cover.shade_now is None:
        return frame
    return (frame / (1 - cover.shade_now).clamp(min=LEAST)).clamp(max=1)


def shaded(frame: Tensor, cover: Cover | None) -> Tensor:
    """The next frame (B, C, H, W) with the shade that will lie in it."""
    if cover is None or cover.shade_then is None:
        return frame
    return frame * (1 - cover.shade_then)
