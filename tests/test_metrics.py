"""The metrics, against scikit-image and torchmetrics, and against what they have to obey."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torchmetrics.functional.image import (
    peak_signal_noise_ratio as torchmetrics_psnr,
)
from torchmetrics.functional.image import (
    structural_similarity_index_measure as torchmetrics_ssim,
)

from framecast.metrics import METRICS, PSNR_CAP, mae, mse, pooled_psnr, psnr, ssim, svg_ssim

NUM_PAIRS, SIZE, AT_ONCE = 1000, 32, 50


@pytest.fixture(scope="module")
def pairs() -> tuple[Tensor, Tensor]:
    """1,000 pairs of pictures, (N, 3, 32, 32): smooth ones and noise, near and far apart."""
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(NUM_PAIRS, 3, 9, 9, generator=random)
    smooth = torch.nn.functional.interpolate(coarse, size=SIZE, mode="bicubic").clamp(0, 1)
    rough = torch.rand(NUM_PAIRS, 3, SIZE, SIZE, generator=random)
    mixed = torch.rand(NUM_PAIRS, 1, 1, 1, generator=random)
    true = mixed * smooth + (1 - mixed) * rough
    distance = 10 ** (-3 * torch.rand(NUM_PAIRS, 1, 1, 1, generator=random))
    noise = torch.randn(NUM_PAIRS, 3, SIZE, SIZE, generator=random)
    return (true + distance * noise).clamp(0, 1), true


def as_images(pairs: tuple[Tensor, Tensor]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    predicted, true = (frames.double().permute(0, 2, 3, 1).numpy() for frames in pairs)
    yield from zip(predicted, true, strict=True)


def in_parts(metric: Callable[..., Tensor], pairs: tuple[Tensor, Tensor], **options) -> Tensor:
    parts = (frames.split(AT_ONCE) for frames in pairs)
    return torch.cat([metric(x, y, **options) for x, y in zip(*parts, strict=True)])


def differ_at_most(ours: Tensor, theirs: object) -> None:
    torch.testing.assert_close(ours.double(), torch.as_tensor(theirs).double(), rtol=0, atol=1e-5)


def test_psnr_equals_scikit_image_and_torchmetrics_on_a_thousand_pairs(pairs):
    pooled = [peak_signal_noise_ratio(y, x, data_range=1) for x, y in as_images(pairs)]
    differ_at_most(in_parts(pooled_psnr, pairs), pooled)
    by_channel = [
        np.mean([peak_signal_noise_ratio(y[..., c], x[..., c], data_range=1) for c in range(3)])
        for x, y in as_images(pairs)
    ]
    differ_at_most(in_parts(psnr, pairs), by_channel)
    # In float64: in float32 torchmetrics itself is up to 1.1e-5 dB off.
    doubles = (pairs[0].double(), pairs[1].double())
    options = {"data_range": 1.0, "reduction": "none"}
    differ_at_most(
        in_parts(pooled_psnr, pairs), in_parts(torchmetrics_psnr, doubles, dim=(1, 2, 3), **options)
    )
    differ_at_most(
        in_parts(psnr, pairs),
        in_parts(torchmetrics_psnr, doubles, dim=(2, 3), **options).mean(dim=1),
    )


def test_ssim_equals_torchmetrics_on_a_thousand_pairs_where_the_window_fits(pairs):
    # torchmetrics also counts windows over reflected borders. In float64: in float32 it is 1e-4
    # off in flat regions.
    doubles = (pairs[0].double(), pairs[1].double())

    def inner(x: Tensor, y: Tensor) -> Tensor:
        options = {"sigma": 1.5, "kernel_size": 11, "data_range": 1.0, "reduction": "none"}
        _, whole = torchmetrics_ssim(x, y, return_full_image=True, **options)
        return whole[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))

    differ_at_most(in_parts(ssim, pairs), in_parts(inner, doubles))


def test_ssim_equals_scikit_image_on_a_thousand_pairs(pairs):
    theirs = [
        structural_similarity(
            *(x, y),
            data_range=1,
            channel_axis=2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for x, y in as_images(pairs)
    ]
    differ_at_most(in_parts(ssim, pairs), theirs)


def test_the_compatible_ssim_equals_scikit_image_with_the_papers_settings(pairs):
    theirs = [
        np.mean(
            [
                structural_similarity(x[..., c], y[..., c], win_size=7, data_range=2)
                for c in range(3)
            ]
        )
        for x, y in as_images(pairs)
    ]
    differ_at_most(in_parts(svg_ssim, pairs), theirs)


def test_errors_are_means_over_the_whole_frame(pairs):
    predicted, true = pairs
    differ_at_most(
        in_parts(mse, pairs), (predicted - true).double().square().flatten(1).mean(dim=1)
    )
    differ_at_most(in_parts(mae, pairs), (predicted - true).double().abs().flatten(1).mean(dim=1))


def test_psnr_per_channel_is_never_below_the_pooled_one(pairs):
    assert (in_parts(psnr, pairs) >= pooled_psnr(*pairs) - 1e-5).all()


def test_identical_frames_are_capped_not_infinite():
    frames = torch.rand(4, 2, 3, 16, 16)
    assert (psnr(frames, frames) == PSNR_CAP).all()
    assert (pooled_psnr(frames, frames) == PSNR_CAP).all()
    for similarity in (ssim, svg_ssim):
        torch.testing.assert_close(similarity(frames, frames), torch.ones(4, 2))


def test_psnr_is_the_mean_over_channels_of_each_channels_psnr():
    true = torch.zeros(1, 1, 3, 16, 16)
    errors = (0.1, 0.01, 0.5)
    predicted = torch.stack([torch.full((16, 16), error) for error in errors])[None, None]
    expected = sum(-20 * math.log10(error) for error in errors) / 3
    torch.testing.assert_close(psnr(predicted, true), torch.full((1, 1), expected))


@pytest.mark.parametrize("name", METRICS)
def test_metrics_keep_leading_dimensions_apart_and_share_one_truth_among_samples(name: str):
    metric = METRICS[name].function
    true, predicted = torch.rand(5, 2, 1, 3, 32, 32), torch.rand(5, 2, 4, 3, 32, 32)
    whole = metric(predicted, true)
    assert whole.shape == (5, 2, 4)
    torch.testing.assert_close(whole[3, 1, 2], metric(predicted[3, 1, 2], true[3, 1, 0]))


@pytest.mark.parametrize("name", METRICS)
def test_less_noise_is_better_in_the_direction_the_metric_names(name: str):
    metric = METRICS[name]
    true = torch.rand(1, 3, 32, 32) * 0.6 + 0.2
    noise = torch.randn(1, 3, 32, 32)
    near, far = (metric.function(true + size * noise, true) for size in (0.01, 0.1))
    assert (metric.better * (near - far) > 0).all()
