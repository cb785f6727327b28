"""What every reader of recordings offers.

A reader looks at a path once, says what is there, and then gives one episode at a time. Nothing it
reads is trusted: sizes are bounded, nothing is unpickled, and every fault is a UserError that
names the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from framecast.data.episodes import Split
from framecast.errors import UserError

ActionKind = Literal["displacement", "target"]
MAX_IMAGE_SIDE = 8192


@dataclass(frozen=True)
class Signals:
    """What the numbers of a recording mean.

    Args:
        action_kinds: displacements add up over dropped frames, of absolute targets the last holds.
    """

    action_names: tuple[str, ...]
    action_units: tuple[str, ...]
    action_kinds: tuple[ActionKind, ...]
    state_names: tuple[str, ...] = ()
    state_units: tuple[str, ...] = ()


@dataclass(frozen=True)
class RawEpisode:
    """One recording at its own rate and size.

    Attributes:
        frames: every k-th frame, (H, W, 3) uint8, read as it is asked for; the reader checks the
            whole video against the table when the last frame has been read.
        actions: (T - 1, A) float32 for all T frames.
        states: (T, S) float32 or None.
    """

    name: str
    frames: Iterator[NDArray[np.uint8]]
    actions: NDArray[np.float32]
    states: NDArray[np.float32] | None


class Reader(Protocol):
    """One recording format.

    Attributes:
        format: the name for `--format`.
        what: one line on what was found.
        notes: lines on what was guessed or passed over; may grow while episodes are read.
        own_splits: the split of every episode where the source defines it.
    """

    format: ClassVar[str]
    what: str
    notes: list[str]
    fps: float
    signals: Signals
    own_splits: list[Split] | None

    def __init__(self, path: Path, camera: str | None) -> None: ...

    @staticmethod
    def fits(path: Path) -> bool:
        """Whether the path looks like this format; cheap, and never an exception."""
        ...

    def __len__(self) -> int: ...

    def read(self, index: int, every: int) -> RawEpisode:
        """Episode `index` with every `every`-th frame."""
        ...


def commands(table: NDArray[np.float32], num_frames: int, where: str) -> NDArray[np.float32]:
    """The T - 1 actions of T frames from a table with one action a frame, or one fewer."""
    if len(table) == num_frames:
        return table[:-1]
    if len(table) == num_frames - 1:
        return table
    raise UserError(
        f"{where}: {num_frames} frames need {num_frames} or {num_frames - 1} actions, got "
        f"{len(table)}. The table and the video are not of the same recording, or one was cut off."
    )


def numbered(prefix: str, count: int) -> tuple[str, ...]:
    """`prefix_0`, `prefix_1`, ... for numbers without names."""
    return tuple(f"{prefix}_{index}" for index in range(count))


def check_image_size(width: int, height: int, where: str) -> None:
    if not (0 < width <= MAX_IMAGE_SIDE and 0 < height <= MAX_IMAGE_SIDE):
        raise UserError(
            f"{where}: frames of {width}x{height} are beyond {MAX_IMAGE_SIDE} pixels a side."
        )
