"""Normalisation of several time steps at once, each by its own statistics.

The published loop calls the network once a time step, so every step is normalised over its own
batch. Batching the steps must not join their statistics: that would be another model.

On several devices the statistics of training are those of the whole batch, over all processes, so
that a step does not depend on how many there are (`synchronise` on, which is the default), or of
each process's own share (off).

Shape letters: N frames (time step by time step: N = num_steps * batch), C channels, H, W.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn

from framecast.models.config import Norm

MAX_GROUPS = 8


class _Sum(torch.autograd.Function):
    """The sum over all processes; a gradient of it is one of every process's part."""

    @staticmethod
    def forward(_: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total


def _summed(tensor: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(tensor)  # type: ignore[no-untyped-call]
    return total


def processes_share_a_batch() -> bool:
    return distributed.is_initialized() and distributed.get_world_size() > 1


def _joined_statistics(inputs: Tensor, num_steps: int) -> tuple[Tensor, Tensor, int]:
    """Mean and biased variance (T, C) of every step over all processes, and the count of each."""
    steps = inputs.view(num_steps, -1, *inputs.shape[1:])
    dims = [dim for dim in range(steps.ndim) if dim not in (0, 2)]
    count = steps[0, :, 0].numel() * distributed.get_world_size()
    mean = _summed(steps.sum(dims)) / count
    shape = (num_steps, 1, -1, *[1] * (steps.ndim - 3))
    spread = (steps - mean.view(shape)).square().sum(dims)
    return mean, _summed(spread) / count, count


class _Stepwise(nn.modules.batchnorm._BatchNorm):
    synchronise: bool = True
    frozen: bool = False

    def forward(self, input: Tensor, num_steps: int = 1) -> Tensor:
        if not self.training or self.frozen:
            mean, var = self.running_mean, self.running_var
            return nn.functional.batch_norm(
                input, mean, var, self.weight, self.bias, False, 0.0, self.eps
            )
        if self.synchronise and processes_share_a_batch():
            return self._forward_joined(input, num_steps)
        if num_steps == 1:
            return super().forward(input)
        parts = input.chunk(num_steps)
        return torch.cat([nn.modules.batchnorm._BatchNorm.forward(self, part) for part in parts])

    def _forward_joined(self, inputs: Tensor, num_steps: int) -> Tensor:
        full = inputs.float() if inputs.dtype == torch.bfloat16 else inputs
        means, variances, count = _joined_statistics(full, num_steps)
        self._remember(means.detach(), variances.detach() * count / max(1, count - 1))
        shape = (num_steps, 1, -1, *[1] * (inputs.ndim - 2))
        scale = torch.rsqrt(variances + self.eps) * self.weight
        shift = self.bias - means * scale
        steps = full.view(num_steps, -1, *full.shape[1:])
        normalised: Tensor = steps * scale.view(shape) + shift.view(shape)
        return normalised.flatten(0, 1).to(inputs.dtype)

    @torch.no_grad()
    def _remember(self, means: Tensor, variances: Tensor) -> None:
        """Update the running statistics step by step, as separate calls would."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        momentum = self.momentum or 0.0
        for mean, variance in zip(means, variances, strict=True):
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
            self.running_var.lerp_(variance.to(self.running_var.dtype), momentum)
        self.num_batches_tracked += len(means)


class StepwiseBatchNorm2d(_Stepwise, nn.BatchNorm2d):
    """Batch normalisation of images, (N, C, H, W)."""


class StepwiseBatchNorm1d(_Stepwise, nn.BatchNorm1d):
    """The same for vectors, (N, D)."""


class StepwiseGroupNorm(nn.GroupNorm):
    """Normalises every frame by itself, so that it knows no batch and no steps."""

    def __init__(self, num_channels: int) -> None:
        # A group of few channels would leave nothing of a frame that is one pixel large.
        groups = 1 if num_channels % 4 else math.gcd(MAX_GROUPS, num_channels // 4)
        super().__init__(groups, num_channels)

    def forward(self, input: Tensor, num_steps: int = 1) -> Tensor:
        return super().forward(input)


class NoNorm(nn.Module):
    """Leaves everything as it is."""

    def forward(self, input: Tensor, num_steps: int = 1) -> Tensor:
        return input


def image_norm(kind: Norm, num_channels: int) -> nn.Module:
    """The normalisation of a convolution's output."""
    return StepwiseBatchNorm2d(num_channels) if kind == "batch" else StepwiseGroupNorm(num_channels)


def synchronise_norms(network: nn.Module, synchronise: bool) -> None:
    """Whether batch norms that train on several devices share their statistics."""
    for layer in network.modules():
        if isinstance(layer, _Stepwise):
            layer.synchronise = synchronise


@contextmanager
def frozen_statistics(network: nn.Module, frozen: bool) -> Iterator[None]:
    """Within, where `frozen`, batch norms use their running statistics and leave them alone."""
    norms = [layer for layer in network.modules() if isinstance(layer, _Stepwise)] if frozen else []
    for norm in norms:
        norm.frozen = True
    try:
        yield
    finally:
        for norm in norms:
            norm.frozen = False
