"""Image metrics on frames in [0, 1], in the variants of the literature, named.

Every metric takes predicted and true frames (..., C, H, W) whose leading dimensions broadcast
against each other, and gives one number a frame (...). What depends on the true frames alone is
computed once for all predictions of it, which is what makes best of 100 affordable.

Shape letters: any leading dimensions, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

PSNR_CAP = 100.0
LEAST_ERROR = 10 ** (-PSNR_CAP / 10)
PSNR_VARIANT = "per channel, then mean over channels; data range 1; capped at 100 dB"
POOLED_VARIANT = "mean squared error pooled over channels; data range 1; capped at 100 dB"
SSIM_VARIANT = (
    "Gaussian window 11x11, sigma 1.5, K1 .01, K2 .03, data range 1; windows that lie inside the "
    "frame (as scikit-image)"
)
SVG_SSIM_VARIANT = (
    "as published with SVG: uniform window 7x7 inside the frame, sample covariance, K1 .01, K2 "
    ".03, and a data range of 2 for frames of range 1; for comparison with that literature only"
)
Taps = tuple[float, ...]


def squared_error(predicted: Tensor, true: Tensor) -> Tensor:
    """Mean squared error of every frame and channel: (..., C, H, W) -> (..., C)."""
    return (predicted - true).square().mean(dim=(-2, -1))


def mse(predicted: Tensor, true: Tensor) -> Tensor:
    """Mean squared error of every frame: (..., C, H, W) -> (...)."""
    return squared_error(predicted, true).mean(dim=-1)


def mae(predicted: Tensor, true: Tensor) -> Tensor:
    """Mean absolute error of every frame: (..., C, H, W) -> (...)."""
    return (predicted - true).abs().mean(dim=(-3, -2, -1))


def psnr(predicted: Tensor, true: Tensor) -> Tensor:
    """Peak signal to noise ratio in dB of every frame: (..., C, H, W) -> (...).

    10 log10(1 / mean squared error) of each channel, averaged over channels (the convention of
    Finn 2016, SVG and the course). Identical frames give 100 dB, not infinity.
    """
    return _decibels(squared_error(predicted.float(), true.float())).mean(dim=-1)


def pooled_psnr(predicted: Tensor, true: Tensor) -> Tensor:
    """Peak signal to noise ratio in dB of every frame, from the error over all channels.

    What scikit-image and torchmetrics call PSNR; never larger than `psnr` below the cap.
    """
    return _decibels(mse(predicted.float(), true.float()))


def ssim(predicted: Tensor, true: Tensor) -> Tensor:
    """Structural similarity of every frame (Wang 2004): (..., C, H, W) -> (...)."""
    return _similarity(predicted.float(), true.float(), _gaussian(11, 1.5), 1.0, bessel=False)


def svg_ssim(predicted: Tensor, true: Tensor) -> Tensor:
    """The structural similarity of SVG's published tables (see SVG_SSIM_VARIANT)."""
    return _similarity(predicted.float(), true.float(), (1 / 7,) * 7, 2.0, bessel=True)


@dataclass(frozen=True)
class Metric:
    """A metric of single frames.

    Attributes:
        variant: what exactly is computed, in words.
        better: +1 where more is better, -1 where less is.
        decimals: digits that tables print.
    """

    function: Callable[[Tensor, Tensor], Tensor]
    title: str
    variant: str
    better: int
    decimals: int


METRICS = {
    "psnr": Metric(psnr, "PSNR dB", PSNR_VARIANT, +1, 2),
    "ssim": Metric(ssim, "SSIM", SSIM_VARIANT, +1, 4),
    "psnr_pooled": Metric(pooled_psnr, "pooled PSNR dB", POOLED_VARIANT, +1, 2),
    "ssim_svg": Metric(svg_ssim, "SVG's SSIM", SVG_SSIM_VARIANT, +1, 4),
    "mse": Metric(mse, "MSE", "mean squared error of pixels in [0, 1]", -1, 5),
    "mae": Metric(mae, "MAE", "mean absolute error of pixels in [0, 1]", -1, 4),
}


def _decibels(error: Tensor) -> Tensor:
    return -10 * error.clamp(min=LEAST_ERROR).log10()


def _similarity(predicted: Tensor, true: Tensor, taps: Taps, span: float, bessel: bool) -> Tensor:
    """SSIM over the window positions that lie inside the frame, averaged over channels.

    With `bessel`, variances and the covariance are those of a sample (divided by n - 1).
    """
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    # Variances are differences of large numbers: subtracting the brightness first keeps digits.
    centre = true.mean(dim=(-2, -1), keepdim=True)
    x, y = predicted - centre, true - centre
    mean_x, mean_y = _filtered(x, taps), _filtered(y, taps)
    share = len(taps) ** 2 / (len(taps) ** 2 - 1) if bessel else 1.0
    variance_y = share * (_filtered(y * y, taps) - mean_y * mean_y)
    variance_x = share * (_filtered(x * x, taps) - mean_x * mean_x)
    covariance = share * (_filtered(x * y, taps) - mean_x * mean_y)
    mean_x, mean_y = mean_x + centre, mean_y + centre
    likeness = (2 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return (likeness * structure).mean(dim=(-3, -2, -1))


def _gaussian(size: int, sigma: float) -> Taps:
    weights = [math.exp(-(((i - size // 2) / sigma) ** 2) / 2) for i in range(size)]
    return tuple(weight / sum(weights) for weight in weights)


def _filtered(images: Tensor, taps: Sequence[float]) -> Tensor:
    """The separable filter at every place where it fits: (..., H - k + 1, W - k + 1)."""
    return _along(_along(images, taps, -1), taps, -2)


def _along(images: Tensor, taps: Sequence[float], dim: int) -> Tensor:
    size = images.shape[dim] - len(taps) + 1
    total = images.narrow(dim, 0, size) * taps[0]
    for offset, weight in enumerate(taps[1:], start=1):
        total.add_(images.narrow(dim, offset, size), alpha=weight)
    return total
