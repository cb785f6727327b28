"""What a recording holds, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from framecast.data.episodes import SPLITS
from framecast.data.formats.base import RawEpisode, Reader
from framecast.data.geometry import Geometry
from framecast.data.statistics import Moments
from framecast.errors import UserError

LOOKED_AT = 8  # episodes, where not all are read
SHEET_ROWS, SHEET_FRAMES, SHEET_SIDE = 8, 8, 96
MAX_KEPT_ROWS = 200_000  # of numbers, for histograms
Progress = Callable[[int], None]


@dataclass
class Numbers:
    """What is known of the actions, or of the states: moments of all, and rows for histograms."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    moments: Moments = field(default_factory=Moments)
    kept: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, rows: NDArray[np.float32]) -> None:
        self.moments.add(rows)
        if sum(map(len, self.kept)) < MAX_KEPT_ROWS:
            self.kept.append(rows)

    def column(self, index: int) -> NDArray[np.float32]:
        return np.concatenate([rows[:, index] for rows in self.kept])

    @property
    def constant(self) -> list[str]:
        """Names of numbers that never change."""
        moments = self.moments
        if not moments.count:
            return []
        still = moments.low == moments.high
        return [name for name, its in zip(self.names, still, strict=True) if its]


@dataclass
class Inspection:
    """What was seen of `episodes_read` of the `episodes`.

    Attributes:
        sizes: how many of the episodes read have frames of (width, height).
        lengths: frames of each episode read.
        problems: what is broken, each line with its file and place.
        sheet: frames of the first episodes, small, for a contact sheet.
    """

    format: str
    what: str
    episodes: int
    fps: float
    splits: dict[str, int]
    actions: Numbers
    states: Numbers
    notes: list[str]
    problems: list[str]
    episodes_read: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    lengths: list[int] = field(default_factory=list)
    sheet: dict[str, NDArray[np.uint8]] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        return self.episodes_read == self.episodes


def inspect(reader: Reader, check: bool, progress: Progress) -> Inspection:
    """Read some episodes, or every one with `check`; a broken one becomes a problem."""
    signals, splits = reader.signals, reader.own_splits or []
    inspection = Inspection(
        format=reader.format,
        what=reader.what,
        episodes=len(reader),
        fps=reader.fps,
        splits={split: splits.count(split) for split in SPLITS if split in splits},
        actions=Numbers(signals.action_names, signals.action_units),
        states=Numbers(signals.state_names, signals.state_units),
        notes=[],
        problems=list(reader.faults),
    )
    for index in episodes_to_read(len(reader), check):
        try:
            _look_at(reader.read(index, 1), reader.frames_hint, inspection)
        except UserError as error:
            inspection.problems.append(str(error))
        inspection.episodes_read += 1
        progress(1)
    inspection.notes = _notes(reader, inspection)
    return inspection


def episodes_to_read(count: int, check: bool) -> list[int]:
    """All, or some that are spread evenly."""
    if check or count <= LOOKED_AT:
        return list(range(count))
    return sorted(set(np.linspace(0, count - 1, LOOKED_AT).astype(int).tolist()))


def _look_at(raw: RawEpisode, frames_hint: int, inspection: Inspection) -> None:
    expected = frames_hint if raw.actions is None else len(raw.actions) + 1
    shown = set(np.linspace(0, max(expected - 1, 0), SHEET_FRAMES).astype(int).tolist())
    wants_sheet = len(inspection.sheet) < SHEET_ROWS
    small, count, changes, before = [], 0, 0, None
    size = (0, 0)
    for frame in raw.frames:
        size = (frame.shape[1], frame.shape[0])
        changes += before is not None and not np.array_equal(frame, before)
        if wants_sheet and count in shown:
            small.append(Geometry(SHEET_SIDE, "letterbox").apply(frame))
        before, count = frame, count + 1
    if small:
        inspection.sheet[f"{len(inspection.lengths)}"] = np.stack(small)
    inspection.sizes[size] += 1
    inspection.lengths.append(count)
    if count > 1 and not changes:
        inspection.problems.append(f"{raw.name}: all {count} frames are the same.")
    for what, rows, numbers in (
        ("actions", raw.actions, inspection.actions),
        ("states", raw.states, inspection.states),
    ):
        if rows is not None and rows.shape[1]:
            _take_numbers(what, rows, numbers, raw.name, inspection)


def _take_numbers(
    what: str,
    rows: NDArray[np.float32],
    numbers: Numbers,
    name: str,
    inspection: Inspection,
) -> None:
    sound = np.isfinite(rows).all(axis=1)
    if not sound.all():
        row = int(np.flatnonzero(~sound)[0])
        inspection.problems.append(f"{name}: {what} hold a value that is not finite in row {row}.")
    numbers.add(rows[sound])


def _notes(reader: Reader, inspection: Inspection) -> list[str]:
    notes = list(dict.fromkeys(reader.notes))
    for what, numbers in (("actions", inspection.actions), ("states", inspection.states)):
        if numbers.constant:
            notes.append(f"{what} that never change: {', '.join(numbers.constant)}")
    if len(inspection.sizes) > 1:
        sizes = ", ".join(f"{count} of {w}x{h}" for (w, h), count in inspection.sizes.items())
        notes.append(f"frames are of several sizes: {sizes} episodes")
    return notes
