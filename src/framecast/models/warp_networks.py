"""The warp model's networks: encoder, LSTM, latent heads, guide, decoder, refiner.

Features are normalised in groups of channels (Wu 2018), within a frame, so that a frame does not
depend on its batch mates. The first layer is not: there a picture's own contrast is all there is.

Shape letters: B batch, C image channels, H W image, h w = H/8 W/8, F M D fine, middle and coarse
channels at H/2, H/4 and H/8, L latent channels, K flows, Q the H W pixels in quarters
(warp_compositor.py).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from framecast.models.distributions import Gaussian
from framecast.models.layers import doubling_weight
from framecast.models.sprites import Cover

STRIDE = 8
CONDITION_HIDDEN = 64
GUIDE_SUMMARY = 32


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

    With a cover, what the robot covers in the frame and will cover in the next one is seen too, and
    the scene, which is the frame without it.

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
        self, frame: Tensor, context: Tensor, scene: Tensor, cover: Cover | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        covered = () if cover is None else (scene, *cover.opacities)
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
