from __future__ import annotations

import math

import torch

from framecast.metrics import PSNR_CAP, psnr, ssim


def test_identical_frames_are_capped_not_infinite():
    frames = torch.rand(4, 2, 3, 16, 16)
    assert (psnr(frames, frames) == PSNR_CAP).all()
    torch.testing.assert_close(ssim(frames, frames), torch.ones(4, 2))


def test_psnr_is_the_mean_over_channels_of_each_channels_psnr():
    true = torch.zeros(1, 1, 3, 16, 16)
    errors = (0.1, 0.01, 0.5)
    predicted = torch.stack([torch.full((16, 16), error) for error in errors])[None, None]
    expected = sum(-20 * math.log10(error) for error in errors) / 3
    torch.testing.assert_close(psnr(predicted, true), torch.full((1, 1), expected))


def test_metrics_keep_every_leading_dimension_apart():
    true, predicted = torch.rand(5, 2, 3, 32, 32), torch.rand(5, 2, 3, 32, 32)
    for metric in (psnr, ssim):
        whole = metric(predicted, true)
        assert whole.shape == (5, 2)
        torch.testing.assert_close(whole[3, 1:], metric(predicted[3, 1:], true[3, 1:]))
