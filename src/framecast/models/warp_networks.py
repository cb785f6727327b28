"""The parts of the warp model: encoder, spatial LSTM, latent heads, decoder and compositor.

No normalisation anywhere: with rollouts of a dozen steps it costs as much as the convolutions and
ties a frame to its batch mates or to its own contrast.

Shape letters: B batch, C image channels, H W image, h w = H/8 W/8, F M D fine, middle and coarse
channels at H/2, H/4 and H/8, L latent channels, K flows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from framecast.models.distributions import Gaussian

STRIDE = 8
FLOW_UNIT = 4.0  # pixels of motion for a network output of 1
CONDITION_HIDDEN = 64
STATIC_LEAD = 2.0  # first logit of the present frame's mask: to begin with, nothing changes


class FrameEncoder(nn.Module):
    """A frame and the last context frame -> features at H/2, H/4 and H/8."""

    def __init__(self, channels: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.fine = nn.Conv2d(2 * channels, fine, 4, 2, 1)
        self.middle = nn.Conv2d(fine, middle, 4, 2, 1)
        self.coarse = nn.Conv2d(middle, coarse, 4, 2, 1)

    def forward(self, frame: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        pair = torch.cat([frame, context], dim=1).contiguous(memory_format=torch.channels_last)
        fine = functional.silu(self.fine(pair - 0.5))
        middle = functional.silu(self.middle(fine))
        return fine, middle, functional.silu(self.coarse(middle))


class SpatialLSTM(nn.Module):
    """A convolutional LSTM (Shi 2015) whose state is handed in and back, in full precision."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(inputs + width, 4 * width, 3, padding=1)

    def forward(self, inputs: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        gates = self.gates(torch.cat([inputs, hidden.to(inputs.dtype)], dim=1))
        write, keep, show, new = gates.to(cell.dtype).chunk(4, dim=1)
        cell = (keep + 1).sigmoid() * cell + write.sigmoid() * new.tanh()
        return show.sigmoid() * cell.tanh(), cell


class LatentHead(nn.Module):
    """Features (B, 2 D, h, w) -> a Gaussian over the spatial latent (B, L, h, w)."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, inputs // 4, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(inputs // 4, 2 * channels, 3, padding=1),
        )

    def forward(self, features: Tensor) -> Gaussian:
        mean, raw = self.layers(features).float().chunk(2, dim=1)
        return Gaussian.from_raw(mean, raw)


class ConditionEmbedding(nn.Module):
    """A condition (B, N) -> what it adds to the coarse and to the middle features."""

    def __init__(self, num_condition: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        self.sizes = [widths[2], widths[1]]
        self.layers: nn.Sequential | None = None
        if num_condition:
            hidden = nn.Linear(num_condition, CONDITION_HIDDEN)
            self.layers = nn.Sequential(
                hidden, nn.SiLU(), nn.Linear(CONDITION_HIDDEN, sum(self.sizes))
            )

    def forward(self, condition: Tensor) -> tuple[Tensor, ...]:
        if self.layers is None:
            return tuple(condition.new_zeros(len(condition), size, 1, 1) for size in self.sizes)
        embedded: Tensor = self.layers(condition)
        return torch.split(embedded[:, :, None, None], self.sizes, dim=1)


class MotionDecoder(nn.Module):
    """Hidden state and the encoder's features -> maps (B, num_maps, H, W) for the compositor."""

    def __init__(self, widths: tuple[int, int, int], num_maps: int) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.middle = nn.Conv2d(coarse + middle, middle, 3, padding=1)
        self.fine = nn.Conv2d(middle + fine, fine, 3, padding=1)
        self.head = nn.Conv2d(fine, 4 * num_maps, 1)

    def forward(self, hidden: Tensor, middle: Tensor, fine: Tensor, condition: Tensor) -> Tensor:
        features = functional.silu(self.middle(torch.cat([_doubled(hidden, middle), middle], 1)))
        features = features + condition.to(features.dtype)
        features = functional.silu(self.fine(torch.cat([_doubled(features, fine), fine], 1)))
        maps: Tensor = functional.pixel_shuffle(self.head(features), 2)
        return maps


def _doubled(features: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(features.to(like.dtype), scale_factor=2.0, mode="nearest")


class Compositor(nn.Module):
    """Maps -> the next frame: a masked sum of K warped frames, context, canvas and new pixels.

    The maps are, in this order: 2 K flow components in units of FLOW_UNIT pixels, K confidences at
    the places things come from, K + 3 mask logits at the places they go to, C logits of new
    pixels, and one logit of the gate that writes the present frame onto the canvas.
    """

    def __init__(self, num_flows: int, channels: int) -> None:
        super().__init__()
        self.num_flows = num_flows
        self.parts = (2 * num_flows, num_flows, num_flows + 3, channels, 1)
        self.num_maps = sum(self.parts)

    def initialise(self, head: nn.Conv2d) -> None:
        """Start from still frames: no flow, and most weight on the first warped frame."""
        nn.init.normal_(head.weight, 0.0, 0.01)
        assert head.bias is not None
        nn.init.zeros_(head.bias)
        with torch.no_grad():
            head.bias.view(self.num_maps, 4)[3 * self.num_flows] = STATIC_LEAD

    def forward(
        self, maps: Tensor, frame: Tensor, context: Tensor, canvas: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The next frame and the next canvas, both (B, C, H, W) in [0, 1]."""
        flow, confidence, logits, new, gate = torch.split(
            maps.to(frame.dtype), list(self.parts), dim=1
        )
        warped, moved = self._warp(frame, flow, confidence)
        logits = torch.cat([logits[:, : self.num_flows] + moved, logits[:, self.num_flows :]], 1)
        masks = logits.softmax(dim=1)[:, :, None]
        still = torch.stack([context, canvas, (2 * new).sigmoid()], dim=1)
        mixed = (torch.cat([warped, still], dim=1) * masks).sum(dim=1)
        written = gate.sigmoid()
        return mixed, written * frame + (1 - written) * canvas

    def _warp(self, frame: Tensor, flow: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
        """The frame along every flow (B, K, C, H, W), and the confidences that move with it."""
        batch_size, channels, height, width = frame.shape
        count = self.num_flows
        pixels = flow.reshape(batch_size * count, 2, height, width).permute(0, 2, 3, 1) * FLOW_UNIT
        places = _pixel_places(height, width, frame) + pixels * pixels.new_tensor(
            [2 / width, 2 / height]
        )
        moving = torch.cat(
            [frame[:, None].expand(-1, count, -1, -1, -1), confidence[:, :, None]], dim=2
        )
        moved = functional.grid_sample(
            moving.reshape(batch_size * count, channels + 1, height, width),
            places,
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        ).view(batch_size, count, channels + 1, height, width)
        return moved[:, :, :channels], moved[:, :, channels]


def _pixel_places(height: int, width: int, like: Tensor) -> Tensor:
    """Pixel centres in grid_sample's coordinates: (1, H, W, 2), x and y from -1 to 1."""
    down = (torch.arange(height, dtype=like.dtype, device=like.device) * 2 + 1) / height - 1
    across = (torch.arange(width, dtype=like.dtype, device=like.device) * 2 + 1) / width - 1
    rows, columns = torch.meshgrid(down, across, indexing="ij")
    return torch.stack([columns, rows], dim=-1)[None]
