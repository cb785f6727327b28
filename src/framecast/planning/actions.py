"""What a planner may command: bounds and spread from the recordings, repeats, fixed dimensions.

Shape letters: N candidates, H steps, A action, D free dimensions, K decisions (H / repeat).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from framecast.clip import ClipSpec, VectorSpec
from framecast.errors import UserError, did_you_mean

BOUND_SLACK = 0.01  # of the range; float rounding and an environment that clips a hair earlier
SEEN_SHARE = 0.25  # of the environment's range that the recordings have to cover


@dataclass(frozen=True)
class ActionBox:
    """Free numbers around 0 -> commands in the recording's units, within their bounds.

    A free number of 1 is one standard deviation of the recorded actions from their mean, so that
    a planner draws what the model has seen. What leaves the recorded range is cut off at it.

    Attributes:
        repeat: how many steps each planned action lasts (BAIR's are constant over pairs).
        fixed: values of the dimensions that are not planned.
    """

    spec: VectorSpec
    repeat: int
    fixed: Mapping[str, float]

    @classmethod
    def of(
        cls, spec: ClipSpec, repeat: int = 1, fixed: Mapping[str, float] | None = None
    ) -> ActionBox:
        """Raises UserError for a fixed dimension that is unknown or out of its bounds."""
        fixed = fixed or {}
        names = spec.action.names
        for name, value in fixed.items():
            if name not in names:
                hint = did_you_mean(name, names) or f" Its actions are: {', '.join(names)}."
                raise UserError(f"The model has no action {name!r} to hold fixed.{hint}")
            low, high = (bound[names.index(name)] for bound in (spec.action.low, spec.action.high))
            if not low <= value <= high:
                raise UserError(
                    f"The action {name} was recorded between {low:g} and {high:g}; "
                    f"it cannot be held at {value:g}."
                )
        if len(fixed) == len(names):
            raise UserError("Every action is held fixed, so there is nothing to plan.")
        return cls(spec.action, repeat, fixed)

    @property
    def free(self) -> list[int]:
        """Indices of the dimensions that are planned."""
        return [i for i, name in enumerate(self.spec.names) if name not in self.fixed]

    @property
    def num_free(self) -> int:
        return len(self.free)

    def num_decisions(self, horizon: int) -> int:
        return -(-horizon // self.repeat)

    def limits(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest free numbers, (D,) each."""
        low, high, mean, std = self._free_statistics()
        return (low - mean) / std, (high - mean) / std

    def commands(self, numbers: Tensor, horizon: int) -> Tensor:
        """Free numbers (N, K, D) -> commands (N, H, A)."""
        low, high, mean, std = self._free_statistics()
        values = torch.maximum(torch.minimum(mean + std * numbers, high), low)
        whole = values.new_empty(*values.shape[:2], self.spec.size)
        for name, value in self.fixed.items():
            whole[..., self.spec.names.index(name)] = value
        whole[..., self.free] = values
        return whole.repeat_interleave(self.repeat, dim=1)[:, :horizon]

    def numbers(self, commands: Tensor) -> Tensor:
        """Commands (N, H, A) -> free numbers (N, K, D); repeated commands are averaged."""
        _, _, mean, std = self._free_statistics()
        free = (commands[..., self.free] - mean) / std
        blocks = torch.split(free, self.repeat, dim=1)
        return torch.stack([block.mean(dim=1) for block in blocks], dim=1)

    def require_same_bounds(
        self, low: NDArray[np.floating], high: NDArray[np.floating], env_id: str
    ) -> None:
        """Refuse an environment whose actions are not those that the model was trained on."""
        if low.shape != (self.spec.size,):
            raise UserError(
                f"The model takes {self.spec.size} actions ({', '.join(self.spec.names)}), but "
                f"{env_id} takes {low.size}. Plan in the environment that the data came from."
            )
        for index, name in enumerate(self.spec.names):
            mine = (self.spec.low[index], self.spec.high[index])
            theirs = (float(low[index]), float(high[index]))
            slack = BOUND_SLACK * (mine[1] - mine[0])
            outside = mine[0] < theirs[0] - slack or mine[1] > theirs[1] + slack
            barely_seen = mine[1] - mine[0] < SEEN_SHARE * (theirs[1] - theirs[0])
            if outside or (np.isfinite(theirs).all() and barely_seen):
                raise UserError(
                    f"The action {name} was recorded between {mine[0]:g} and {mine[1]:g}, but "
                    f"{env_id} takes {theirs[0]:g} to {theirs[1]:g}: other units, or another robot."
                )

    def _free_statistics(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        spec, free = self.spec, self.free
        low, high, mean, std = (
            torch.tensor(values)[free] for values in (spec.low, spec.high, spec.mean, spec.std)
        )
        return low, high, mean, std
