"""The things of a picture, cut out of it and drawn where they are by now.

What is predicted from predictions loses its outline: after ten steps a pushed thing is a pale patch
near its place. So the things in the last context frame are cut out of it (regions.py) and drawn
from there at every later step, at the pose they have by then (thing_motion.py). Where one is drawn
that has moved, the video model shows it and nothing else: left to a loss of squared errors, it
would show a mixture of all places where the thing may be.

A thing turns on a plane that is seen at an angle: a turn of its picture is one of the plane.

Shape letters: B batch, C H W picture, N things of a picture, M things of a batch that are asked
for, s pixels a side of a patch, G pixels a side of a crop, X planes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from framecast.models.regions import SIDE, UNIT, find_regions
from framecast.models.sprites import around, over

CROP = 32  # pixels a side of what is seen around a thing, and units that they span
SLANT = 0.8  # how much shorter a way into the depth of the picture looks
TURN_UNIT = 0.25  # radians that count as much as a unit of way
FACTS = 7  # numbers that are told of a thing: see Things.facts
STEPS_IN_A_MIRROR = (-1.0, 1.0, -1.0)


@dataclass(frozen=True)
class Things:
    """The things of a picture, and how they have moved since.

    Attributes:
        still: (B, C, H, W) the picture they were found in
        ground: (B, C, H, W) the colours around each thing in its place
        labels: (B, H, W) number of the thing at a pixel, -1 where there is none
        patches: (B, N, C + 1, s, s) colours times opacity, and opacity, of each
        homes: (B, N, 2) where the middle of its patch was, x and y in pixels
        poses: (B, N, 3) by how many pixels it has moved, x and y, and by how many radians turned
        steps: (B, N, 3) the latest change of its pose
        begun: (B,) 1 once a step has been made, 0 before: then nobody knows how a thing has moved
        picture: (B, C, H, W) what they look like where they are, without the robot
        taken: (B, 1, H, W) opacity of all together
        moved: (B, 1, H, W) opacity of those that are no longer where they were found
    """

    still: Tensor
    ground: Tensor
    labels: Tensor
    patches: Tensor
    homes: Tensor
    poses: Tensor
    steps: Tensor
    begun: Tensor
    picture: Tensor
    taken: Tensor
    moved: Tensor

    def posed(self, poses: Tensor) -> Things:
        """The same at other poses, as after a step there."""
        steps = poses - self.poses
        moved = (poses != 0).any(dim=-1)  # (B, N)
        known = torch.cat([moved.new_zeros(len(moved), 1), moved], dim=1)
        gone = known.gather(1, self.labels.flatten(1) + 1).view_as(self.taken)
        edge = functional.max_pool2d(gone.to(self.still.dtype), 3, 1, 1) > 0
        gone = gone | (edge & (self.labels < 0)[:, None])  # mixed with it there
        picture = torch.where(gone, self.ground, self.still)
        taken = ((self.labels >= 0)[:, None] & ~gone).to(picture.dtype)
        drawn = torch.cat([picture, taken, torch.zeros_like(taken)], dim=1)
        for number in range(poses.shape[1]):
            members = moved[:, number].nonzero()[:, 0]
            if not len(members):
                continue
            layer = self.drawn(members, number, poses)
            layer = torch.cat([layer, layer[:, -1:], layer[:, -1:]], dim=1)
            drawn = drawn.index_copy(0, members, over(drawn[members], layer))
        return replace(
            self,
            poses=poses,
            steps=steps,
            begun=torch.ones_like(self.begun),
            picture=drawn[:, :-2],
            taken=drawn[:, -2:-1],
            moved=drawn[:, -1:],
        )

    def in_a_mirror(self) -> Things:
        """The same with left and right exchanged."""
        side = self.still.shape[3]
        signs = self.poses.new_tensor(STEPS_IN_A_MIRROR)
        whole = self.homes.new_tensor([side, 0.0])
        return Things(
            self.still.flip(-1),
            self.ground.flip(-1),
            self.labels.flip(-1),
            self.patches.flip(-1),
            self.homes * signs[:2] + whole,
            self.poses * signs,
            self.steps * signs,
            self.begun,
            self.picture.flip(-1),
            self.taken.flip(-1),
            self.moved.flip(-1),
        )

    def drawn(self, members: Tensor, number: int, poses: Tensor) -> Tensor:
        """The patch of one thing of each of these members at its pose, (M, C + 1, H, W)."""
        height, width = self.still.shape[2:]
        pose = poses[members, number]
        half = pose.new_tensor([width / 2, height / 2])
        way = self.homes[members, number] + pose[:, :2] - half
        return drawn(self.patches[members, number], pose[:, 2], way, half, (height, width))

    def crops(self, planes: Tensor, members: Tensor, numbers: Tensor) -> Tensor:
        """What lies around some of the things, (M, 2 + X, G, G), from planes (B, X, H, W).

        First its own opacity, then that of all the others.
        """
        height, width = self.still.shape[2:]
        pose = self.poses[members, numbers]
        half = pose.new_full((2,), CROP * height / UNIT / 2)
        nowhere = torch.zeros_like(pose[:, :2])
        opacity = self.patches[members, numbers, -1:]
        own = drawn(opacity, pose[:, 2], nowhere, half, (CROP, CROP))
        size = pose.new_tensor([width, height])
        middle = 2 * (self.homes[members, numbers] + pose[:, :2]) / size - 1
        maps = torch.cat(
            [torch.diag(2 * half / size).expand(len(pose), 2, 2), middle[..., None]], 2
        )
        seen = _sampled(torch.cat([self.taken, planes], dim=1)[members], maps, (CROP, CROP))
        return torch.cat([own, (seen[:, :1] - own).clamp(min=0), seen[:, 1:]], dim=1)

    def facts(self, members: Tensor, numbers: Tensor) -> Tensor:
        """(M, FACTS): where each is, x and y; its latest step, and if it is known; its size."""
        height, width = self.still.shape[2:]
        pose = self.poses[members, numbers]
        middle = (self.homes[members, numbers] + pose[:, :2]) / pose.new_tensor([width, height])
        area = self.patches[members, numbers, -1].mean(dim=(1, 2))
        step = self.steps[members, numbers] / step_scales(pose, height)
        known = self.begun[members]
        return torch.cat([2 * middle - 1, step, known[:, None], area[:, None]], dim=1)


@torch.no_grad()
def find_things(picture: Tensor, most: int) -> Things:
    """Of a picture without the robot (B, C, H, W)."""
    regions = find_regions(picture, most)
    numbers = torch.arange(most, device=picture.device)[None, :, None, None]
    masks = (regions.labels[:, None] == numbers).to(picture.dtype)
    side = 2 * round(SIDE * picture.shape[2] / UNIT / 2)
    homes = regions.middles.to(picture.dtype)
    layers = torch.cat([picture[:, None] * masks[:, :, None], masks[:, :, None]], dim=2)
    everyone = torch.arange(masks[:, :, 0, 0].numel(), device=picture.device)
    patches = cut(layers.flatten(0, 1), everyone, homes.flatten(0, 1), side)
    nothing = picture.new_zeros(len(picture), most, 3)
    taken = masks.amax(dim=1, keepdim=True)
    edge = functional.max_pool2d(taken, 3, 1, 1)
    return Things(
        picture,
        around(picture, edge),
        regions.labels,
        patches.view(*masks.shape[:2], *patches.shape[1:]),
        homes,
        nothing,
        nothing,
        nothing[:, 0, 0],
        picture,
        taken,
        torch.zeros_like(taken),
    )


def turns(angles: Tensor) -> Tensor:
    """Radians (M,) -> (M, 2, 2): from a place in the picture of what has turned to where it was."""
    cosine, sine = angles.cos(), angles.sin()
    rows = [cosine, sine / SLANT, -SLANT * sine, cosine]
    return torch.stack(rows, dim=-1).view(-1, 2, 2)


def step_scales(like: Tensor, height: int) -> Tensor:
    """What a step of one unit and one TURN_UNIT is in pixels and radians, (3,)."""
    return like.new_tensor([height / UNIT, height / UNIT, TURN_UNIT])


def drawn(
    patches: Tensor, angles: Tensor, ways: Tensor, half: Tensor, size: tuple[int, int]
) -> Tensor:
    """Patches (M, X, s, s) in pictures of this size: (M, X, *size).

    Args:
        angles: (M,) by which each is turned
        ways: (M, 2) of its middle from the picture's, in pixels of the patch
        half: (2,) sides of the picture in these pixels, x and y, halved
    """
    turn = turns(angles)
    maps = 2 / patches.shape[-1] * torch.cat([turn * half, -turn @ ways[:, :, None]], dim=2)
    return _sampled(patches, maps, size)


def _sampled(pictures: Tensor, maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures (M, X, ...) at the places that maps (M, 2, 3) give for pixels of another."""
    places = functional.affine_grid(maps, [len(maps), 1, *size], align_corners=False)
    return functional.grid_sample(pictures, places, "bilinear", "zeros", align_corners=False)


def cut(pictures: Tensor, members: Tensor, middles: Tensor, side: int) -> Tensor:
    """A square of some of the pictures (B, X, H, W), around corners of pixels: (M, X, side, side).

    Outside of a picture there is nothing.

    Args:
        members: (M,)
        middles: (M, 2) x and y, whole numbers inside the picture
        side: even
    """
    padded = functional.pad(pictures, [side // 2] * 4)
    along = torch.arange(side, device=middles.device)
    columns, rows = (middles[:, axis, None].long() + along for axis in (0, 1))
    squares = padded[members[:, None, None], :, rows[:, :, None], columns[:, None]]
    return squares.permute(0, 3, 1, 2)
