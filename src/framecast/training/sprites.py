"""Fits a model's sprites of the robot to the recordings, before the first step.

Every frame is drawn as its episode's background, the median of its frames, with the sprites over
it. That says nothing of what else moves; it is enough to learn what the robot looks like, and where
it is seen for which state. Where that is settled, an opacity that is neither 0 nor 1 costs more and
more: else what the robot pushes, and its shadow, would leave a haze around it that hides both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from framecast.data.episodes import EpisodeStore
from framecast.models.base import VideoModel
from framecast.models.conditioning import Conditioner
from framecast.models.sprites import Sprites, over
from framecast.training.episode_frames import EpisodeFrames, spread
from framecast.training.preparing import Preparing, unheard

MEDIAN = 0.5
MAX_EPISODES, MAX_FRAMES = 500, 30
STEPS, PIXELS_A_STEP, MAX_PASSES = 1200, 32 * 64 * 64, 60
PICTURE_RATE, POSE_RATE = 0.1, 0.01
WARM_UP = 0.03  # share of the steps
HAZE = 0.02  # weight of opacities between 0 and 1, beside the squared error
UNDECIDED, DECIDED = 0.25, 0.75  # shares of the steps at which that weight begins and is whole
JUDGED_FRAMES = 500
USEFUL = 0.9  # of the background's own error there, which sprites have to be below


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
    frames = EpisodeFrames.of(store, conditioner, MEDIAN, MAX_EPISODES, MAX_FRAMES)
    learned, judged = frames.split()
    if not len(learned):
        return
    _fit(sprites, frames, learned, preparing)
    judged = judged[spread(len(judged), JUDGED_FRAMES)]
    true, behind = frames.at(judged)
    with torch.no_grad():
        error, _ = _error(sprites, frames, judged)
        if error >= USEFUL * (behind - true).square().mean():
            sprites.vanish()


@torch.enable_grad()
def _fit(
    sprites: Sprites, frames: EpisodeFrames, learned: NDArray[np.int64], preparing: Preparing
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
        error, haze = _error(sprites, frames, random.choice(learned, num_frames))
        settled = (step / num_steps - UNDECIDED) / (DECIDED - UNDECIDED)
        loss = error + HAZE * min(max(settled, 0.0), 1.0) * haze
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        preparing("pictures of the robot", step + 1, num_steps)
    sprites.requires_grad_(False)


def _error(
    sprites: Sprites, frames: EpisodeFrames, chosen: NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    """The squared error with the sprites drawn, and their haze: 1/4 at most."""
    true, behind = frames.at(chosen)
    robot = sprites(frames.states[torch.from_numpy(chosen)])
    opacity = robot[:, -1]
    error = (over(behind, robot) - true).square().mean()
    return error, (opacity * (1 - opacity)).mean()
