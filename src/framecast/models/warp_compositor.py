"""How the warp model makes a frame: what was seen, moved along flows and mixed by masks.

Also where pixels lie and how pictures are sampled between them.

Shape letters: B batch, C image channels, H W image, K flows, Q the H W pixels in quarters: of every
two by two first the upper left ones, then the upper right, the lower left and the lower right ones.
So the decoder makes the maps, and all but the warping is done at each pixel alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from framecast.models.sprites import over

FLOW_UNIT = 4.0  # pixels of motion for a network output of 1
STATIC_LEAD = 2.0  # first logit of the present frame's mask: to begin with, nothing changes
TRUST = 2.0  # first logit of the sprites' opacity


class Compositor(nn.Module):
    """Maps -> the next frame: a masked sum of K warped frames, context, canvas and new pixels.

    With `sharp` the frame is warped as `sample_sharply` does. A guide (B, 2 K, 3) of FlowGuide is
    added to the flows, and an offset (B, 2, Q) to each of them. Mask logits are multiplied by
    `mask_sharpness` when predicting. A robot (B, C + 1, Q), as sprites draw it, is laid over all
    that; the frame that is warped is then one without it.

    The maps are, in this order: 2 K flow components in units of FLOW_UNIT pixels, K confidences at
    the places things come from, K + 3 mask logits at the places they go to, C logits of new
    pixels, one logit of the gate that writes the present frame onto the canvas, and one of how much
    is shown of a robot that is laid over.
    """

    def __init__(
        self,
        num_flows: int,
        channels: int,
        sharp: bool = False,
        covered: bool = False,
        mask_sharpness: float = 1.0,
    ) -> None:
        super().__init__()
        self.mask_sharpness = mask_sharpness
        self.num_flows = num_flows
        self.sharp = sharp
        self.parts = (2 * num_flows, num_flows, num_flows + 3, channels, 1, int(covered))
        self.num_maps = sum(self.parts)

    def initialise(self, head: nn.Conv2d) -> None:
        """Start from still frames: no flow, and most weight on the first warped frame."""
        nn.init.normal_(head.weight, 0.0, 0.01)
        assert head.bias is not None
        nn.init.zeros_(head.bias)
        with torch.no_grad():
            head.bias.view(self.num_maps, 4)[3 * self.num_flows] = STATIC_LEAD

    def forward(
        self,
        maps: Tensor,
        frame: Tensor,
        context: Tensor,
        canvas: Tensor,
        guide: Tensor | None = None,
        offset: Tensor | None = None,
        robot: Tensor | None = None,
        held: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The next frame, what it is without the robot, and the next canvas, all (B, C, Q).

        Args:
            robot: (B, C + 1, Q) laid over
            held: (B, 1, Q) where the context is shown whatever the masks say
        """
        count = self.num_flows
        parts = torch.split(maps.to(frame.dtype), list(self.parts), dim=1)
        flow, confidence, logits, new, gate, trust = parts
        if guide is not None:
            planes = quarters(pixel_planes(frame.shape[2], frame.shape[3], frame)[None])
            flow = flow + guide.to(frame.dtype) @ planes
        if offset is not None:
            flow = flow + offset.repeat(1, count, 1)
        warped, moved = self._warp(frame, flow, confidence)
        logits = torch.cat([logits[:, :count] + moved, logits[:, count:]], dim=1)
        sharpness = 1.0 if self.training else self.mask_sharpness
        masks = (sharpness * logits).softmax(dim=1)[:, None]  # (B, 1, K + 3, Q)
        mixed = (warped * masks[:, :, :count]).sum(dim=2)
        for place, still in enumerate((context, canvas, (2 * new).sigmoid()), start=count):
            mixed = torch.addcmul(mixed, still, masks[:, :, place])
        if held is not None:
            mixed = torch.lerp(mixed, context, held)
        shown = mixed if robot is None else over(mixed, robot * (trust + TRUST).sigmoid())
        return shown, mixed, torch.lerp(canvas, quarters(frame), gate.sigmoid())

    def _warp(self, frame: Tensor, flow: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
        """The frame along every flow (B, C, K, Q), and the confidences that move with it.

        The frame is sampled once, at K times as many places, instead of being copied K times.
        """
        (batch_size, _, height, width), count = frame.shape, self.num_flows
        unit = frame.new_tensor([[2 * FLOW_UNIT / width], [2 * FLOW_UNIT / height]])
        centres = quarters(pixel_places(height, width, frame).permute(0, 3, 1, 2))
        places = torch.addcmul(centres, flow.view(batch_size, count, 2, -1), unit)
        places = places.transpose(2, 3).contiguous()
        pixels = sample_sharply if self.sharp else sample
        warped = pixels(frame, places)
        sources = woven(confidence, (height, width)).view(-1, 1, height, width)
        moved = sample(sources, places.view(len(sources), 1, -1, 2))
        return warped, moved.view(batch_size, count, -1)


def quarters(pictures: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, Q): pixel_unshuffle, as a copy, which is faster."""
    batch_size, channels, height, width = pictures.shape
    parts = pictures.reshape(batch_size, channels, height // 2, 2, width // 2, 2)
    return parts.permute(0, 1, 3, 5, 2, 4).reshape(batch_size, channels, -1)


def woven(quarters: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, Q) -> (B, C, H, W)."""
    height, width = size
    parts = quarters.view(*quarters.shape[:2], 2, 2, height // 2, width // 2)
    return parts.permute(0, 1, 4, 2, 5, 3).reshape(*quarters.shape[:2], height, width)


def sample(pictures: Tensor, places: Tensor) -> Tensor:
    """Bilinear; what lies outside repeats the border."""
    return functional.grid_sample(
        pictures.contiguous(), places, "bilinear", "border", align_corners=False
    )


def sample_sharply(pictures: Tensor, places: Tensor) -> Tensor:
    """Bilinear between pixels and points half way between them, which a cubic filter has filled.

    Exact at the pixels; half a pixel away it keeps more of what is fine.
    """
    places = places - places.new_tensor([0.5 / pictures.shape[3], 0.5 / pictures.shape[2]])
    return sample(_filled(pictures), places)


def _filled(pictures: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, 2 H, 2 W): every pixel, right of it and below what lies between."""
    down, across = (_filling(side, pictures) for side in pictures.shape[2:])
    with torch.autocast(pictures.device.type, enabled=False):
        filled: Tensor = down @ pictures @ across.T
    return filled.clamp(0, 1)


def _filling(side: int, like: Tensor) -> Tensor:
    """(2 side, side): every number, and half way to the next the value of a cubic through four."""
    number = torch.eye(side, dtype=like.dtype, device=like.device)
    padded = torch.cat([number[:1], number, number[-1:], number[-1:]])
    between = (9 * (padded[1:-2] + padded[2:-1]) - (padded[:-3] + padded[3:])) / 16
    return torch.stack([number, between], dim=1).flatten(0, 1)


def pixel_planes(height: int, width: int, like: Tensor) -> Tensor:
    """(3, H, W): one, and the x and y of every pixel from -1 to 1."""
    places = pixel_places(height, width, like)[0]
    return torch.cat([torch.ones_like(places[..., :1]), places], dim=-1).permute(2, 0, 1)


def pixel_places(height: int, width: int, like: Tensor) -> Tensor:
    """Pixel centres in grid_sample's coordinates: (1, H, W, 2), x and y from -1 to 1."""
    down = (torch.arange(height, dtype=like.dtype, device=like.device) * 2 + 1) / height - 1
    across = (torch.arange(width, dtype=like.dtype, device=like.device) * 2 + 1) / width - 1
    rows, columns = torch.meshgrid(down, across, indexing="ij")
    return torch.stack([columns, rows], dim=-1)[None]
