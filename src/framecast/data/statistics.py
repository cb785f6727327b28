"""Mean, spread and range of numbers that come in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from framecast.clip import VectorSpec

LEAST_STD = 1e-8


class Moments:
    """Grows by pieces of rows (N, D); Chan's update keeps it as exact as one pass over all."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: NDArray[np.float64] = np.zeros(0)
        self.squares: NDArray[np.float64] = np.zeros(0)
        self.low: NDArray[np.float64] = np.zeros(0)
        self.high: NDArray[np.float64] = np.zeros(0)

    def add(self, rows: NDArray[Any]) -> None:
        if not len(rows):
            return
        rows64 = rows.astype(np.float64)
        count, mean = len(rows64), rows64.mean(axis=0)
        squares = ((rows64 - mean) ** 2).sum(axis=0)
        low, high = rows64.min(axis=0), rows64.max(axis=0)
        if not self.count:
            self.count, self.mean, self.squares, self.low, self.high = (
                *(count, mean, squares),
                *(low, high),
            )
            return
        total, apart = self.count + count, mean - self.mean
        self.squares = self.squares + squares + apart**2 * (self.count * count / total)
        self.mean = self.mean + apart * (count / total)
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        self.count = total

    @property
    def std(self) -> NDArray[np.float64]:
        return np.sqrt(self.squares / max(self.count, 1))

    def vector_spec(self, names: Sequence[str], units: Sequence[str]) -> VectorSpec:
        """The statistics under names; all are 0 where there was no row."""
        blank = np.zeros(len(names))
        mean, std, low, high = (
            (self.mean, self.std, self.low, self.high) if self.count else (blank,) * 4
        )
        std = np.where(std < LEAST_STD, 1.0, std)
        return VectorSpec(
            names=tuple(names),
            units=tuple(units),
            mean=tuple(mean.tolist()),
            std=tuple(std.tolist()),
            low=tuple(low.tolist()),
            high=tuple(high.tolist()),
        )
