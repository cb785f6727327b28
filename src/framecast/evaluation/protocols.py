"""Protocols: everything that decides a score, written beside it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from framecast.data.episodes import Split

StateUse = Literal["given", "predicted"]
WindowChoice = Literal["all", "first"]


@dataclass(frozen=True)
class Protocol:
    """How a model is scored.

    Args:
        name: names the file of scores.
        context: true frames given.
        horizon: frames predicted and scored.
        windows: all (the windows that tile every episode from its start) or first (the first
            frames of every episode, as published for BAIR).
        split: train, validation or test.
        states: whether a model that conditions on states is given the true future ones.
        num_samples: sampled futures a clip, each from its own noise.
        seed: names the noise.
    """

    name: str
    context: int
    horizon: int
    windows: WindowChoice = "all"
    split: Split = "test"
    states: StateUse = "given"
    num_samples: int = 1
    seed: int = 0

    @property
    def num_frames(self) -> int:
        return self.context + self.horizon

    def to_dict(self) -> dict[str, str | int]:
        return dataclasses.asdict(self)


COURSE = Protocol(name="course", context=2, horizon=10)
