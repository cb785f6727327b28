"""Layers that the image networks share.

Shape letters: N frames (time step by time step: N = num_steps * batch), C channels, H, W.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAK = 0.2


class StepwiseBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation of several time steps at once, each by its own statistics.

    The published loop calls the network once a time step, so every step is normalised over its
    own batch. Batching the steps must not join their statistics: that would be another model.
    """

    def forward(self, input: Tensor, num_steps: int = 1) -> Tensor:
        if num_steps == 1 or not self.training:
            return super().forward(input)
        return torch.cat([nn.BatchNorm2d.forward(self, x) for x in input.chunk(num_steps)])


class StepwiseBatchNorm1d(nn.BatchNorm1d):
    """The same for vectors, (N, D)."""

    def forward(self, input: Tensor, num_steps: int = 1) -> Tensor:
        if num_steps == 1 or not self.training:
            return super().forward(input)
        return torch.cat([nn.BatchNorm1d.forward(self, x) for x in input.chunk(num_steps)])


class ImageEncoder(nn.Module, ABC):
    """Frames (N, C, H, W) -> code (N, D) in (-1, 1) and a skip (N, ...) for every resolution."""

    @abstractmethod
    def forward(self, frames: Tensor, num_steps: int) -> tuple[Tensor, list[Tensor]]: ...


class ImageDecoder(nn.Module, ABC):
    """Code (N, D) and skip halves (N, ...) -> image logits (N, C, H, W)."""

    @abstractmethod
    def skip_halves(self, skips: list[Tensor]) -> list[Tensor]:
        """What the skips contribute to the convolutions they enter, coarse to fine."""

    @abstractmethod
    def forward(self, code: Tensor, skip_halves: list[Tensor], num_steps: int) -> Tensor: ...


class ConvBlock(nn.Module):
    """Convolution (plain or transposed), batch normalisation, activation."""

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d, activation: nn.Module | None = None):
        super().__init__()
        self.conv = conv
        self.norm = StepwiseBatchNorm2d(conv.out_channels)
        self.activation = activation or nn.LeakyReLU(LEAK)

    def forward(self, features: Tensor, num_steps: int) -> Tensor:
        activated: Tensor = self.activation(self.norm(self.conv(features), num_steps))
        return activated


class SkipConv(nn.Module):
    """A convolution of [features, skip], with the skip's half computed on its own.

    Convolution is linear in its input channels: conv([a, b]) = conv_a(a) + conv_b(b). The skip
    stays the same for a whole rollout, so its half is computed once and added at every step.
    """

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d) -> None:
        super().__init__()
        self.conv = conv
        self.num_features = conv.in_channels // 2

    def skip_half(self, skip: Tensor) -> Tensor:
        return self._convolve(skip, slice(self.num_features, None), self.conv.bias)

    def forward(self, features: Tensor, skip_half: Tensor) -> Tensor:
        return self._convolve(features, slice(0, self.num_features), None) + skip_half

    def _convolve(self, inputs: Tensor, channels: slice, bias: Tensor | None) -> Tensor:
        conv = self.conv
        stride, padding = conv.stride, conv.padding
        assert not isinstance(padding, str)
        if isinstance(conv, nn.ConvTranspose2d):
            return functional.conv_transpose2d(inputs, conv.weight[channels], bias, stride, padding)
        return functional.conv2d(inputs, conv.weight[:, channels], bias, stride, padding)


class SkipBlock(nn.Module):
    """SkipConv, batch normalisation, activation."""

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d) -> None:
        super().__init__()
        self.joined = SkipConv(conv)
        self.norm = StepwiseBatchNorm2d(conv.out_channels)
        self.activation = nn.LeakyReLU(LEAK)

    def skip_half(self, skip: Tensor) -> Tensor:
        return self.joined.skip_half(skip)

    def forward(self, features: Tensor, skip_half: Tensor, num_steps: int) -> Tensor:
        normalised = self.norm(self.joined(features, skip_half), num_steps)
        activated: Tensor = self.activation(normalised)
        return activated


def initialise(module: nn.Module) -> None:
    """DCGAN's initialisation (Radford 2015): weights N(0, .02), norm scales N(1, .02)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
            nn.init.zeros_(layer.bias)
