"""Following a designated thing through frames by its colours, for any model.

A click names a pixel. The pixels of like colour around it are the thing; comparing their colours
with those of the rest of the picture gives, for every colour, how likely it belongs to the thing.
In later frames, true or imagined, the thing is where that likeness gathers: its place is found by
mean shift (Comaniciu 2003, with a discriminative histogram as in Collins 2005) from where it was
before. A thing that is hidden stays where it was last seen.

No gradient, no network, no assumption about the model. Pixels are (across, down), and the middle
of the first pixel is (0.5, 0.5).

Shape letters: B frames, C channels, H height, W width, L levels a channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from framecast.errors import UserError

LEVELS = 24
BANDWIDTH = 0.04  # of a colour's kernel
BRIGHTNESS = 0.3  # weight of brightness beside hue: light and shade change it, a thing's hue stays
TOLERANCE = 0.13  # in the same space, between neighbours' and the click's colour
MAX_RADIUS = 9  # pixels from the click that can belong to the thing
MIN_PIXELS = 3
FLOOR = 0.02  # density of colours that were seen nowhere
RIM = 2  # pixels around the thing that count for neither side: its edges are mixtures
WINDOW = 4.5  # pixels, standard deviation of where the thing can be next
SHIFTS = 4
UNSEEN = 0.7  # pixels' worth of evidence that it is where it was


@dataclass(frozen=True)
class Mark:
    """A designated thing.

    Attributes:
        likeness: (L, L, L) for every colour, how likely it belongs to the thing, 0 to 1.
        place: (2,) the middle of the thing where it was designated.
    """

    likeness: Tensor
    place: Tensor

    @classmethod
    def at(cls, frame: Tensor, pixel: tuple[float, float]) -> Mark:
        """The thing at this pixel of a frame (C, H, W).

        Raises UserError when the pixel is outside or nothing there stands out.
        """
        height, width = frame.shape[-2:]
        across, down = pixel
        if not (0 <= across < width and 0 <= down < height):
            raise UserError(
                f"The pixel {across:g},{down:g} is outside the {width}x{height} picture."
            )
        thing = _grown(frame, int(across), int(down))
        if int(thing.sum()) < MIN_PIXELS:
            raise UserError(
                f"Nothing of one colour is at pixel {across:g},{down:g} (only "
                f"{int(thing.sum())} pixels). Designate the middle of an object."
            )
        likeness = _likeness(frame, thing)
        mark = cls(likeness, _middle(thing.float()))
        place, _ = mark.find(frame[None], mark.place[None])
        return cls(likeness, place[0])

    def map(self, frames: Tensor) -> Tensor:
        """How much each pixel of frames (B, C, H, W) looks like the thing: (B, H, W), 0 to 1."""
        levels = (_rgb(frames).clamp(0, 1) * (LEVELS - 1)).round_()
        red, green, blue = levels.unbind(dim=1)
        colour = ((red * LEVELS + green) * LEVELS + blue).int()
        likeness = self.likeness.flatten().index_select(0, colour.flatten())
        return likeness.view(colour.shape)

    def find(self, frames: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """Where the thing is in frames (B, C, H, W), given where it was before, (B, 2).

        Returns places (B, 2) and how many pixels' worth of it is seen there, (B,).
        """
        likeness = self.map(frames.float())
        across, down = (axis.flatten() for axis in _pixel_grid(likeness))
        place = before
        for _ in range(SHIFTS):
            # The window is a product of both axes, so it need not be laid out over the picture.
            columns = _moments(across, place[:, 0])
            rows = _moments(down, place[:, 1])
            sums = rows @ likeness @ columns.transpose(1, 2)  # (B, 2, 2)
            mass = sums[:, 0, 0]
            found = torch.stack([sums[:, 0, 1], sums[:, 1, 0]], dim=1)
            place = (found + UNSEEN * before) / (mass + UNSEEN)[:, None]
        return place, mass

    def window(self, frame: Tensor, place: Tensor) -> Tensor:
        """Where in a frame (C, H, W) the thing is, as a probability map (H, W)."""
        likeness = self.map(frame[None])[0]
        across, down = _pixel_grid(likeness[None])
        gap = (across[0] - place[0]).square() + (down[0] - place[1]).square()
        weight = likeness * torch.exp(gap / (-2 * WINDOW**2)) + 1e-6 * torch.exp(-gap)
        return weight / weight.sum()


def expected_place(maps: Tensor) -> Tensor:
    """The mean pixel of probability maps (..., H, W): (..., 2)."""
    across, down = _pixel_grid(maps.flatten(0, -3)[:1])
    mass = maps.sum(dim=(-2, -1)).clamp(min=1e-6)
    sums = [(maps * axis[0]).sum(dim=(-2, -1)) for axis in (across, down)]
    return torch.stack(sums, dim=-1) / mass[..., None]


def _pixel_grid(images: Tensor) -> tuple[Tensor, Tensor]:
    """Columns (1, 1, W) and rows (1, H, 1) of the pixels' middles."""
    height, width = images.shape[-2:]
    across = torch.arange(width, device=images.device) + 0.5
    down = torch.arange(height, device=images.device) + 0.5
    return across[None, None], down[None, :, None]


