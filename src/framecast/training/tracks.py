"""Follows the things of a frame through the frames after it, in recordings.

Wherever the robot is near a thing, it is registered in the next frame (registration.py).

Shape letters: T frames, B windows, N things, C H W picture, M things that are asked for, D
condition.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from framecast.clip import Clip
from framecast.data.windows import Windows
from framecast.models.regions import UNIT, colours_apart
from framecast.models.shade import lit
from framecast.models.sprites import Cover, guessed
from framecast.models.thing_motion import near
from framecast.models.things import Things, cut, step_scales
from framecast.models.warp import WarpModel
from framecast.training.registration import Found, register

MAX_WINDOWS, WINDOWS_AT_ONCE, FEWEST_PARTS = 4000, 50, 10
REACH = 8  # units that a thing moves in a step at most
STAYED = 1.0  # unit within which what is found again has stayed
SURE = 0.015  # cost of a registration above which it is not believed


@dataclass(frozen=True)
class Track:
    """Where the things of some windows were.

    Attributes:
        poses: (T, B, N, 3) of all things in all frames
        sure: (T, B, N) whether each is believed
    """

    poses: Tensor
    sure: Tensor


@dataclass(frozen=True)
class Watched:
    """What a model knows of some windows before anything has moved.

    Attributes:
        things: of the first frames
        frames: (T, B, C, H, W) without the robot's shadow, where that is drawn
        robots: T of (B, C + 1, H, W), as it is drawn in each frame
        covers: T - 1 of what it covers
        conditions: (T - 1, B, D)
    """

    things: Things
    frames: Tensor
    robots: list[Tensor]
    covers: list[Cover]
    conditions: Tensor

    @classmethod
    def of(cls, model: WarpModel, clip: Clip) -> Watched:
        standard = model.conditioner.standard_states(clip.states)
        assert model.things is not None
        assert model.sprites is not None
        assert standard is not None
        covering, frames = model.covering, clip.float_frames(model.dtype)
        context = slice(0, model.num_context)
        light = covering.light(frames[context], standard[context])
        ends = covering.still(standard[-1], light)
        covers = (*covering.sequence(clip.actions, standard, light), ends)
        seen = [cover for cover in covers if cover is not None]
        conditions = model.conditioner.conditions(clip.actions, standard)
        robots = [cover.now for cover in seen]
        pairs = zip(frames, seen, strict=True)
        frames = torch.stack([lit(frame, cover) for frame, cover in pairs])
        things = model.things.find(guessed(frames[0], robots[0]))
        return cls(things, frames, robots, seen[:-1], conditions)


def parts_of(windows: Windows) -> list[NDArray[np.int64]]:
    """The first rows of windows from all over the recordings, in their order and in parts."""
    starts = windows.starts
    if len(starts) > MAX_WINDOWS:
        starts = np.sort(np.random.default_rng(0).choice(starts, MAX_WINDOWS, replace=False))
    number = max(-(-len(starts) // WINDOWS_AT_ONCE), min(FEWEST_PARTS, len(starts)))
    return np.array_split(starts, number)


def followed(watched: Watched) -> Track:
    """The things of the first frames, in all frames.

    A thing that cannot be found is taken to be where it was found last; and believed to be there
    if it is found there again.
    """
    things = watched.things
    poses, sure = [things.poses], [torch.ones_like(things.poses[..., 0], dtype=torch.bool)]
    for step, cover in enumerate(watched.covers, start=1):
        following, believed = things.poses, sure[-1]
        asked = (~believed).index_put(near(things, cover), torch.tensor(True))
        members, numbers = asked.nonzero(as_tuple=True)
        if len(members):
            frame, robot = watched.frames[step], watched.robots[step]
            found = _registered(things, frame, robot, members, numbers)
            known = found.cost < SURE
            pose = torch.cat([found.way, found.turn[:, None]], dim=1)
            pose = torch.where(known[:, None], pose, following[members, numbers])
            following = following.index_put((members, numbers), pose)
            believed = believed.index_put((members, numbers), known)
        things = replace(things, poses=following)
        poses.append(following)
        sure.append(believed)
    here = step_scales(things.poses, watched.frames.shape[3])
    for step in reversed(range(1, len(poses) - 1)):
        stayed = ((poses[step + 1] - poses[step]) / here).norm(dim=-1) < STAYED
        sure[step] = sure[step] | (sure[step + 1] & stayed)
    return Track(torch.stack(poses), torch.stack(sure))


def _registered(
    things: Things, frame: Tensor, robot: Tensor, members: Tensor, numbers: Tensor
) -> Found:
    """Some things in a later frame, in which the robot is drawn like this.

    The ways are from the homes.
    """
    height, width = frame.shape[2:]
    side, reach = things.patches.shape[-1], 2 * max(1, round(REACH * height / UNIT / 2))
    patches = things.patches[members, numbers]
    opacity = patches[:, -1:]
    features = colours_apart(patches[:, :-1]) * opacity
    home, pose = things.homes[members, numbers], things.poses[members, numbers]
    middle = home + pose[:, :2]
    whole = middle.round().clamp(min=0).minimum(middle.new_tensor([width, height]))
    shown = torch.cat([colours_apart(frame), 1 - robot[:, -1:]], dim=1)
    windows = cut(shown, members, whole, side + 2 * reach)
    both = torch.cat([features, opacity], dim=1)
    found = register(both, windows[:, :-1], windows[:, -1:], pose[:, 2], middle - whole)
    return replace(found, way=whole + found.way - home)
