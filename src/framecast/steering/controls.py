"""The numbers of an action as a person sets them: names, ranges, and what they rest at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from framecast.clip import ClipSpec
from framecast.data.episodes import EpisodeStore

Action = NDArray[np.float32]

MAX_EPISODES = 60
# A number is a setting, not a motion, where neighbours in time correlate by more than SMOOTH, or
# where it mostly (STAYS) does not change from one step to the next once it is away from its rest.
SMOOTH, STAYS = 0.9, 0.7
AWAY = 0.05  # of the range


@dataclass(frozen=True)
class Controls:
    """How the numbers of an action are offered.

    Attributes:
        low, high: (A,) the bounds seen in training; commands are cut off at them.
        holds: (A,) whether a number stays where it was set (a joint's target, a gripper) or springs
            back to `rest` when it is let go (a displacement).
        rest: (A,) what a number that springs back rests at.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    low: Action
    high: Action
    holds: tuple[bool, ...]
    rest: Action

    @classmethod
    def of(cls, spec: ClipSpec, store: EpisodeStore | None) -> Controls:
        """Controls for clips of this kind; recordings tell which numbers hold."""
        vector = spec.action
        low, high = np.array(vector.low, np.float32), np.array(vector.high, np.float32)
        rest = np.clip(np.zeros(vector.size, np.float32), low, high)
        holds = tuple(name == "gripper" for name in vector.names)
        if store is not None:
            holds = tuple(_holds(store, rest, high - low).tolist())
        return cls(vector.names, vector.units, low, high, holds, rest)

    def bounded(self, action: Action) -> Action:
        """The action, cut off at the bounds seen in training."""
        return np.clip(action, self.low, self.high)

    def to_dict(self) -> dict[str, Any]:
        return {
            "names": self.names,
            "units": self.units,
            "low": self.low.tolist(),
            "high": self.high.tolist(),
            "holds": self.holds,
            "rest": self.rest.tolist(),
        }


def _holds(store: EpisodeStore, rest: Action, span: Action) -> NDArray[np.bool_]:
    """(A,) which numbers hold, from how they change from one step to the next within episodes."""
    chosen = np.linspace(0, store.num_episodes - 1, min(MAX_EPISODES, store.num_episodes))
    episodes = [store.episode(int(index)).actions for index in np.unique(chosen.astype(int))]
    now = np.concatenate([actions[:-1] for actions in episodes]).astype(np.float64)
    then = np.concatenate([actions[1:] for actions in episodes]).astype(np.float64)
    if not len(now):
        return np.zeros(store.spec.action.size, bool)
    away = np.abs(now - rest) > AWAY * span
    same = away & (np.abs(then - now) <= 1e-3 * span)
    stays = same.sum(axis=0) > STAYS * np.maximum(away.sum(axis=0), 1)
    now, then = now - now.mean(axis=0), then - then.mean(axis=0)
    scale = np.sqrt((now**2).sum(axis=0) * (then**2).sum(axis=0))
    smooth = (now * then).sum(axis=0) > SMOOTH * np.maximum(scale, 1e-12)
    holds: NDArray[np.bool_] = stays | smooth
    return holds
