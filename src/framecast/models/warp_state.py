"""What the warp model remembers between frames.

Shape letters: B batch, C H W image, S state, D coarse channels at h w = H/8 W/8, Q quarters' pixels
(warp_compositor.py), J latent numbers, R what the conditioner recalls.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from framecast.models.mirrored import MirroredState
from framecast.models.sprites import behind


@dataclass(frozen=True)
class WarpState(MirroredState):
    """Attributes:
    frame: (B, C, H, W) the latest, true or predicted, without the shadow that `shade` draws
    scene: (B, C, H, W) what was expected of that frame without the robot; the frame itself, where
        there are no sprites
    context: (B, C, H, W) the last context frame, without the robot; where there are things, with
        these where they are by now
    canvas: (B, C, Q) what was seen before, in quarters
    hidden, cell: (B, D, h, w) of the spatial LSTM
    latent: (B, J) the latest of `latent_flows`; None before the first that was drawn
    before: (B, R) what the conditioner recalls of the step before; None where it does not
    """

    frame: Tensor
    scene: Tensor
    context: Tensor
    canvas: Tensor
    hidden: Tensor
    cell: Tensor
    latent: Tensor | None = None
    before: Tensor | None = None

    def without_robot(self, robot: Tensor | None) -> Tensor:
        """The frame without the robot, (B, C + 1, H, W) as it is drawn in it, or None."""
        return self.frame if robot is None else behind(self.frame, self.scene, robot)
