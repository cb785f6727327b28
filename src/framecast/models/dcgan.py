"""The small image network: strided convolutions in the manner of DCGAN (Radford 2015).

SVG (Denton and Fergus 2018, section 3.3) uses it as encoder and decoder with skip connections.
64 or 128 pixels. 12.7 M parameters with the rest of the course model at 64.

Shape letters: N frames, C image channels, D code.
"""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from framecast.models.layers import (
    ConvBlock,
    ImageDecoder,
    ImageEncoder,
    ImageSpec,
    SkipBlock,
    SkipConv,
    as_map,
    code_foot,
    code_head,
    code_of,
)

# Channels in multiples of the width, at 32, 16, 8 and 4 pixels for images of 64.
MULTIPLES = (1, 2, 4, 8)


def _widths(spec: ImageSpec) -> tuple[int, ...]:
    """Channels of every resolution: one more for 128 pixels, one less for a code of 8x8."""
    multiples: tuple[int, ...] = MULTIPLES if spec.size == 64 else (*MULTIPLES, MULTIPLES[-1])
    if spec.code_size > 1:
        multiples = multiples[:-1]
    return tuple(spec.width * multiple for multiple in multiples)


class DcganEncoder(ImageEncoder):
    """frames (N, C, H, W) -> code in (-1, 1) and a skip for every resolution."""

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__(spec)
        widths = (spec.channels, *_widths(spec))
        self.num_features = widths[-1]
        self.blocks = nn.ModuleList(
            ConvBlock(nn.Conv2d(before, after, 4, 2, 1), spec.norm)
            for before, after in itertools.pairwise(widths)
        )
        self.head = code_head(spec, widths[-1])

    def forward(self, frames: Tensor, num_steps: int) -> tuple[Tensor, list[Tensor]]:
        skips: list[Tensor] = []
        features = frames
        for block in self.blocks:
            features = block(features, num_steps)
            skips.append(features)
        return code_of(self.head(features, num_steps)), skips


class DcganDecoder(ImageDecoder):
    """code and skip halves -> image logits (N, C, H, W)."""

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__(spec)
        widths = _widths(spec)
        self.foot = code_foot(spec, widths[-1])
        self.blocks = nn.ModuleList(
            SkipBlock(nn.ConvTranspose2d(2 * before, after, 4, 2, 1), spec.norm)
            for before, after in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.paint = SkipConv(nn.ConvTranspose2d(2 * widths[0], spec.channels, 4, 2, 1))

    def skip_halves(self, skips: list[Tensor]) -> list[Tensor]:
        layers = (*self.blocks, self.paint)
        return [layer.skip_half(s) for layer, s in zip(layers, reversed(skips), strict=True)]

    def forward(self, code: Tensor, skip_halves: list[Tensor], num_steps: int) -> Tensor:
        features = self.foot(as_map(code), num_steps)
        for block, half in zip(self.blocks, skip_halves[:-1], strict=True):
            features = block(features, half, num_steps)
        logits: Tensor = self.paint(features, skip_halves[-1])
        return logits
