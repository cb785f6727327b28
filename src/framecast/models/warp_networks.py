"""The parts of the warp model: encoder, LSTM, latent heads, guide, decoder, compositor, refiner.

Features are normalised in groups of channels (Wu 2018), within a frame, so that a frame does not
depend on its batch mates. The first layer is not: there a picture's own contrast is all there is.

Shape letters: B batch, C image channels, H W image, h w = H/8 W/8, F M D fine, middle and coarse
channels at H/2, H/4 and H/8, L latent channels, K flows, Q the H W pixels in quarters: of every two
by two first the upper left ones, then the upper right, the lower left and the lower right ones. So
the decoder makes the maps, and all but the warping is done at each pixel alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from framecast.models.distributions import Gaussian
from framecast.models.layers import doubling_weight
from framecast.models.sprites import Cover, over

STRIDE = 8
FLOW_UNIT = 4.0  # pixels of motion for a network output of 1
CONDITION_HIDDEN = 64
GUIDE_SUMMARY = 32
STATIC_LEAD = 2.0  # first logit of the present frame's mask: to begin with, nothing changes
TRUST = 2.0  # first logit of the sprites' opacity


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(16, max(1, channels // 8)), channels)


def activated(features: Tensor, norm: nn.Module) -> Tensor:
    """Normalised, through SiLU, channels last.

    Torch normalises groups several times faster with channels first.
    """
    first = features.contiguous(memory_format=torch.contiguous_format)
    return functional.silu(norm(first).contiguous(memory_format=torch.channels_last))


class FrameEncoder(nn.Module):
    """A frame and the last context frame -> features at H/2, H/4 and H/8.

    With a cover, what the robot covers in the frame and will cover in the next one is seen too.

    Args:
        channels: of all that is seen
    """

    def __init__(self, channels: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.fine = nn.Conv2d(channels, fine, 4, 2, 1)
        self.middle = nn.Conv2d(fine, middle, 4, 2, 1)
        self.coarse = nn.Conv2d(middle, coarse, 4, 2, 1)
        self.norms = nn.ModuleList([_norm(middle), _norm(coarse)])

    def forward(
        self, frame: Tensor, context: Tensor, cover: Cover | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        covered = () if cover is None else cover.opacities
        seen = torch.cat([frame, context, *covered], dim=1)
        fine = functional.silu(self.fine(seen.contiguous(memory_format=torch.channels_last) - 0.5))
        middle = activated(self.middle(fine), self.norms[0])
        return fine, middle, activated(self.coarse(middle), self.norms[1])


class SpatialLSTM(nn.Module):
    """A convolutional LSTM (Shi 2015) whose state is handed in and back, in full precision."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(inputs + width, 4 * width, 3, padding=1)
        self.norm = _norm(4 * width)

    def forward(self, inputs: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        gates = self.gates(torch.cat([inputs, hidden.to(inputs.dtype)], dim=1))
        gates = self.norm(gates.contiguous(memory_format=torch.contiguous_format))
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
        mean, raw = full(self.layers(features)).chunk(2, dim=1)
        return Gaussian.from_raw(mean, raw)


def full(tensor: Tensor) -> Tensor:
    """In no less than single precision."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


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


class FlowGuide(nn.Module):
    """A condition (B, N) and the hidden state -> what is added to the flows: (B, 2 K, 3).

    For every flow component a number, and how much it grows from the middle of the picture to its
    right and to its lower border, in units of FLOW_UNIT pixels. An arm and its shadow move nearly
    so, and for the arm the way from the command to the flow is linear: no normalisation lies on it.
    """

    def __init__(self, num_condition: int, width: int, num_flows: int) -> None:
        super().__init__()
        self.summary = nn.Linear(width, GUIDE_SUMMARY)
        self.hidden = nn.Linear(num_condition + GUIDE_SUMMARY, CONDITION_HIDDEN)
        self.from_hidden = nn.Linear(CONDITION_HIDDEN, 6 * num_flows)
        self.from_condition = nn.Linear(num_condition, 6 * num_flows, bias=False)
        for layer in (self.from_hidden, self.from_condition):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.from_hidden.bias)

    def forward(self, condition: Tensor, hidden: Tensor) -> Tensor:
        with torch.autocast(condition.device.type, enabled=False):
            summary = self.summary(hidden.to(condition.dtype).mean(dim=(2, 3)))
            scene = functional.silu(self.hidden(torch.cat([condition, summary], dim=1)))
            added: Tensor = self.from_hidden(scene) + self.from_condition(condition)
        return added.view(len(condition), -1, 3)


class ResidualBlock(nn.Module):
    """One convolution whose result is added to its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, width, 3, padding=1)
        self.norm = _norm(width)

    def forward(self, features: Tensor) -> Tensor:
        return features + activated(self.convolution(features), self.norm)


