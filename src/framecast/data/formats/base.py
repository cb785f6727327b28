"""What every reader of recordings offers.

A reader looks at a path once, says what is there, and then gives one episode at a time. Nothing it
reads is trusted: sizes are bounded, nothing is unpickled, and every fault is a UserError that
names the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from framecast.data.episodes import Split
from framecast.data.header import ActionKind
from framecast.errors import UserError, did_you_mean

MAX_IMAGE_SIDE = 8192
GRIPPER_WORDS = ("gripper", "close", "hand", "finger")
DISPLACEMENT_WORDS = ("delta", "displacement", "velocity", "world_vector")
DISPLACEMENT_NAMES = ("dx", "dy", "dz", "dtheta", "droll", "dpitch", "dyaw")


@dataclass(frozen=True)
class Keys:
    """Which of a source's columns to read; None lets the reader choose, and say so."""

    camera: str | None = None
    action: str | None = None
    state: str | None = None


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
        actions: (T - 1, A) float32 for all T frames, or None where the format has no actions.
        states: (T, S) float32 or None.
    """

    name: str
    frames: Iterator[NDArray[np.uint8]]
    actions: NDArray[np.float32] | None
    states: NDArray[np.float32] | None


class Reader(Protocol):
    """One recording format.

    Readers hold no open file, so that they can be sent to other processes.

    Attributes:
        format: the name for `--format`.
        what: one line on what was found.
        notes: lines on what was guessed or passed over; may grow while episodes are read.
        faults: lines on what is there but cannot even be counted as an episode.
        frames_hint: frames of a usual episode, about.
        own_splits: the split of every episode where the source defines it.
    """

    format: ClassVar[str]
    what: str
    notes: list[str]
    faults: list[str]
    fps: float
    signals: Signals
    frames_hint: int
    own_splits: list[Split] | None

    def __init__(self, path: Path, keys: Keys) -> None: ...

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


def kinds_by_name(names: tuple[str, ...], otherwise: ActionKind) -> tuple[ActionKind, ...]:
    """Grippers take the last command; what calls itself a displacement adds up."""
    return tuple(_kind_by_name(name.lower(), otherwise) for name in names)


def _kind_by_name(name: str, otherwise: ActionKind) -> ActionKind:
    if name in DISPLACEMENT_NAMES or any(word in name for word in DISPLACEMENT_WORDS):
        return "displacement"
    return "target" if any(word in name for word in GRIPPER_WORDS) else otherwise


def choose(wanted: str | None, there: Iterable[str], usual: Iterable[str], what: str) -> str:
    """The key to read: the one asked for, else the first usual one, else the first there is."""
    known = list(there)
    if wanted is not None and wanted not in known:
        hint = did_you_mean(wanted, known)
        raise UserError(f"There is no {what} {wanted!r}; there is {', '.join(known)}.{hint}")
    if not known:
        raise UserError(f"There is no {what} among the columns.")
    return wanted or next((key for key in usual if key in known), known[0])


def require_inside(root: Path, path: Path) -> None:
    """Raises UserError for a symbolic link that leads out of what is being imported."""
    if not path.resolve().is_relative_to(root.resolve()):
        raise UserError(f"{path} is a link that leads out of {root}; copy what it points to.")


def check_image_size(width: int, height: int, where: str) -> None:
    if not (0 < width <= MAX_IMAGE_SIDE and 0 < height <= MAX_IMAGE_SIDE):
        raise UserError(
            f"{where}: frames of {width}x{height} are beyond {MAX_IMAGE_SIDE} pixels a side."
        )
