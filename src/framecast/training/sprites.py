"""Fits a model's sprites of the robot to the recordings, before the first step.

Every frame is drawn as its episode's background, the median of its frames, with the sprites over
it. That says nothing of what else moves; it is enough to learn what the robot looks like, and where
it is seen for which state. Where that is settled, an opacity that is neither 0 nor 1 costs more and
more: else what the robot pushes, and its shadow, would leave a haze around it that hides both.

Shape letters: E episodes, N frames, S state.
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
from framecast.models.conditioning import Conditioner
from framecast.models.sprites import Sprites, over
from framecast.training.preparing import Preparing, unheard

MAX_EPISODES, MAX_BYTES = 500, 400_000_000
MAX_FRAMES = 30  # of an episode
STEPS, PIXELS_A_STEP, MAX_PASSES = 1200, 32 * 64 * 64, 60
PICTURE_RATE, POSE_RATE = 0.1, 0.01
WARM_UP = 0.03  # share of the steps
HAZE = 0.02  # weight of opacities between 0 and 1, beside the squared error
UNDECIDED, DECIDED = 0.25, 0.75  # shares of the steps at which that weight begins and is whole
HELD_OUT = 0.1  # share of the episodes, the last ones, that judge the sprites
JUDGED_FRAMES = 500
USEFUL = 0.9  # of the background's own error there, which sprites have to be below


@dataclass(frozen=True)
class _Frames:
    """Attributes:
    pictures: (N, H, W, C) bytes
    episode: (N,)
    backgrounds: (E, H, W, C) bytes
    states: (N, S) standardised
    """

    pictures: NDArray[np.uint8]
    episode: NDArray[np.int64]
    backgrounds: NDArray[np.uint8]
    states: Tensor

    @classmethod
    def of(cls, store: EpisodeStore, conditioner: Conditioner) -> _Frames:
        """Of episodes spread evenly over the store, frames spread evenly over each."""
        assert store.state is not None
        most = MAX_BYTES // (MAX_FRAMES * store.pixels[0].nbytes)
        episodes = _spread(store.num_episodes, min(MAX_EPISODES, max(2, most)))
        rows = [store.ep_offset[k] + _spread(store.ep_len[k], MAX_FRAMES) for k in episodes]
        pictures = [np.array(store.pixels[chosen]) for chosen in rows]
        backgrounds = [np.median(shown, axis=0).astype(np.uint8) for shown in pictures]
        states = torch.from_numpy(np.array(store.state[np.concatenate(rows)]))
        standard = conditioner.standard_states(states)
        assert standard is not None
        episode = np.repeat(np.arange(len(rows)), [len(chosen) for chosen in rows])
        return cls(np.concatenate(pictures), episode, np.stack(backgrounds), standard)

    def background_error(self, chosen: NDArray[np.int64]) -> Tensor:
        true, behind = self._of(chosen)
        return (behind - true).square().mean()

    def error(self, sprites: Sprites, chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """The squared error with the sprites drawn, and their haze: 1/4 at most."""
        true, behind = self._of(chosen)
        robot = sprites(self.states[torch.from_numpy(chosen)])
        opacity = robot[:, -1]
        error = (over(behind, robot) - true).square().mean()
        return error, (opacity * (1 - opacity)).mean()

    def _of(self, chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """The frames and what is behind the robot, (n, C, H, W) in [0, 1]."""
        both = self.pictures[chosen], self.backgrounds[self.episode[chosen]]
        true, behind = (torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255 for x in both)
        return true, behind


def fit_sprites(
    model: VideoModel[Any], store: EpisodeStore, preparing: Preparing = unheard
) -> None:
    """Nothing to do for a model without sprites.

    The last episodes judge them: sprites that are of no use there are dropped.
    """
    sprites = next((part for part in model.modules() if isinstance(part, Sprites)), None)
    conditioner = next((part for part in model.modules() if isinstance(part, Conditioner)), None)
    if sprites is None or conditioner is None:
        return
    frames = _Frames.of(store, conditioner)
    num_episodes = len(frames.backgrounds)
    judging = frames.episode >= num_episodes - max(1, int(HELD_OUT * num_episodes))
    learned, judged = np.flatnonzero(~judging), np.flatnonzero(judging)
    if not len(learned):
        return
    _fit(sprites, frames, learned, preparing)
    judged = judged[_spread(len(judged), JUDGED_FRAMES)]
    with torch.no_grad():
        useful = frames.error(sprites, judged)[0] < USEFUL * frames.background_error(judged)
    if not useful:
        sprites.vanish()


@torch.enable_grad()
def _fit(
    sprites: Sprites, frames: _Frames, learned: NDArray[np.int64], preparing: Preparing
) -> None:
    sprites.begin(torch.Generator().manual_seed(0))
    sprites.requires_grad_(True)
    random = np.random.default_rng(0)
    num_frames = max(1, PIXELS_A_STEP // frames.pictures[0, :, :, 0].size)
    num_steps = min(STEPS, -(-MAX_PASSES * len(learned) // num_frames))
    groups: list[dict[str, Any]] = [
        {"params": [sprites.pictures], "lr": PICTURE_RATE},
        {"params": [*sprites.pose.parameters()], "lr": POSE_RATE},
    ]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.98))
    rates = [PICTURE_RATE, POSE_RATE]
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rates, total_steps=num_steps + 1, pct_start=WARM_UP
    )
    for step in range(num_steps):
        error, haze = frames.error(sprites, random.choice(learned, num_frames))
        settled = (step / num_steps - UNDECIDED) / (DECIDED - UNDECIDED)
        loss = error + HAZE * min(max(settled, 0.0), 1.0) * haze
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        preparing("pictures of the robot", step + 1, num_steps)
    sprites.requires_grad_(False)


def _spread(number: int, most: int) -> NDArray[np.int64]:
    """So many of 0 ... number - 1, evenly."""
    return np.linspace(0, number - 1, min(number, most)).round().astype(np.int64)
