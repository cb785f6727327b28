"""Fits how things move to the recordings, before the first step of a video model.

The things of a frame are followed through the frames after it (tracks.py). The network is shown
what it will be shown in a prediction, the things at the poses they were found at; it learns the
next change of these poses.

Shape letters: T frames, B windows, M samples, G pixels a side of a crop, D condition, F facts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from framecast.data.episodes import EpisodeStore
from framecast.data.windows import Windows
from framecast.models.base import VideoModel
from framecast.models.sprites import bent
from framecast.models.thing_motion import STEP_FACTS, ThingMotion, near, planes
from framecast.models.things import FACTS, STEPS_IN_A_MIRROR, step_scales
from framecast.models.warp import WarpModel
from framecast.training.preparing import Preparing, unheard
from framecast.training.tracks import Track, Watched, followed, parts_of

FRAMES = 12  # of a window
STEPS, SAMPLES_A_STEP, MAX_PASSES = 3200, 128, 12
RATE, DECAY, WARM_UP, LARGEST = 2e-3, 1e-3, 0.02, 1.0
MOVED = 1.0  # units; who moves more in a step, is pushed
DOUBT = 0.01  # a sample, that things lie ahead of the hand at all (Hoerl 1970)
PLACINGS, NEAR_HAND = 10, 3.0  # units from the hand at which a thing has half the weight
ROBUST = 1.0  # units; larger errors count by their size alone (Huber 1964)
FARTHEST = 4.0  # units; what is farther from where it was expected was not found
HELD_OUT = 0.1  # share of the windows, the last ones, that judge the network
USEFUL = 0.95  # of the error of standing still there, which the network has to be below
BYTE = 127  # of a crop's numbers, as they are kept
FORGOTTEN = 0.25  # share of the samples that are shown without the latest step


@dataclass(frozen=True)
class _Samples:
    """What the network is shown, and what it should say.

    Attributes:
        crops: (M, X, G, G) in 127ths
        told: (M, D + F)
        steps: (M, 3) in units and TURN_UNIT
    """

    crops: Tensor
    told: Tensor
    steps: Tensor

    @classmethod
    def joined(cls, parts: list[_Samples]) -> _Samples:
        names = [field.name for field in fields(cls)]
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    def at(self, chosen: slice | Tensor) -> _Samples:
        return _Samples(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def reached(self, motion: ThingMotion) -> _Samples:
        """Those of things that the hand may push."""
        return self.at(motion.reached(self.told))

    def in_a_mirror(self, motion: ThingMotion) -> _Samples:
        signs = self.steps.new_tensor(STEPS_IN_A_MIRROR)
        return _Samples(*motion.mirrored(self.crops, self.told), self.steps * signs)

    def forgetful(self, random: np.random.Generator) -> _Samples:
        """Some of them not told the latest step, as in the first step of a prediction."""
        number = len(self.steps)
        keeps = torch.from_numpy(random.random(number) >= FORGOTTEN).to(self.told.dtype)
        told = self.told.clone()
        told[:, -FACTS:][:, STEP_FACTS] *= keeps[:, None]
        return replace(self, told=told)

    def errors(self, motion: ThingMotion) -> tuple[Tensor, Tensor]:
        """Of the expected steps, and of how far from these the true ones are said to be.

        The latter is the negative logarithm of a normal distribution's density, but for a constant.
        """
        with torch.autocast(self.told.device.type, torch.bfloat16):
            made, spread = motion.one_step(self.crops.to(self.told.dtype) / BYTE, self.told)
        made, spread = made.to(self.steps.dtype), spread.to(self.steps.dtype)
        gap = (made.detach() - self.steps)[:, :2].clamp(-FARTHEST, FARTHEST)
        return _robust(made, self.steps), (spread.log() + (gap / spread).square() / 2).mean()


def fit_things(model: VideoModel[Any], store: EpisodeStore, preparing: Preparing = unheard) -> None:
    """Nothing to do for a model without things.

    The last windows judge the network: if it is of no use there, things stay where they are.
    """
    if not isinstance(model, WarpModel) or model.things is None:
        return
    length = min(FRAMES, int(store.ep_len.max()))
    if length < 2:
        return
    windows = Windows(store, length)
    shown = _shown(model, windows, preparing)
    judging = max(1, int(HELD_OUT * len(shown)))
    if len(shown) <= judging:
        return
    samples = _Samples.joined(shown[:-judging])
    if not _place_hand(model.things, samples):
        return
    _fit(model.things, samples.reached(model.things), preparing)
    judged = _Samples.joined(shown[-judging:]).reached(model.things)
    if not _useful(model.things, judged):
        model.things.stand_still()


@torch.no_grad()
def _shown(model: WarpModel, windows: Windows, preparing: Preparing) -> list[_Samples]:
    """What the network is shown of each part of the windows in which there is something to see."""
    shown, parts = [], parts_of(windows)
    for done, part in enumerate(parts, start=1):
        watched = Watched.of(model, windows.at(part))
        steps = list(_along(watched, followed(watched)))
        shown += [_Samples.joined(steps)] if steps else []
        preparing("following what is pushed", done, len(parts))
    return shown


def _along(watched: Watched, track: Track) -> Iterator[_Samples]:
    """The samples of every step of some windows."""
    things = watched.things
    for step, cover in enumerate(watched.covers):
        members, numbers = near(things, cover)
        known = track.sure[step : step + 2, members, numbers].all(dim=0)
        members, numbers = members[known], numbers[known]
        following = things.posed(track.poses[step + 1])
        if len(members):
            facts = things.facts(members, numbers)
            crops = things.crops(planes(cover), members, numbers)
            scales = step_scales(facts, watched.frames.shape[3])
            yield _Samples(
                (BYTE * crops).round().to(torch.int8),
                torch.cat([watched.conditions[step][members], facts], dim=1),
                following.steps[members, numbers] / scales,
            )
        things = following


@torch.enable_grad()
def _fit(motion: ThingMotion, samples: _Samples, preparing: Preparing) -> None:
    motion.requires_grad_(True)
    torch.nn.init.zeros_(motion.spread.bias)
    number = len(samples.steps)
    random = np.random.default_rng(0)
    num_steps = min(STEPS, -(-MAX_PASSES * number // SAMPLES_A_STEP))
    optimizer = torch.optim.AdamW(motion.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=num_steps + 1, pct_start=WARM_UP, anneal_strategy="linear"
    )
    for step, chosen in enumerate(_orders(number, num_steps, random)):
        batch = samples.at(chosen).forgetful(random)
        if motion.mirrors and random.random() < 0.5:
            batch = batch.in_a_mirror(motion)
        optimizer.zero_grad()
        error, surprise = batch.errors(motion)
        (error + surprise).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(motion.parameters(), LARGEST)
        optimizer.step()
        schedule.step()
        preparing("how things are pushed", step + 1, num_steps)
    motion.requires_grad_(False)


@torch.no_grad()
def _place_hand(motion: ThingMotion, samples: _Samples) -> bool:
    """Where a robot in some state is: behind the things that move, whichever way they do.

    By least squares, over and over with less weight on what lies far from there (Geman 1987):
    among what is found to move some does not. Returns whether enough moves to tell.
    """
    moved = samples.at(samples.steps[:, :2].norm(dim=1) > MOVED)
    if motion.mirrors:
        moved = _Samples.joined([moved, moved.in_a_mirror(motion)])
    state = bent(moved.told[:, motion.of_state])
    if len(state) <= state.shape[1] + 3:
        return False
    ahead = functional.normalize(moved.steps[:, :2])
    known = torch.cat([state, torch.ones_like(state[:, :1]), ahead], dim=1)
    middles = motion.middles(moved.told)
    weights = torch.ones_like(known[:, :1])
    # Where all go the same way, how far ahead they are is not told apart from where the hand is.
    doubt = known.new_zeros(2, known.shape[1])
    doubt[:, -2:] = math.sqrt(DOUBT * len(known)) * torch.eye(2)
    nothing = middles.new_zeros(2, 2)
    for _ in range(PLACINGS):
        equations = torch.cat([weights * known, doubt]), torch.cat([weights * middles, nothing])
        found = torch.linalg.lstsq(*equations).solution
        gap = (known @ found - middles).norm(dim=1, keepdim=True)
        weights = 1 / (1 + (gap / NEAR_HAND).square())
    motion.hand.weight.copy_(found[: state.shape[1]].T)
    motion.hand.bias.copy_(found[state.shape[1]])
    return True


def _orders(number: int, steps: int, random: np.random.Generator) -> Iterator[Tensor]:
    """The samples of each step; all are shown before one is shown again."""
    left = np.zeros(0, np.int64)
    for _ in range(steps):
        while len(left) < min(SAMPLES_A_STEP, number):
            left = np.concatenate([left, random.permutation(number)])
        yield torch.from_numpy(left[:SAMPLES_A_STEP])
        left = left[SAMPLES_A_STEP:]


@torch.no_grad()
def _useful(motion: ThingMotion, samples: _Samples) -> bool:
    number = len(samples.steps)
    parts = [slice(first, first + SAMPLES_A_STEP) for first in range(0, number, SAMPLES_A_STEP)]
    error = sum(float(part.errors(motion)[0]) * len(part.steps) for part in map(samples.at, parts))
    still = float(_robust(torch.zeros_like(samples.steps), samples.steps)) * number
    return error < USEFUL * still


def _robust(made: Tensor, steps: Tensor) -> Tensor:
    return functional.smooth_l1_loss(made, steps, beta=ROBUST)
