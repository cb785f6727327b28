"""Fits a model's shade to the recordings, before the first step, when its sprites are fitted.

A pixel that is darker than its episode's background, in all colours alike, has lost that share of
its light. The light is read off one frame of an episode, and what is lost in another is asked for:
so all that can be told of the light is what two frames have in common.

Shape letters: B pairs, P pixels of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from framecast.data.episodes import EpisodeStore
from framecast.models.base import VideoModel
from framecast.models.shade import Shade
from framecast.models.sprites import Sprites
from framecast.models.warp import WarpModel
from framecast.training.episode_frames import EpisodeFrames
from framecast.training.preparing import Preparing, unheard

MAX_EPISODES, MAX_FRAMES = 1500, 10  # the light differs between episodes
LIT = 0.7  # quantile of an episode's frames that is taken to lie in no shadow
STEPS, PAIRS_A_STEP, PIXELS, MAX_PASSES = 2400, 32, 1024, 60
RATE, WARM_UP = 3e-3, 0.05
DEEPEST = 0.7  # share of light that may be lost
COLOURED = 0.06  # of a picture's range: what differs by more than a shade, differs otherwise
ROBOT = 0.05  # opacity from which a pixel is the robot's
JUDGED_PAIRS = 300
USEFUL = 0.8  # of the error of no shade at all, which the shade has to be below


@dataclass(frozen=True)
class _Lost:
    """What was lost in some frames.

    Attributes:
        share: (B, 1, P)
        known: (B, 1, P) 1 where nothing but a shadow can have made the pixel darker
    """

    share: Tensor
    known: Tensor

    @classmethod
    def of(cls, true: Tensor, behind: Tensor, robot: Tensor) -> _Lost:
        """Of pictures and backgrounds (B, C, P), and the robot as it is drawn (B, C + 1, P)."""
        bright = behind.mean(dim=1, keepdim=True).clamp(min=1 / 255)
        share = (1 - true.mean(dim=1, keepdim=True) / bright).clamp(0, DEEPEST)
        gap = (true - behind * (1 - share)).abs().amax(dim=1, keepdim=True)
        known = (gap < COLOURED) & (robot[:, -1:] < ROBOT)
        return cls(share, known.to(true.dtype))

    def error(self, shade: Tensor | float) -> Tensor:
        return ((shade - self.share).square() * self.known).mean()


def fit_shade(model: VideoModel[Any], store: EpisodeStore, preparing: Preparing = unheard) -> None:
    """Nothing to do for a model without a shade.

    The last episodes judge it: a shade that is of no use there is dropped.
    """
    if not isinstance(model, WarpModel) or model.shade is None or model.sprites is None:
        return
    frames = EpisodeFrames.of(store, model.conditioner, LIT, MAX_EPISODES, MAX_FRAMES)
    learned, judged = frames.split()
    if not len(learned):
        return
    _fit(model.shade, model.sprites, frames, learned, preparing)
    pairs = _pairs(frames, judged, JUDGED_PAIRS, np.random.default_rng(0))
    with torch.no_grad():
        shade, lost = _shown(model.shade, model.sprites, frames, *pairs, None)
        if lost.error(shade) >= USEFUL * lost.error(0.0):
            model.shade.vanish()


@torch.enable_grad()
def _fit(
    shade: Shade,
    sprites: Sprites,
    frames: EpisodeFrames,
    learned: NDArray[np.int64],
    preparing: Preparing,
) -> None:
    shade.begin(torch.Generator().manual_seed(0))
    shade.requires_grad_(True)
    random = np.random.default_rng(0)
    num_steps = max(1, min(STEPS, MAX_PASSES * len(learned) // PAIRS_A_STEP))
    optimizer = torch.optim.Adam(shade.parameters(), lr=RATE, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=num_steps + 1, pct_start=WARM_UP
    )
    height, width = shade.size
    for step in range(num_steps):
        pixels = random.choice(height * width, min(PIXELS, height * width), replace=False)
        pairs = _pairs(frames, learned, PAIRS_A_STEP, random)
        drawn, lost = _shown(shade, sprites, frames, *pairs, torch.from_numpy(pixels))
        optimizer.zero_grad()
        lost.error(drawn).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        preparing("the robot's shadow", step + 1, num_steps)
    shade.requires_grad_(False)


def _pairs(
    frames: EpisodeFrames, among: NDArray[np.int64], number: int, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """So many frames among these, and for each of them another one of its episode."""
    first = random.choice(among, number)
    begins = np.searchsorted(frames.episode, frames.episode[first])
    ends = np.searchsorted(frames.episode, frames.episode[first], side="right")
    return first, random.integers(begins, ends)


def _shown(
    shade: Shade,
    sprites: Sprites,
    frames: EpisodeFrames,
    seen: NDArray[np.int64],
    asked: NDArray[np.int64],
    pixels: Tensor | None,
) -> tuple[Tensor, _Lost]:
    """What the shade draws in the frames that are asked for, and what was lost there."""
    everywhere = torch.arange(shade.size[0] * shade.size[1])
    chosen = everywhere if pixels is None else pixels
    with torch.no_grad():
        picture, _ = frames.at(seen)
        true, behind = (x.flatten(2)[:, :, chosen] for x in frames.at(asked))
        states, then = (frames.states[torch.from_numpy(rows)] for rows in (seen, asked))
        robot, later = sprites(states), sprites(then).flatten(2)[:, :, chosen]
    light = shade.light(picture[None], robot[None], states[None])
    return shade(then, light, chosen), _Lost.of(true, behind, later)
