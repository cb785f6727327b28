from __future__ import annotations

import copy

import torch
from torch import nn

from framecast.models.layers import SkipConv
from framecast.models.norms import StepwiseBatchNorm2d


def test_batched_steps_are_normalised_as_if_one_by_one():
    one_by_one = StepwiseBatchNorm2d(4).double()
    batched = copy.deepcopy(one_by_one)
    steps = torch.randn(5, 3, 4, 6, 6, dtype=torch.float64)
    expected = torch.cat([one_by_one(step) for step in steps])
    torch.testing.assert_close(batched(steps.flatten(0, 1), num_steps=5), expected)
    torch.testing.assert_close(batched.running_mean, one_by_one.running_mean)
    torch.testing.assert_close(batched.running_var, one_by_one.running_var)


def test_a_skip_conv_is_the_convolution_of_both_halves_joined():
    features, skip = torch.randn(2, 3, 5, 8, 8, dtype=torch.float64)
    for conv in (nn.Conv2d(10, 7, 3, 1, 1), nn.ConvTranspose2d(10, 7, 4, 2, 1)):
        layer = SkipConv(conv.double())
        joined = conv(torch.cat([features, skip], dim=1))
        torch.testing.assert_close(layer(features, layer.skip_half(skip)), joined)
