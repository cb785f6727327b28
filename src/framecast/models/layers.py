"""Layers that the image networks share.

Shape letters: N frames (time step by time step: N = num_steps * batch), C channels, H, W.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from framecast.models.config import Norm
from framecast.models.norms import image_norm

LEAK = 0.2


@dataclass(frozen=True)
class ImageSpec:
    """What an encoder or decoder is built for.

    Args:
        channels: of the images
        size: pixels a side, 64 or 128
        code_dim: D
        code_size: 1 for a code that is a vector, 8 for one that is a map of 8x8
        width: channels at the finest resolution; coarser ones have multiples of it
        norm: normalisation, by batch or by groups of channels
    """

    channels: int
    size: int
    code_dim: int
    code_size: int = 1
    width: int = 64
    norm: Norm = "batch"


class ImageEncoder(nn.Module, ABC):
    """Frames (N, C, H, W) -> code in (-1, 1) and a skip (N, ...) for every resolution.

    The code is (N, D), or (N, D, 8, 8) where it is a map.

    Attributes:
        num_features: channels of the coarsest skip.
    """

    num_features: int

    @abstractmethod
    def __init__(self, spec: ImageSpec) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, frames: Tensor, num_steps: int) -> tuple[Tensor, list[Tensor]]: ...


class ImageDecoder(nn.Module, ABC):
    """Code (N, D) or (N, D, 8, 8) and skip halves (N, ...) -> image logits (N, C, H, W)."""

    @abstractmethod
    def __init__(self, spec: ImageSpec) -> None:
        super().__init__()

    @abstractmethod
    def skip_halves(self, skips: list[Tensor]) -> list[Tensor]:
        """What the skips contribute to the convolutions they enter, coarse to fine."""

    @abstractmethod
    def forward(self, code: Tensor, skip_halves: list[Tensor], num_steps: int) -> Tensor: ...


class ConvBlock(nn.Module):
    """Convolution (plain or transposed), normalisation, activation."""

    def __init__(
        self,
        conv: nn.Conv2d | nn.ConvTranspose2d,
        norm: Norm,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.conv: nn.Module = conv
        self.norm = image_norm(norm, conv.out_channels)
        self.activation = activation or nn.LeakyReLU(LEAK, inplace=True)

    def forward(self, features: Tensor, num_steps: int) -> Tensor:
        activated: Tensor = self.activation(self.norm(self.conv(features), num_steps))
        return activated


class SkipConv(nn.Module):
    """A convolution of [features, skip], with the skip's half computed on its own.

    Convolution is linear in its input channels: conv([a, b]) = conv_a(a) + conv_b(b). The skip
    stays the same for a whole rollout, so its half is computed once and added at every step.

    Args:
        conv: 3x3 and plain where it doubles.
        doubles: the features are half as large as the skip and are doubled first, every one
            becoming a block of 2x2.
    """

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d, doubles: bool = False) -> None:
        super().__init__()
        self.conv = conv
        self.doubles = doubles
        self.num_features = conv.in_channels // 2
        self.kept_half: Tensor | None = None

    def skip_half(self, skip: Tensor) -> Tensor:
        return self._convolve(skip, self._half(slice(self.num_features, None)), self.conv.bias)

    def feature_half(self) -> Tensor:
        """The weights of the features' half."""
        if self.kept_half is not None:
            return self.kept_half
        half = self._half(slice(0, self.num_features))
        return doubling_weight(half) if self.doubles else half

    def forward(self, features: Tensor, skip_half: Tensor) -> Tensor:
        half = self.feature_half()
        if self.doubles:
            doubled = functional.conv_transpose2d(features, half, None, stride=2, padding=1)
            return doubled.add_(skip_half)
        return self._convolve(features, half, None).add_(skip_half)

    def _half(self, channels: slice) -> Tensor:
        weight = self.conv.weight
        return (
            weight[channels] if isinstance(self.conv, nn.ConvTranspose2d) else weight[:, channels]
        )

    def _convolve(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        stride, padding = self.conv.stride, self.conv.padding
        assert not isinstance(padding, str)
        if isinstance(self.conv, nn.ConvTranspose2d):
            return functional.conv_transpose2d(inputs, weight, bias, stride, padding)
        return functional.conv2d(inputs, weight, bias, stride, padding)


def doubling_weight(weight: Tensor) -> Tensor:
    """A 3x3 convolution of doubled features as a 4x4 transposed one with stride 2, padding 1.

    Every 2x2 block of the doubled features is one number four times over, so the kernel's weights
    of a block can be added up beforehand: 4 products an output instead of 9.

    Args:
        weight: (O, I, 3, 3)

    Returns: (I, O, 4, 4)
    """
    exact = weight.to(torch.promote_types(weight.dtype, torch.float32))
    padded = functional.pad(exact.transpose(0, 1).flip(2, 3), (1, 1, 1, 1))
    rows = padded[..., :-1, :] + padded[..., 1:, :]
    return (rows[..., :-1] + rows[..., 1:]).to(weight.dtype)


@contextmanager
def kept_halves(network: nn.Module) -> Iterator[None]:
    """Within, the features' halves of weights are cut out and converted once, not at every step."""
    layers = [layer for layer in network.modules() if isinstance(layer, SkipConv)]
    for layer in layers:
        half = layer.feature_half()
        if torch.is_autocast_enabled(half.device.type):
            half = half.to(torch.get_autocast_dtype(half.device.type))
        layer.kept_half = half
    try:
        yield
    finally:
        for layer in layers:
            layer.kept_half = None


class SkipBlock(nn.Module):
    """SkipConv, normalisation, activation."""

    def __init__(
        self, conv: nn.Conv2d | nn.ConvTranspose2d, norm: Norm, doubles: bool = False
    ) -> None:
        super().__init__()
        self.joined = SkipConv(conv, doubles)
        self.norm = image_norm(norm, conv.out_channels)
        self.activation = nn.LeakyReLU(LEAK, inplace=True)

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
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.GroupNorm):
            nn.init.normal_(layer.weight, 1.0, 0.02)
            nn.init.zeros_(layer.bias)


def code_head(spec: ImageSpec, num_features: int) -> ConvBlock:
    """The encoder's last convolution: from 4x4 features to a vector, or of 8x8 ones to a map."""
    conv = nn.Conv2d(num_features, spec.code_dim, *((4,) if spec.code_size == 1 else (3, 1, 1)))
    return ConvBlock(conv, spec.norm, nn.Tanh())


def code_foot(spec: ImageSpec, num_features: int) -> ConvBlock:
    """The decoder's first convolution, back to features."""
    if spec.code_size == 1:
        return ConvBlock(nn.ConvTranspose2d(spec.code_dim, num_features, 4), spec.norm)
    return ConvBlock(nn.Conv2d(spec.code_dim, num_features, 3, 1, 1), spec.norm)


def code_of(features: Tensor) -> Tensor:
    """(N, D, 1, 1) -> (N, D); a map stays one."""
    return features.flatten(1) if features.shape[-1] == 1 else features


def as_map(code: Tensor) -> Tensor:
    """(N, D) -> (N, D, 1, 1); a map stays one."""
    return code[:, :, None, None] if code.ndim == 2 else code
