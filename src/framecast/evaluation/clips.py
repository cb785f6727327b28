"""The clips that a protocol scores, in an order that never changes.

Shape letters: N clips, T frames, B batch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from framecast.clip import Clip
from framecast.data.episodes import EpisodeStore
from framecast.data.windows import Windows
from framecast.errors import UserError
from framecast.evaluation.protocols import Protocol

READ_AT_ONCE = 32


@dataclass(frozen=True)
class ProtocolClips:
    """The clips of a protocol, in stored order, and another clip's actions for each.

    Attributes:
        starts: (N,) first row of every clip in the store.
        stranger: (N,) first row of the clip whose actions it is told when they are shuffled: the
            one half the list further, which as a rule is another episode.
    """

    windows: Windows
    starts: NDArray[np.int64]
    stranger: NDArray[np.int64]

    @classmethod
    def of(cls, dataset: Path, protocol: Protocol) -> ProtocolClips:
        store = EpisodeStore.open(dataset, protocol.split)
        windows = Windows(store, protocol.num_frames)
        starts = windows.disjoint(first_only=protocol.windows == "first")
        if protocol.max_clips and protocol.max_clips < len(starts):
            spread = np.linspace(0, len(starts) - 1, protocol.max_clips).round().astype(int)
            starts = starts[spread]
        if len(starts) < 2:
            raise UserError(
                f"Scoring needs at least 2 clips of {protocol.num_frames} frames, to tell one the "
                f"actions of the other; the {protocol.split} split has {len(starts)}."
            )
        return cls(windows, starts, np.roll(starts, len(starts) // 2))

    def __len__(self) -> int:
        return len(self.starts)

    def batch(self, chosen: slice) -> Clip:
        return self.windows.at(self.starts[chosen])

    def with_strange_actions(self, clip: Clip, chosen: slice, num_context: int) -> Clip:
        """The same frames and context, with the future actions and states of other clips."""
        other = self.windows.at(self.stranger[chosen])
        last = num_context - 1
        actions = torch.cat([clip.actions[:last], other.actions[last:]])
        states = None
        if clip.states is not None and other.states is not None:
            states = torch.cat([clip.states[:num_context], other.states[num_context:]])
        return Clip(clip.frames, actions, states)

    def episodes(self) -> NDArray[np.int64]:
        """(N,) the episode that each clip was cut from."""
        offsets = self.windows.store.ep_offset
        return np.searchsorted(offsets, self.starts, side="right") - 1

    def checksum(self) -> str:
        """SHA-256 of every frame, action and state scored, in order."""
        digest = hashlib.sha256()
        for first in range(0, len(self), READ_AT_ONCE):
            clip = self.batch(slice(first, first + READ_AT_ONCE))
            for tensor in (clip.frames, clip.actions, clip.states):
                if tensor is not None:
                    digest.update(np.ascontiguousarray(tensor.transpose(0, 1).numpy()).tobytes())
        return digest.hexdigest()


def with_zero_actions(clip: Clip, num_context: int) -> Clip:
    """The same context, then no command: actions of zero, and states held where they are."""
    actions = clip.actions.clone()
    actions[num_context - 1 :] = 0
    states = clip.states
    if states is not None:
        held = states[num_context - 1].expand_as(states[num_context:])
        states = torch.cat([states[:num_context], held])
    return Clip(clip.frames, actions, states)
