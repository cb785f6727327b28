"""What the warp model's predicted frames cost.

Shape letters: B batch (any leading dimensions), C H W image.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from framecast.models.config import WarpConfig

# With `frame_scale`: the squared error at which a frame weighs what it does without, and the one
# below which it hardly weighs more.
USUAL_ERROR, LEAST_ERROR = 2e-3, 1e-4


def cost(error: Tensor, config: WarpConfig) -> Tensor:
    """Of frames that are wrong by (B, C, H, W): a number."""
    fit = squared_error(error, config.coarse_scales)
    if config.frame_scale:
        fit = USUAL_ERROR * (fit + LEAST_ERROR).log()
    return fit.mean() + config.absolute_error * error.abs().mean()


def squared_error(error: Tensor, coarse_scales: int = 0) -> Tensor:
    """The mean squared error (B,) of every frame, with coarse scales the mean over all of them.

    On each, an error that no other pixel shares counts as much as on the first: averaging over four
    pixels makes its square a quarter. One that many share counts more. A thing predicted beside its
    place is shared with the place where it is, and cancels; a thing that is missing does not.
    """
    flat = error.flatten(end_dim=-4)
    total = flat.square().mean(dim=(1, 2, 3))
    for scale in range(1, coarse_scales + 1):
        flat = functional.avg_pool2d(flat, 2)
        total = total + 4**scale * flat.square().mean(dim=(1, 2, 3))
    return (total / (coarse_scales + 1)).view(error.shape[:-3])
