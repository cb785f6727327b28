"""The large image network: 3x3 convolutions in the manner of VGG16 up to its third pooling.

SVG (Denton and Fergus 2018, section 3.3) uses it as encoder and decoder for BAIR.
64 or 128 pixels. 22.8 M parameters with the rest of the course model at 64.

Shape letters: N frames, C image channels, D code.
"""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from framecast.models.config import Norm
from framecast.models.layers import (
    ConvBlock,
    ImageDecoder,
    ImageEncoder,
    ImageSpec,
    SkipBlock,
    as_map,
    code_foot,
    code_head,
    code_of,
)

# Channels of the convolutions in multiples of the width, at 64, 32, 16 and 8 pixels, on the way
# down and on the way up; 128 pixels have one more stage at the coarse end.
DOWN = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8))
UP = ((8, 8, 4), (4, 4, 2), (2, 1), (1,))
COARSE = (8, 8, 8)
MANY_CHANNELS = 512
Stages = tuple[tuple[int, ...], ...]


def _stages(spec: ImageSpec) -> tuple[Stages, Stages]:
    """Channels on the way down and up: one stage more at 128, one less for a code of 8x8."""
    down: Stages = DOWN if spec.size == 64 else (*DOWN, COARSE)
    up: Stages = UP if spec.size == 64 else (COARSE, *UP)
    if spec.code_size > 1:
        down, up = down[:-1], up[1:]
    widen = spec.width
    return (
        tuple(tuple(widen * multiple for multiple in stage) for stage in down),
        tuple(tuple(widen * multiple for multiple in stage) for stage in up),
    )


def _conv(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, 1, 1)


class Stage(nn.Module):
    """Convolution blocks at one resolution."""

    def __init__(self, before: int, widths: tuple[int, ...], norm: Norm) -> None:
        super().__init__()
        pairs = itertools.pairwise((before, *widths))
        self.blocks = nn.ModuleList(ConvBlock(_conv(*pair), norm) for pair in pairs)

    def forward(self, features: Tensor, num_steps: int) -> Tensor:
        for block in self.blocks:
            features = block(features, num_steps)
        return features


class SkipStage(nn.Module):
    """The same on features of half the size; the first convolution also sees the encoder's skip."""

    def __init__(self, before: int, widths: tuple[int, ...], norm: Norm) -> None:
        super().__init__()
        # Many channels of few pixels are faster doubled first.
        self.doubles = before < MANY_CHANNELS
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.first = SkipBlock(_conv(2 * before, widths[0]), norm, self.doubles)
        self.rest = Stage(widths[0], widths[1:], norm)

    def skip_half(self, skip: Tensor) -> Tensor:
        return self.first.skip_half(skip)

    def forward(self, features: Tensor, skip_half: Tensor, num_steps: int) -> Tensor:
        features = features if self.doubles else self.upsample(features)
        rest: Tensor = self.rest(self.first(features, skip_half, num_steps), num_steps)
        return rest


class VggEncoder(ImageEncoder):
    """frames (N, C, H, W) -> code in (-1, 1) and a skip for every resolution."""

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__(spec)
        down, _ = _stages(spec)
        self.num_features = down[-1][-1]
        before = (spec.channels, *(widths[-1] for widths in down[:-1]))
        self.stages = nn.ModuleList(
            Stage(b, widths, spec.norm) for b, widths in zip(before, down, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.head = code_head(spec, self.num_features)

    def forward(self, frames: Tensor, num_steps: int) -> tuple[Tensor, list[Tensor]]:
        skips: list[Tensor] = []
        features = frames
        for stage in self.stages:
            skips.append(stage(features, num_steps))
            features = self.pool(skips[-1])
        return code_of(self.head(features, num_steps)), skips


class VggDecoder(ImageDecoder):
    """code and skip halves -> image logits (N, C, H, W)."""

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__(spec)
        down, up = _stages(spec)
        self.foot = code_foot(spec, down[-1][-1])
        before = (down[-1][-1], *(widths[-1] for widths in up[:-1]))
        self.stages = nn.ModuleList(
            SkipStage(b, widths, spec.norm) for b, widths in zip(before, up, strict=True)
        )
        self.paint = nn.ConvTranspose2d(up[-1][-1], spec.channels, 3, 1, 1)

    def skip_halves(self, skips: list[Tensor]) -> list[Tensor]:
        stages = (stage for stage in self.stages if isinstance(stage, SkipStage))
        return [stage.skip_half(s) for stage, s in zip(stages, reversed(skips), strict=True)]

    def forward(self, code: Tensor, skip_halves: list[Tensor], num_steps: int) -> Tensor:
        features = self.foot(as_map(code), num_steps)
        for stage, half in zip(self.stages, skip_halves, strict=True):
            features = stage(features, half, num_steps)
        logits: Tensor = self.paint(features)
        return logits
