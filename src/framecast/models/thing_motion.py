"""How the things of a picture move in a step of a robot.

A small network says how the pose of a thing changes: of each thing that the robot is near, from
what is around it, from where the robot is drawn and will be drawn (sprites.py), from where its hand
is, which is a function of its state, and from the action. It is fitted to the recordings before the
video model is trained, and left alone after that: the video model decides where to show what is
drawn by it.

Shape letters: B batch, C H W picture, N things of a picture, M things of a batch that are asked
for, G pixels a side of a crop, D condition.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from framecast.clip import ClipSpec
from framecast.models.distributions import LOG_VARIANCE_RANGE
from framecast.models.regions import UNIT
from framecast.models.sprites import Cover, bent, num_bent
from framecast.models.state_predictor import CHANGE_SCALE
from framecast.models.things import (
    CROP,
    FACTS,
    STEPS_IN_A_MIRROR,
    Things,
    find_things,
    step_scales,
)

HAND_REACH = 12.0  # units from the hand to the middle of a thing that it may push
REACH = 3  # cells of 4 x 4 units from a thing: a robot beyond them does not touch it
STILL = 0.15  # units; who moves less, stays
STEP_FACTS = slice(2, 6)  # of Things.facts, those of the latest step, 0 in the first
FACTS_IN_A_MIRROR = (-1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 1.0)
WIDTH, HIDDEN, RULES = 32, 128, 8
NEAR = 8.0  # units in which ways between a thing and the hand are told


class ThingMotion(nn.Module):
    """How things move in a step. Not fitted, they stay where they are.

    Args:
        number: N, the most things of a picture
        num_condition: D
        in_a_mirror: (D,) signs and (D,) offsets that make a condition that of the mirror image;
            then a step is the mean of what is said of both
    """

    signs: Tensor
    offsets: Tensor
    halves: Tensor
    grid: Tensor

    def __init__(
        self,
        number: int,
        spec: ClipSpec,
        num_condition: int,
        in_a_mirror: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.number = number
        self.mirrors = in_a_mirror is not None
        signs, offsets = in_a_mirror or (torch.ones(num_condition), torch.zeros(num_condition))
        of_facts = torch.tensor(FACTS_IN_A_MIRROR)
        self.register_buffer("signs", torch.cat([signs, of_facts]), persistent=False)
        offsets = torch.cat([offsets, torch.zeros(FACTS)])
        self.register_buffer("offsets", offsets, persistent=False)
        assert spec.state is not None
        self.of_state = slice(spec.action.size, spec.action.size + spec.state.size)
        self.hand = nn.Linear(num_bent(spec.state.size), 2)
        half = torch.tensor([UNIT * spec.width / spec.height, float(UNIT)]) / 2
        self.register_buffer("halves", half, persistent=False)
        along = torch.arange(1.0, CROP, 2.0) - CROP / 2  # as `first` sees them
        grid = torch.stack(torch.meshgrid(along, along, indexing="xy"))
        self.register_buffer("grid", grid, persistent=False)
        self.touch_place = nn.Conv2d(4, WIDTH, 1)
        self.touch_told = nn.Linear(num_condition + FACTS, WIDTH)
        self.touch = nn.Conv2d(WIDTH, WIDTH, 1)
        told = num_condition + FACTS + 4
        self.first = nn.Conv2d(2 * spec.channels + 4, WIDTH, 4, 2, 1)
        self.second = nn.Conv2d(WIDTH, 2 * WIDTH, 4, 2, 1)
        self.told = nn.Sequential(nn.Linear(told, 64), nn.SiLU(), nn.Linear(64, 8 * WIDTH))
        self.blocks = nn.ModuleList([nn.Conv2d(2 * WIDTH, 2 * WIDTH, 3, 1, 1) for _ in range(2)])
        self.norms = nn.ModuleList([nn.GroupNorm(8, 2 * WIDTH) for _ in range(3)])
        self.third = nn.Conv2d(2 * WIDTH, 2 * WIDTH, 4, 2, 1)
        self.hidden = nn.Linear(2 * WIDTH * (CROP // 8) ** 2 + told, HIDDEN)
        self.step = nn.Linear(HIDDEN, 3)
        self.weigh = nn.Linear(HIDDEN, 3 * RULES)
        self.rules = nn.Linear(told, RULES)
        self.spread = nn.Linear(HIDDEN, 2)
        self.requires_grad_(False)
        self.stand_still()

    @torch.no_grad()
    def stand_still(self) -> None:
        for layer in (self.step, self.weigh):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.spread.weight)
        nn.init.constant_(self.spread.bias, LOG_VARIANCE_RANGE[0])

    def find(self, picture: Tensor) -> Things:
        """Of a picture without the robot (B, C, H, W)."""
        return find_things(picture, self.number)

    @torch.no_grad()
    def advance(
        self, things: Things, cover: Cover, condition: Tensor, noise: Tensor | None = None
    ) -> Things:
        """The things one step later.

        Args:
            cover: what the robot covers now and then
            condition: (B, D)
            noise: (B, N, 2) standard normal, which draws one of the ways that each may go; without
                it all go as expected
        """
        with torch.autocast(condition.device.type, enabled=False):
            members, numbers = near(things, cover)
            steps = torch.zeros_like(things.poses)
            dtype = things.poses.dtype
            told = torch.cat([condition[members].to(dtype), things.facts(members, numbers)], 1)
            reached = self.reached(told)
            members, numbers, told = members[reached], numbers[reached], told[reached]
            if len(members):
                made, spread = self(things.crops(planes(cover), members, numbers), told)
                if noise is not None:
                    drawn = spread * noise[members, numbers].to(dtype)
                    made = torch.cat([made[:, :2] + drawn, made[:, 2:]], dim=1)
                made = made * step_scales(made, things.still.shape[2])
                far = made[:, :2].norm(dim=1) >= STILL * things.still.shape[2] / UNIT
                steps = steps.index_put((members, numbers), made * far[:, None])
            return things.posed(things.poses + steps)

    def forward(self, crops: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """(M, 4 + 2 C, G, G) and condition and facts (M, D + FACTS) -> steps (M, 3), spread (M, 2).

        Steps are the expected x and y in units, and turns in TURN_UNIT; the spread is the standard
        deviation of x and y. (What registration finds of turns is mostly its own error.)
        """
        step, spread = self.one_step(crops, told)
        if not self.mirrors:
            return step, spread
        other, also = self.one_step(*self.mirrored(crops, told))
        return (step + other * step.new_tensor(STEPS_IN_A_MIRROR)) / 2, (spread + also) / 2

    def mirrored(self, crops: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """What is seen and told of the mirror image."""
        return crops.flip(-1), told * self.signs + self.offsets

    def one_step(self, crops: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, without the mirror image."""
        hands = self.hands(told)
        touch = (self.grid - hands.view(-1, 2, 2)[..., None, None]).flatten(1, 2) / NEAR
        touch = functional.silu(self.touch_place(touch) + self.touch_told(told)[..., None, None])
        told = torch.cat([told, hands / NEAR], dim=1)
        scale, shift, later_scale, later_shift = self.told(told)[:, :, None, None].chunk(4, dim=1)
        features = functional.silu(self.first(crops) + self.touch(touch))
        features = functional.silu(self.norms[0](self.second(features))) * (1 + scale) + shift
        features = features + functional.silu(self.norms[1](self.blocks[0](features)))
        features = features * (1 + later_scale) + later_shift
        features = features + functional.silu(self.norms[2](self.blocks[1](features)))
        flat = functional.silu(self.third(features)).flatten(1)
        hidden = functional.silu(self.hidden(torch.cat([flat, told], dim=1)))
        weights = self.weigh(hidden).view(len(told), 3, RULES)
        step = self.step(hidden) + (weights @ self.rules(told)[:, :, None])[:, :, 0]
        return step, (self.spread(hidden).clamp(*LOG_VARIANCE_RANGE) / 2).exp()

    def hands(self, told: Tensor) -> Tensor:
        """Where the hand is from the middle of a thing, now and then, x and y in units: (M, 4)."""
        state = told[:, self.of_state]
        change = told[:, self.of_state.stop : -FACTS] / CHANGE_SCALE
        if not change.shape[1]:
            change = torch.zeros_like(state)
        with torch.autocast(told.device.type, enabled=False):
            places = [self.hand(bent(state)), self.hand(bent(state + change))]
        middle = self.middles(told)
        return torch.cat([place - middle for place in places], dim=1)

    def middles(self, told: Tensor) -> Tensor:
        """Where each thing is from the middle of the picture, (M, 2) in units."""
        return told[:, -FACTS:][:, :2] * self.halves

    def reached(self, told: Tensor) -> Tensor:
        """Whether the hand is near enough to push a thing, (M,)."""
        gap: Tensor = self.hands(told).view(-1, 2, 2).norm(dim=2).amin(dim=1)
        return gap < HAND_REACH


def planes(cover: Cover) -> Tensor:
    """What the network sees of a picture beside the things: the robot, (B, 2 C + 2, H, W)."""
    return torch.cat([cover.now, cover.then], dim=1)


def near(things: Things, cover: Cover) -> tuple[Tensor, Tensor]:
    """Members (M,) and numbers (M,) of the things that the robot may touch in a step."""
    cell = max(1, 4 * things.still.shape[2] // UNIT)
    now, then = cover.opacities
    seen = functional.max_pool2d(torch.maximum(now, then), cell, ceil_mode=True)
    seen = functional.max_pool2d(seen, 2 * REACH + 1, 1, REACH)[:, 0] > 0.5
    places = ((things.homes + things.poses[..., :2]) / cell).long()
    column = places[..., 0].clamp(0, seen.shape[2] - 1)
    row = places[..., 1].clamp(0, seen.shape[1] - 1)
    touched = seen.flatten(1).gather(1, row * seen.shape[2] + column)
    there = things.patches[:, :, -1].amax(dim=(2, 3)) > 0
    members, numbers = (touched & there).nonzero(as_tuple=True)
    return members, numbers
