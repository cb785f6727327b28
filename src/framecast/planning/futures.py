"""What planning looks at: the present, and the futures imagined from it.

Shape letters: K context frames, P predicted frames, B futures, C H W image, A action, S state,
M marks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor


@dataclass(frozen=True)
class Present:
    """What is known now. A planner sees nothing else.

    Attributes:
        frames: (K, C, H, W) floats in [0, 1], the latest last.
        actions: (K - 1, A) that led from each frame to the next, in the recording's units.
        states: (K, S) in the recording's units, or None.
        places: (M, 2) pixels (across, down) where the cost's marks are in the latest frame.
    """

    frames: Tensor
    actions: Tensor
    states: Tensor | None
    places: Tensor


@dataclass(frozen=True)
class Futures:
    """Imagined futures of some candidates.

    Attributes:
        frames: (P, B, C, H, W) in [0, 1].
        actions: (P, B, A) in the recording's units.
        states: (P, B, S) predicted, in the recording's units; None for a model that predicts none.
        tracks: (P, B, M, 2) pixels (across, down) where each mark is expected.
    """

    frames: Tensor
    actions: Tensor
    states: Tensor | None
    tracks: Tensor


@runtime_checkable
class Advecting(Protocol):
    """A rollout state that knows how its picture moved in the last step.

    Models that compose a frame by moving pixels offer it on their RolloutState: marks are then
    carried along by the model's own flow instead of being searched for in its pictures (Finn and
    Levine 2017 move designated pixels this way).
    """

    def advect(self, maps: Tensor) -> Tensor:
        """Maps (B, M, H, W) over the previous frame, moved as the step moved its pixels."""
        ...
