"""The course family's `imagine` without what a rollout need not repeat.

The model's own code on a copy of it whose layers are simplified for weights that stay as they are.
Up to rounding the numbers are the model's:

- Batch norms are folded into the convolutions before them, and the image networks' weights are
  converted once instead of at every step.
- A convolution whose input or output is a single place is a matrix product.
- A transposed convolution to the few channels of an image is a plain one to four times as many.
- In bfloat16 a strided convolution of many channels gathers its patches for a matrix product, which
  runs at the processor's peak where the convolution does not.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

from framecast.models.base import PlainSampler, VideoModel
from framecast.models.layers import ConvBlock, SkipBlock, SkipConv
from framecast.models.norms import NoNorm, StepwiseBatchNorm2d

MANY_CHANNELS = 256  # from here on gathering patches pays
FEW_CHANNELS = 4  # up to here a transposed convolution is wasteful


class CourseSampler(PlainSampler[Any]):
    """Imagines with a course model's present weights, convolutions in bfloat16 or as the model."""

    def __init__(self, model: VideoModel[Any], bfloat16: bool) -> None:
        super().__init__(model, bfloat16)
        self.model = copy.deepcopy(model).requires_grad_(False)
        for name in ("encoder", "decoder"):
            network = self.model.get_submodule(name)
            _simplify(network)
            network.to(torch.bfloat16 if bfloat16 else model.dtype)
            _keep_halves(network)


def _simplify(network: nn.Module) -> None:
    for name, layer in network.named_children():
        if isinstance(layer, ConvBlock):
            assert isinstance(layer.conv, nn.Conv2d | nn.ConvTranspose2d)
            _fold_norm(layer, layer.conv)
            layer.conv = _simplified(layer.conv)
        elif isinstance(layer, SkipBlock):
            _fold_norm(layer, layer.joined.conv)
        elif isinstance(layer, SkipConv) and layer.conv.out_channels <= FEW_CHANNELS:
            setattr(network, name, _PaintingSkipConv(layer))
        else:
            _simplify(layer)


def _keep_halves(network: nn.Module) -> None:
    for layer in network.modules():
        if isinstance(layer, SkipConv):
            layer.kept_half = layer.feature_half().contiguous(memory_format=torch.channels_last)


def _fold_norm(block: ConvBlock | SkipBlock, conv: nn.Conv2d | nn.ConvTranspose2d) -> None:
    norm = block.norm
    if isinstance(norm, StepwiseBatchNorm2d):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        transposed = isinstance(conv, nn.ConvTranspose2d)
        moments = (norm.running_mean, norm.running_var, norm.eps)
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, *moments, norm.weight, norm.bias, transpose=transposed
        )
        block.norm = NoNorm()


def _simplified(conv: nn.Module) -> nn.Module:
    if isinstance(conv, nn.ConvTranspose2d) and conv.stride == (1, 1) and conv.padding == (0, 0):
        return _FromOnePlace(conv)
    if isinstance(conv, nn.Conv2d) and conv.kernel_size == (4, 4):
        if conv.padding == (0, 0):
            return _ToOnePlace(conv)
        if conv.stride == (2, 2) and conv.in_channels >= MANY_CHANNELS:
            return _GatheredConv(conv)
    return conv


class _ToOnePlace(nn.Module):
    """A convolution as large as its input, (N, C, k, k) -> (N, D, 1, 1)."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight = nn.Parameter(conv.weight.permute(0, 2, 3, 1).flatten(1), False)
        self.bias = conv.bias

    def forward(self, features: Tensor) -> Tensor:
        flat = features.permute(0, 2, 3, 1).flatten(1)
        return functional.linear(flat, self.weight, self.bias)[:, :, None, None]


class _FromOnePlace(nn.Module):
    """A transposed convolution of a single place, (N, D, 1, 1) -> (N, C, k, k)."""

    def __init__(self, conv: nn.ConvTranspose2d) -> None:
        super().__init__()
        self.shape = (*conv.kernel_size, conv.out_channels)
        self.weight = nn.Parameter(conv.weight.permute(2, 3, 1, 0).flatten(0, 2), False)
        assert conv.bias is not None
        self.bias = nn.Parameter(conv.bias.repeat(self.shape[0] * self.shape[1]), False)

    def forward(self, code: Tensor) -> Tensor:
        places = functional.linear(code.flatten(1), self.weight, self.bias)
        return places.view(-1, *self.shape).permute(0, 3, 1, 2)


class _GatheredConv(nn.Module):
    """A 4x4 convolution with stride 2 and padding 1; the patches are gathered in bfloat16."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.weight = nn.Parameter(conv.weight.permute(0, 2, 3, 1).flatten(1), False)

    def forward(self, features: Tensor) -> Tensor:
        if features.dtype != torch.bfloat16:
            convolved: Tensor = self.conv(features)
            return convolved
        padded = functional.pad(features.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        patches = padded.unfold(1, 4, 2).unfold(2, 4, 2).permute(0, 1, 2, 4, 5, 3)
        places = patches.shape[:3]
        products = functional.linear(patches.reshape(-1, self.weight.shape[1]), self.weight)
        assert self.conv.bias is not None
        return products.add_(self.conv.bias).view(*places, -1).permute(0, 3, 1, 2)


class _PaintingSkipConv(nn.Module):
    """SkipConv with a 4x4 transposed convolution of stride 2, each 2x2 block of pixels at once.

    Pixel 2 i + a of a row is the sum over u in -1, 0, 1 of place i + u times tap a + 1 - 2 u.
    """

    def __init__(self, layer: SkipConv) -> None:
        super().__init__()
        self.layer = layer
        taps = layer.conv.weight[: layer.num_features]  # (F, C, 4, 4)
        num_features, channels = taps.shape[:2]
        weight = taps.new_zeros(channels, 2, 2, num_features, 3, 3)
        for a, row in ((a, a + 1 - 2 * u) for a in range(2) for u in (-1, 0, 1)):
            for b, column in ((b, b + 1 - 2 * v) for b in range(2) for v in (-1, 0, 1)):
                if row in range(4) and column in range(4):
                    u, v = (a + 1 - row) // 2, (b + 1 - column) // 2
                    weight[:, a, b, :, u + 1, v + 1] = taps[:, :, row, column].T
        blocks = weight.flatten(0, 2).contiguous(memory_format=torch.channels_last)
        self.weight = nn.Parameter(blocks, False)

    def skip_half(self, skip: Tensor) -> Tensor:
        return self.layer.skip_half(skip)

    def forward(self, features: Tensor, skip_half: Tensor) -> Tensor:
        blocks = functional.conv2d(features, self.weight, padding=1)
        return functional.pixel_shuffle(blocks, 2).add_(skip_half)
