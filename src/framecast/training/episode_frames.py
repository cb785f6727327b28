"""Frames of many episodes, with what lies behind the robot in each of them.

The background is a quantile of an episode's frames, pixel by pixel: what is seen there most of the
time. That says nothing of what else moves.

Shape letters: E episodes, N frames, S state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from framecast.data.episodes import EpisodeStore
from framecast.models.conditioning import Conditioner

MAX_BYTES = 400_000_000
LOOKED_AT = 30  # frames of an episode that say what its background is
HELD_OUT = 0.1  # share of the episodes, the last ones, that judge what is fitted


@dataclass(frozen=True)
class EpisodeFrames:
    """Attributes:
    pictures: (N, H, W, C) bytes
    episode: (N,) rising
    backgrounds: (E, H, W, C) bytes
    states: (N, S) standardised
    """

    pictures: NDArray[np.uint8]
    episode: NDArray[np.int64]
    backgrounds: NDArray[np.uint8]
    states: Tensor

    @classmethod
    def of(
        cls,
        store: EpisodeStore,
        conditioner: Conditioner,
        quantile: float,
        max_episodes: int,
        max_frames: int,
    ) -> EpisodeFrames:
        """Of episodes spread evenly over the store, frames spread evenly over each."""
        assert store.state is not None
        most = max(2, MAX_BYTES // (max_frames * store.pixels[0].nbytes))
        rows, pictures, backgrounds = [], [], []
        for episode in spread(store.num_episodes, min(max_episodes, most)):
            looked_at = store.ep_offset[episode] + spread(store.ep_len[episode], LOOKED_AT)
            shown = np.array(store.pixels[looked_at])
            kept = spread(len(shown), max_frames)
            rows.append(looked_at[kept])
            pictures.append(shown[kept])
            backgrounds.append(np.quantile(shown, quantile, axis=0).astype(np.uint8))
        states = torch.from_numpy(np.array(store.state[np.concatenate(rows)]))
        standard = conditioner.standard_states(states)
        assert standard is not None
        episode = np.repeat(np.arange(len(rows)), [len(chosen) for chosen in rows])
        return cls(np.concatenate(pictures), episode, np.stack(backgrounds), standard)

    def split(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The frames to learn from, and those of the episodes that are held out."""
        num_episodes = len(self.backgrounds)
        held = self.episode >= num_episodes - max(1, int(HELD_OUT * num_episodes))
        return np.flatnonzero(~held), np.flatnonzero(held)

    def at(self, chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Some frames and what is behind the robot in them, (n, C, H, W) in [0, 1]."""
        both = self.pictures[chosen], self.backgrounds[self.episode[chosen]]
        true, behind = (torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255 for x in both)
        return true, behind


def spread(number: int, most: int) -> NDArray[np.int64]:
    """So many of 0 ... number - 1, evenly."""
    return np.linspace(0, number - 1, min(number, most)).round().astype(np.int64)