def _moments(axis: Tensor, middle: Tensor) -> Tensor:
    """The window around each middle (B,) along an axis (W,), and that times the axis: (B, 2, W)."""
    window = torch.exp((axis - middle[:, None]).square() / (-2 * WINDOW**2))
    return torch.stack([window, window * axis], dim=1)


def _rgb(frames: Tensor) -> Tensor:
    return frames.expand(-1, 3, -1, -1) if frames.shape[1] == 1 else frames


def _features(colours: Tensor) -> Tensor:
    """Colours (..., 3) -> a space in which distance means difference: hue and some brightness."""
    brightness = colours.mean(dim=-1, keepdim=True)
    return torch.cat([colours - brightness, BRIGHTNESS * brightness], dim=-1)


def _grown(frame: Tensor, across: int, down: int) -> Tensor:
    """Connected pixels (H, W) of like colour around the click."""
    pixels = _features(_rgb(frame[None])[0].permute(1, 2, 0))
    rows = slice(max(0, down - 1), down + 2)
    columns = slice(max(0, across - 1), across + 2)
    colour = pixels[rows, columns].flatten(0, 1).median(dim=0).values
    grid_across, grid_down = _pixel_grid(frame[:1])
    gap = (grid_across[0] - across - 0.5).square() + (grid_down[0] - down - 0.5).square()
    alike = ((pixels - colour).norm(dim=-1) < TOLERANCE) & (gap < MAX_RADIUS**2)
    grown: Tensor = alike & (gap < 3)
    for _ in range(2 * MAX_RADIUS):
        grown = _widened(grown, 1) & alike
    return grown


def _widened(mask: Tensor, radius: int) -> Tensor:
    size = 2 * radius + 1
    pooled = functional.max_pool2d(mask[None, None].float(), size, stride=1, padding=radius)
    return pooled[0, 0] > 0


def _likeness(frame: Tensor, thing: Tensor) -> Tensor:
    pixels = _features(_rgb(frame[None])[0].permute(1, 2, 0))
    steps = torch.linspace(0, 1, LEVELS)
    colours = _features(torch.cartesian_prod(steps, steps, steps))
    own = _density(colours, pixels[thing])
    rest = _density(colours, pixels[~_widened(thing, RIM)][::3])
    return (own / (own + rest + FLOOR)).view(LEVELS, LEVELS, LEVELS)


def _density(colours: Tensor, seen: Tensor) -> Tensor:
    """Mean Gaussian kernel of the colours seen, at each colour of the grid."""
    kernels = torch.exp(torch.cdist(colours, seen).square() / (-2 * BANDWIDTH**2))
    return kernels.mean(dim=1)


def _middle(mask: Tensor) -> Tensor:
    return expected_place(mask[None])[0]
