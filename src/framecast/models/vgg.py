"""The large image network: 3x3 convolutions in the manner of VGG16 up to its third pooling.

SVG (Denton and Fergus 2018, section 3.3) uses it as encoder and decoder for BAIR.
64 pixels only. 22.8 M parameters with the rest of the course model.

Shape letters: N frames, C image channels, D code.
"""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from framecast.models.layers import ConvBlock, ImageDecoder, ImageEncoder, SkipBlock

# Channels of the convolutions at 64, 32, 16 and 8 pixels, on the way down and on the way up.
DOWN = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512))
UP = ((512, 512, 256), (256, 256, 128), (128, 64), (64,))


def _conv(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, 1, 1)


class Stage(nn.Module):
    """Convolution blocks at one resolution."""

    def __init__(self, before: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        pairs = itertools.pairwise((before, *widths))
        self.blocks = nn.ModuleList(ConvBlock(_conv(*pair)) for pair in pairs)

    def forward(self, features: Tensor, num_steps: int) -> Tensor:
        for block in self.blocks:
            features = block(features, num_steps)
        return features


class SkipStage(nn.Module):
    """The same, where the first convolution also sees the encoder's skip."""

    def __init__(self, before: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.first = SkipBlock(_conv(2 * before, widths[0]))
        self.rest = Stage(widths[0], widths[1:])

    def skip_half(self, skip: Tensor) -> Tensor:
        return self.first.skip_half(skip)

    def forward(self, features: Tensor, skip_half: Tensor, num_steps: int) -> Tensor:
        rest: Tensor = self.rest(self.first(features, skip_half, num_steps), num_steps)
        return rest


class VggEncoder(ImageEncoder):
    """frames (N, C, 64, 64) -> code (N, D) in (-1, 1) and a skip for every resolution."""

    def __init__(self, channels: int, code_dim: int) -> None:
        super().__init__()
        before = (channels, *(widths[-1] for widths in DOWN[:-1]))
        self.stages = nn.ModuleList(Stage(b, w) for b, w in zip(before, DOWN, strict=True))
        self.pool = nn.MaxPool2d(2)
        self.head = ConvBlock(nn.Conv2d(DOWN[-1][-1], code_dim, 4), nn.Tanh())

    def forward(self, frames: Tensor, num_steps: int) -> tuple[Tensor, list[Tensor]]:
        skips: list[Tensor] = []
        features = frames
        for stage in self.stages:
            skips.append(stage(features, num_steps))
            features = self.pool(skips[-1])
        return self.head(features, num_steps).flatten(1), skips


class VggDecoder(ImageDecoder):
    """code (N, D) and skip halves -> image logits (N, C, 64, 64)."""

    def __init__(self, channels: int, code_dim: int) -> None:
        super().__init__()
        self.foot = ConvBlock(nn.ConvTranspose2d(code_dim, DOWN[-1][-1], 4))
        before = (DOWN[-1][-1], *(widths[-1] for widths in UP[:-1]))
        self.stages = nn.ModuleList(SkipStage(b, w) for b, w in zip(before, UP, strict=True))
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.paint = nn.ConvTranspose2d(UP[-1][-1], channels, 3, 1, 1)

    def skip_halves(self, skips: list[Tensor]) -> list[Tensor]:
        stages = (stage for stage in self.stages if isinstance(stage, SkipStage))
        return [stage.skip_half(s) for stage, s in zip(stages, reversed(skips), strict=True)]

    def forward(self, code: Tensor, skip_halves: list[Tensor], num_steps: int) -> Tensor:
        features = self.foot(code[:, :, None, None], num_steps)
        for stage, half in zip(self.stages, skip_halves, strict=True):
            features = stage(self.upsample(features), half, num_steps)
        logits: Tensor = self.paint(features)
        return logits
