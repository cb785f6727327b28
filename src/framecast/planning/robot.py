"""Robots that are commanded by displacements of their end effector, in metres.

For those, costs can suggest candidates: paths instead of noise. Which numbers they are is read off
the names in the ClipSpec: states x, y, z and actions dx, dy, dz. Other robots plan without.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from framecast.clip import ClipSpec

POSITION, DISPLACEMENT = ("x", "y", "z"), ("dx", "dy", "dz")


@dataclass(frozen=True)
class Displacements:
    """Where a robot's position and displacement stand among its numbers.

    Attributes:
        position: indices of x, y, z in the state.
        moves: indices of dx, dy, dz in the action.
        max_step: (3,) largest displacement recorded either way.
        lowest, highest: (3,) recorded positions.
        typical_height: median-like height: the mean z of the recordings.
    """

    position: list[int]
    moves: list[int]
    num_actions: int
    max_step: Tensor
    lowest: Tensor
    highest: Tensor
    typical_height: float

    @classmethod
    def of(cls, spec: ClipSpec) -> Displacements | None:
        """None for a robot that does not name its numbers so."""
        if spec.state is None or not set(POSITION) <= set(spec.state.names):
            return None
        if not set(DISPLACEMENT) <= set(spec.action.names):
            return None
        position = [spec.state.names.index(name) for name in POSITION]
        moves = [spec.action.names.index(name) for name in DISPLACEMENT]
        low, high = torch.tensor(spec.action.low)[moves], torch.tensor(spec.action.high)[moves]
        return cls(
            position,
            moves,
            spec.action.size,
            torch.minimum(-low, high).clamp(min=1e-6),
            torch.tensor(spec.state.low)[position],
            torch.tensor(spec.state.high)[position],
            spec.state.mean[position[2]],
        )

    def commands(self, moves: Tensor) -> Tensor:
        """Moves (N, H, 3) -> commands (N, H, A); the other actions rest at 0."""
        whole = moves.new_zeros(*moves.shape[:2], self.num_actions)
        whole[..., self.moves] = moves
        return whole
