"""What really happens, for as long as it is known.

A simulator takes the same commands as the model; a recording plays on whatever is commanded, and
says so once the commands are no longer its own. A moment of truth is kept whole, so that going
back and branching need no replay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from framecast.data.episodes import Episode
from framecast.pusher.env import PusherEnv, Snapshot

Action = NDArray[np.float32]


@dataclass(frozen=True)
class TrueMoment:
    """One moment of what really happens.

    Attributes:
        frame: (H, W, C) uint8.
        state: (S,) float32 or None.
        commanded: whether all commands so far are those that led here.
        memory: what the truth needs in order to go on from here.
    """

    frame: NDArray[np.uint8]
    state: NDArray[np.float32] | None
    commanded: bool
    memory: Any

    @property
    def picture(self) -> NDArray[np.uint8]:
        """The frame in colour, (H, W, 3)."""
        return in_colour(self.frame)


def in_colour(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(..., C) -> (..., 3); grey becomes RGB."""
    return np.repeat(frames, 3, axis=-1) if frames.shape[-1] == 1 else frames


class Truth(Protocol):
    """Attributes:
    kind: simulator or recording.
    """

    kind: str

    def after(self, moment: TrueMoment, action: Action) -> TrueMoment | None:
        """The next moment, or None when the truth ends here."""
        ...

    def recorded_action(self, moment: TrueMoment) -> Action | None:
        """What was commanded at this moment of a recording; None at its end and elsewhere."""
        ...


class SimulatedTruth:
    """The built-in world, stepped with the same commands."""

    kind = "simulator"

    def __init__(self, env: PusherEnv) -> None:
        self.env = env
        self.present: Snapshot | None = None  # the snapshot at which the simulation stands

    def first(self, observation: dict[str, NDArray[Any]]) -> TrueMoment:
        """The moment at which the environment stands now."""
        return self._moment(observation)

    def after(self, moment: TrueMoment, action: Action) -> TrueMoment | None:
        if moment.memory is not self.present:
            self.env.restore(moment.memory)
        self.present = None
        try:
            observation, *_ = self.env.step(action)
        except RuntimeError:  # the simulation diverged
            return None
        return self._moment(observation)

    def recorded_action(self, moment: TrueMoment) -> Action | None:
        return None

    def _moment(self, observation: dict[str, NDArray[Any]]) -> TrueMoment:
        self.present = self.env.snapshot()
        return TrueMoment(observation["pixels"], observation["state"], True, self.present)


class RecordedTruth:
    """An episode, which plays on; `memory` is the number of its frame."""

    kind = "recording"

    def __init__(self, episode: Episode) -> None:
        self.episode = episode

    def at(self, frame: int, commanded: bool = True) -> TrueMoment:
        states = self.episode.states
        state = None if states is None else states[frame]
        return TrueMoment(self.episode.frames[frame], state, commanded, frame)

    def after(self, moment: TrueMoment, action: Action) -> TrueMoment | None:
        recorded = self.recorded_action(moment)
        if recorded is None:
            return None
        same = moment.commanded and np.array_equal(recorded, action)
        return self.at(moment.memory + 1, same)

    def recorded_action(self, moment: TrueMoment) -> Action | None:
        frame: int = moment.memory
        return self.episode.actions[frame] if frame < len(self.episode.actions) else None
