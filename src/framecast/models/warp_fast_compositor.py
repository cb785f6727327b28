"""The warp model's compositor arranged for speed: the head's arithmetic and the warping in one.

Scales, the masks' sharpness and pixel places are part of the head's weights and bias.
warp_compositor.py stays the reference.

Shape letters: B batch, C image channels, H W image, F the decoder's features, K flows, Q quarters'
pixels (H W, quarter by quarter).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from framecast.models.sprites import over
from framecast.models.warp_compositor import (
    FLOW_UNIT,
    TRUST,
    Compositor,
    pixel_places,
    pixel_planes,
    quarters,
    sample,
    sample_sharply,
    woven,
)


@dataclass(frozen=True)
class Sources:
    """What the next frame is made of.

    Attributes:
        frame: (B, C, H, W) what is warped: the latest frame, without the robot where that is drawn
        latest: (B, C, Q) the same in quarters
        context: (B, C, Q) the last context frame
        canvas: (B, C, Q) what was seen before
        held: (B, 1, Q) where the context is shown whatever the masks say
    """

    frame: Tensor
    latest: Tensor
    context: Tensor
    canvas: Tensor
    held: Tensor | None


class FastCompositor:
    """MotionDecoder's head and Compositor, in quarters of the picture."""

    def __init__(
        self, compositor: Compositor, head: nn.Conv2d, size: tuple[int, int], dtype: torch.dtype
    ) -> None:
        self.size, self.count = size, compositor.num_flows
        self.num_flow_maps, *self.parts = compositor.parts
        weight, bias = _scaled_head(compositor, head, size)
        num_flow_rows = 4 * self.num_flow_maps
        self.flow_weight, self.rest_weight = weight.to(dtype).tensor_split([num_flow_rows])
        self.flow_bias, self.rest_bias = bias.tensor_split([self.num_flow_maps])
        self.sharp = compositor.sharp
        self.offset_unit = _flow_unit(size, bias)[:, None]
        self.guide_unit = self.offset_unit.repeat(self.count, 1)
        self.planes = quarters(pixel_planes(*size, like=bias)[None])

    def __call__(
        self,
        features: Tensor,
        sources: Sources,
        guide: Tensor | None,
        offset: Tensor | None,
        robot: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The next frame, what it is without the robot, and the next canvas, all (B, C, Q)."""
        count = self.count
        places = self._maps(features, self.flow_weight, self.flow_bias)
        if guide is not None:
            guide = guide.to(places.dtype) * self.guide_unit
            places.baddbmm_(guide, self.planes.expand(len(guide), -1, -1))
        if offset is not None:
            places += (offset.to(places.dtype) * self.offset_unit).repeat(1, count, 1)
        rest = self._maps(features, self.rest_weight, self.rest_bias)
        confidence, logits, new, gate, trust = torch.split(rest, self.parts, dim=1)
        warped, moved = self._warp(sources.frame, places, confidence)
        logits[:, :count] += moved
        masks = logits.softmax(dim=1)[:, None]  # (B, 1, K + 3, Q)
        stills = (sources.context, sources.canvas, new.sigmoid())
        pictures = (*warped.unbind(dim=2), *stills)
        mixed = pictures[0] * masks[:, :, 0]
        for place, source in enumerate(pictures[1:], start=1):
            mixed.addcmul_(source, masks[:, :, place])
        if sources.held is not None:
            mixed = torch.lerp(mixed, sources.context, sources.held)
        shown = mixed if robot is None else over(mixed, robot * (trust + TRUST).sigmoid())
        return shown, mixed, torch.lerp(sources.canvas, sources.latest, gate.sigmoid())

    def _maps(self, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Some of the head's maps, (B, number, Q)."""
        pixels = features.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2)
        maps = torch.bmm(weight.expand(len(pixels), -1, -1), pixels)
        return maps.to(bias.dtype).view(len(maps), *bias.shape).add_(bias)

    def _warp(self, frame: Tensor, places: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
        """The frame along every flow (B, C, K, Q), and the confidences that move with it."""
        batch_size, _, num_pixels = places.shape
        by_flow = places.view(batch_size, self.count, 2, num_pixels).transpose(2, 3)
        sources = woven(confidence, self.size).view(-1, 1, *self.size)
        moved = sample(sources, by_flow.reshape(-1, 1, num_pixels, 2))
        pixels = sample_sharply if self.sharp else sample
        return pixels(frame, by_flow), moved.view(batch_size, self.count, num_pixels)


def _scaled_head(
    compositor: Compositor, head: nn.Conv2d, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Weight (4 maps, F) and bias (maps, Q) whose flow maps are grid_sample's coordinates."""
    (height, width), count = size, compositor.num_flows
    scale = head.weight.new_ones(compositor.num_maps, 1, 1)
    scale[: 2 * count, 0, 0] = _flow_unit(size, scale).repeat(count)
    scale[2 * count : sum(compositor.parts[:3])] = compositor.mask_sharpness
    first_new = sum(compositor.parts[:3])
    scale[first_new : first_new + compositor.parts[3]] = 2
    assert head.bias is not None
    weight = scale * head.weight.detach().view(compositor.num_maps, 4, -1)
    bias = scale * head.bias.detach().view(compositor.num_maps, 4, 1)
    bias = bias.repeat(1, 1, height * width // 4).flatten(1)
    centres = pixel_places(height, width, bias).permute(0, 3, 1, 2)
    bias[: 2 * count] += quarters(centres)[0].repeat(count, 1)
    return weight.flatten(0, 1), bias


def _flow_unit(size: tuple[int, int], like: Tensor) -> Tensor:
    """What a flow of 1 is in grid_sample's coordinates, across and down."""
    height, width = size
    return like.new_tensor([2 * FLOW_UNIT / width, 2 * FLOW_UNIT / height])
