"""Clips cut from a store, as a pure function of (seed, step).

No state, no worker-dependent order: the batch of a step is the same in a resumed run, on another
number of workers, and on every process of a distributed run. A window never crosses an episode.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from framecast.clip import Clip
from framecast.data.episodes import EpisodeStore
from framecast.errors import UserError


class Windows:
    """All windows of `length` frames in a store.

    Raises UserError when no episode is long enough.
    """

    def __init__(self, store: EpisodeStore, length: int) -> None:
        self.store = store
        self.length = length
        if int(store.ep_len.max()) < length:
            raise UserError(
                f"A window needs {length} frames, but the longest episode of {store.path} has "
                f"{store.ep_len.max()}. Use fewer context or predicted frames, or longer episodes."
            )
        self.starts: NDArray[np.int64] = self._starts(stride=1)

    def sample(self, seed: int, step: int, batch_size: int) -> Clip:
        """The batch of a training step: windows drawn evenly from all, with replacement."""
        generator = np.random.default_rng([seed, step])
        return self.at(self.starts[generator.integers(len(self.starts), size=batch_size)])

    def disjoint(self, first_only: bool = False) -> NDArray[np.int64]:
        """First rows of the windows that tile each episode from its start, in stored order.

        With `first_only`, one window an episode: its first frames.
        """
        if first_only:
            return self.store.ep_offset[self.store.ep_len >= self.length]
        return self._starts(stride=self.length)

    def at(self, starts: NDArray[np.int64]) -> Clip:
        """The windows that begin at these rows, read in one gather.

        Frames are channels-last in memory, which is what the convolutions want.
        """
        rows = np.arange(self.length)[:, None] + starts[None, :]
        frames = torch.from_numpy(self.store.pixels[rows]).permute(0, 1, 4, 2, 3)
        actions = torch.from_numpy(self.store.action[rows[:-1]])
        state = self.store.state
        return Clip(frames, actions, None if state is None else torch.from_numpy(state[rows]))

    def batches(self, starts: NDArray[np.int64], batch_size: int) -> Iterator[Clip]:
        """The windows that begin at these rows, in order; the last batch may be smaller."""
        for first in range(0, len(starts), batch_size):
            yield self.at(starts[first : first + batch_size])

    def _starts(self, stride: int) -> NDArray[np.int64]:
        return np.concatenate(
            [
                np.arange(offset, offset + length - self.length + 1, stride)
                for offset, length in zip(self.store.ep_offset, self.store.ep_len, strict=True)
            ]
        )
