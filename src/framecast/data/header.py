"""What is known of a dataset before its first episode is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from framecast.errors import UserError

ActionKind = Literal["displacement", "target"]


@dataclass(frozen=True)
class Header:
    """Sizes, rate, and the names and units of every number; every episode has to fit.

    Args:
        action_kinds: `displacement` or `target` for each number, where it is known.
    """

    height: int
    width: int
    channels: int
    fps: float
    action_names: tuple[str, ...]
    action_units: tuple[str, ...]
    state_names: tuple[str, ...]
    state_units: tuple[str, ...]
    source: str
    action_kinds: tuple[ActionKind, ...] = ()

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        return (self.height, self.width, self.channels)

    def check_frame(self, shape: tuple[int, ...], episode: str) -> None:
        if shape != self.frame_shape:
            raise UserError(
                f"{episode}: expected frames of {self.frame_shape} (height, width, channels) as in "
                f"the rest of the dataset, got {shape}."
            )

    def check_numbers(
        self,
        actions: NDArray[np.float32],
        states: NDArray[np.float32] | None,
        num_frames: int,
        episode: str,
    ) -> None:
        """Raises UserError for a wrong number of rows or columns, or a value that is not finite."""
        _check_rows("actions", actions, num_frames - 1, num_frames, episode)
        if states is not None:
            _check_rows("states", states, num_frames, num_frames, episode)
        for what, names, rows in (
            ("action", self.action_names, actions),
            ("state", self.state_names, states),
        ):
            size = 0 if rows is None else rows.shape[1]
            if size != len(names):
                raise UserError(
                    f"{episode}: expected {len(names)} {what} numbers ({', '.join(names)}), "
                    f"got {size}."
                )


def _check_rows(
    what: str, rows: NDArray[np.float32], expected: int, num_frames: int, episode: str
) -> None:
    if rows.ndim != 2 or len(rows) != expected:
        raise UserError(f"{episode}: {num_frames} frames need {expected} {what}, got {len(rows)}.")
    if not np.isfinite(rows).all():
        row = int(np.argwhere(~np.isfinite(rows))[0, 0])
        raise UserError(f"{episode}: {what} hold a value that is not finite in row {row}.")