class MotionDecoder(nn.Module):
    """Hidden state and the encoder's features -> features (B, F, H/2, W/2), and of them the maps.

    `maps` gives the compositor's maps (B, num_maps, Q).
    """

    def __init__(self, widths: tuple[int, int, int], num_maps: int, depth: int = 0) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.middle = nn.Conv2d(coarse + middle, middle, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(middle) for _ in range(depth)))
        self.fine = nn.Conv2d(middle + fine, fine, 3, padding=1)
        self.norms = nn.ModuleList([_norm(middle), _norm(fine)])
        self.head = nn.Conv2d(fine, 4 * num_maps, 1)

    def forward(self, hidden: Tensor, middle: Tensor, fine: Tensor, condition: Tensor) -> Tensor:
        features = activated(_of_doubled(self.middle, hidden, middle), self.norms[0])
        features = self.blocks(features + condition.to(features.dtype))
        return activated(_of_doubled(self.fine, features, fine), self.norms[1])

    def maps(self, features: Tensor) -> Tensor:
        pixels = features.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2)
        weight = self.head.weight.flatten(1)
        assert self.head.bias is not None
        maps = torch.baddbmm(self.head.bias[:, None], weight.expand(len(pixels), -1, -1), pixels)
        return maps.view(len(maps), len(weight) // 4, -1)


def _of_doubled(convolution: nn.Conv2d, coarse: Tensor, fine: Tensor) -> Tensor:
    """A 3x3 convolution of coarse features doubled in size, joined by features of that size.

    As one transposed convolution of the coarse ones, with fewer than half the products.
    """
    num_coarse = coarse.shape[1]
    weight = doubling_weight(convolution.weight[:, :num_coarse])
    doubled = functional.conv_transpose2d(coarse, weight, convolution.bias, 2, 1)
    return doubled + functional.conv2d(fine, convolution.weight[:, num_coarse:], padding=1)


class Compositor(nn.Module):
    """Maps -> the next frame: a masked sum of K warped frames, context, canvas and new pixels.

    With `sharp` the frame is warped as `sample_sharply` does. A guide (B, 2 K, 3) of FlowGuide is
    added to the flows, and an offset (B, 2, Q) to each of them. Mask logits are multiplied by
    `mask_sharpness` when predicting. A robot (B, C + 1, Q), as sprites
    draw it, is laid over all that.

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
    ) -> tuple[Tensor, Tensor]:
        """The next frame and the next canvas, both (B, C, Q) in [0, 1]."""
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
        if robot is not None:
            mixed = over(mixed, robot * (trust + TRUST).sigmoid())
        return mixed, torch.lerp(canvas, quarters(frame), gate.sigmoid())

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


class Refiner(nn.Module):
    """Corrects the mixed frame (B, C, Q) where warping has blurred or torn it.

    It sees the frame and the last context frame, four pixels at a time, and the decoder's features.
    """

    def __init__(self, channels: int, fine: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(8 * channels + fine, width, 3, padding=1)
        self.correction = nn.Conv2d(width, 4 * channels, 3, padding=1)
        nn.init.zeros_(self.correction.weight)
        assert self.correction.bias is not None
        nn.init.zeros_(self.correction.bias)

    def forward(self, frame: Tensor, context: Tensor, features: Tensor) -> Tensor:
        pair = (torch.cat([frame, context], dim=1) - 0.5).to(features.dtype)
        seen = torch.cat([pair.view(len(pair), -1, *features.shape[2:]), features], dim=1)
        seen = seen.contiguous(memory_format=torch.channels_last)
        correction = self.correction(functional.silu(self.hidden(seen)))
        refined: Tensor = frame + correction.reshape(frame.shape).to(frame.dtype)
        return refined.clamp(0, 1)
