"""Image metrics on frames in [0, 1], in the variants of the literature, named.

Shape letters: any leading dimensions, C channels, H height, W width.
"""

from __future__ import annotations

from torch import Tensor
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

PSNR_CAP = 100.0
PSNR_VARIANT = "per channel, then mean over channels; data range 1; capped at 100 dB"
SSIM_VARIANT = "Gaussian window 11x11, sigma 1.5, K1 .01, K2 .03, data range 1"


def psnr(predicted: Tensor, true: Tensor) -> Tensor:
    """Peak signal to noise ratio in dB of every frame: (..., C, H, W) -> (...).

    10 log10(1 / mean squared error) of each channel, averaged over channels (the convention of
    Finn 2016, SVG and the course). Identical frames give 100 dB, not infinity.
    """
    channels = peak_signal_noise_ratio(
        predicted.flatten(0, -4).float(),
        true.flatten(0, -4).float(),
        data_range=1.0,
        reduction="none",
        dim=(2, 3),
    )
    frames: Tensor = channels.clamp(max=PSNR_CAP).mean(dim=-1)
    return frames.view(predicted.shape[:-3])


def ssim(predicted: Tensor, true: Tensor) -> Tensor:
    """Structural similarity of every frame (Wang 2004): (..., C, H, W) -> (...)."""
    frames = structural_similarity_index_measure(
        predicted.flatten(0, -4).float(),
        true.flatten(0, -4).float(),
        gaussian_kernel=True,
        sigma=1.5,
        kernel_size=11,
        k1=0.01,
        k2=0.03,
        data_range=1.0,
        reduction="none",
    )
    assert isinstance(frames, Tensor)
    return frames.reshape(predicted.shape[:-3])
