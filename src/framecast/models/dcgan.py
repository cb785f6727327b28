"""The small image network: strided convolutions in the manner of DCGAN (Radford 2015).

SVG (Denton and Fergus 2018, section 3.3) uses it as encoder and decoder with skip connections.
64 pixels only. 12.7 M parameters with the rest of the course model.

Shape letters: N frames, C image channels, D code.
"""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from framecast.models.layers import ConvBlock, ImageDecoder, ImageEncoder, SkipBlock, SkipConv

WIDTHS = (64, 128, 256, 512)  # channels at 32, 16, 8 and 4 pixels


class DcganEncoder(ImageEncoder):
    """frames (N, C, 64, 64) -> code (N, D) in (-1, 1) and a skip for every resolution."""

    def __init__(self, channels: int, code_dim: int) -> None:
        super().__init__()
        widths = (channels, *WIDTHS)
        self.blocks = nn.ModuleList(
            ConvBlock(nn.Conv2d(before, after, 4, 2, 1))
            for before, after in itertools.pairwise(widths)
        )
        self.head = ConvBlock(nn.Conv2d(WIDTHS[-1], code_dim, 4), nn.Tanh())

    def forward(self, frames: Tensor, num_steps: int) -> tuple[Tensor, list[Tensor]]:
        skips: list[Tensor] = []
        features = frames
        for block in self.blocks:
            features = block(features, num_steps)
            skips.append(features)
        return self.head(features, num_steps).flatten(1), skips


class DcganDecoder(ImageDecoder):
    """code (N, D) and skip halves -> image logits (N, C, 64, 64)."""

    def __init__(self, channels: int, code_dim: int) -> None:
        super().__init__()
        self.foot = ConvBlock(nn.ConvTranspose2d(code_dim, WIDTHS[-1], 4))
        self.blocks = nn.ModuleList(
            SkipBlock(nn.ConvTranspose2d(2 * before, after, 4, 2, 1))
            for before, after in zip(WIDTHS[:0:-1], WIDTHS[-2::-1], strict=True)
        )
        self.paint = SkipConv(nn.ConvTranspose2d(2 * WIDTHS[0], channels, 4, 2, 1))

    def skip_halves(self, skips: list[Tensor]) -> list[Tensor]:
        layers = (*self.blocks, self.paint)
        return [layer.skip_half(s) for layer, s in zip(layers, reversed(skips), strict=True)]

    def forward(self, code: Tensor, skip_halves: list[Tensor], num_steps: int) -> Tensor:
        features = self.foot(code[:, :, None, None], num_steps)
        for block, half in zip(self.blocks, skip_halves[:-1], strict=True):
            features = block(features, half, num_steps)
        logits: Tensor = self.paint(features, skip_halves[-1])
        return logits
