"""Recordings of any format -> a dataset: size, rate and splits.

Where frames are dropped, the commands of the dropped frames are composed: with every k-th frame
kept, the action from kept frame i to kept frame i + 1 is made of the source's actions i k up to
i k + k - 1. Displacements add up; of absolute targets the last one holds. The kind of each number
is the reader's to know (BAIR's are displacements; LeRobot's are targets unless their name says
`delta`), and `--actions` overrides it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from framecast.data.episodes import SPLITS, Episode, Split
from framecast.data.formats.base import ActionKind, RawEpisode, Reader
from framecast.data.splits import assign_splits
from framecast.data.writer import DatasetWriter, Header
from framecast.errors import UserError

Fit = Literal["crop", "letterbox"]
SIZE_STEP = 16
Progress = Callable[[int], None]


@dataclass(frozen=True)
class ImportOptions:
    """How recordings become a dataset.

    Args:
        size: pixels a side.
        fit: crop the middle square, or letterbox the whole frame with black borders.
        fps: frames a second; None keeps the source's.
        action_kind: overrides the kind of every action.
        fractions: of train, validation and test; None takes the source's own splits, or .8 .1 .1.
    """

    size: int = 64
    fit: Fit = "crop"
    fps: float | None = None
    action_kind: ActionKind | None = None
    fractions: tuple[float, float, float] | None = None
    split_seed: int = 0

    def __post_init__(self) -> None:
        if self.size < SIZE_STEP or self.size % SIZE_STEP:
            raise UserError(f"--size should be a multiple of {SIZE_STEP}, got {self.size}.")


@dataclass(frozen=True)
class Imported:
    """What an import made, for people."""

    episodes: dict[Split, int]
    frames: int
    fps: float
    fitted: str
    composed: str


def import_recordings(
    reader: Reader, out: Path, options: ImportOptions, overwrite: bool, progress: Progress
) -> Imported:
    """Write the dataset; nothing of its name is there until it is whole."""
    every = keep_every(reader.fps, options.fps)
    kinds = _kinds(reader, options)
    splits = _splits(reader, options)
    composed = _describe(kinds, every)
    fitted = f"{options.size}x{options.size}, " + (
        "middle square" if options.fit == "crop" else "letterboxed"
    )
    signals = reader.signals
    header = Header(
        height=options.size,
        width=options.size,
        channels=3,
        fps=reader.fps / every,
        action_names=signals.action_names,
        action_units=signals.action_units,
        state_names=signals.state_names,
        state_units=signals.state_units,
        source=f"imported: {reader.what}; {fitted}; {composed}",
    )
    frames = 0
    with DatasetWriter(out, header, overwrite) as writer:
        for index, split in enumerate(splits):
            episode = _episode(reader.read(index, every), every, kinds, options)
            writer.add(split, episode)
            frames += len(episode.frames)
            progress(1)
    counts = {split: splits.count(split) for split in SPLITS if split in splits}
    return Imported(counts, frames, header.fps, fitted, composed)


def keep_every(source_fps: float, fps: float | None) -> int:
    """Which frames to keep. Raises UserError for a rate that is no whole part of the source's."""
    if fps is None:
        return 1
    every = round(source_fps / fps) if fps > 0 else 0
    if every < 1 or abs(source_fps / every - fps) > 1e-6:
        possible = ", ".join(f"{source_fps / part:g}" for part in range(1, 7))
        raise UserError(
            f"--fps {fps:g} is no whole part of the recordings' {source_fps:g} frames a second. "
            f"Possible are {possible}, and so on."
        )
    return every


def compose_actions(
    actions: NDArray[np.float32], every: int, kinds: tuple[ActionKind, ...]
) -> NDArray[np.float32]:
    """(T - 1, A) at the source's rate -> (ceil(T / every) - 1, A) between kept frames."""
    num_kept = len(actions) // every
    intervals = actions[: num_kept * every].reshape(num_kept, every, -1)
    adds_up = np.array([kind == "displacement" for kind in kinds])
    return np.where(adds_up, intervals.sum(axis=1), intervals[:, -1]).astype(np.float32)


def fit_frame(frame: NDArray[np.uint8], size: int, fit: Fit) -> NDArray[np.uint8]:
    """Any (H, W, 3) -> (size, size, 3), averaging over areas; one of that size is kept."""
    height, width = frame.shape[:2]
    if (height, width) == (size, size):
        return frame
    image = Image.fromarray(frame)
    if fit == "crop":
        side = min(height, width)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        return np.asarray(image.resize((size, size), Image.Resampling.BOX, box=box))
    scale = size / max(height, width)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = Image.new("RGB", (size, size))
    corner = ((size - inner[0]) // 2, (size - inner[1]) // 2)
    canvas.paste(image.resize(inner, Image.Resampling.BOX), corner)
    return np.asarray(canvas)


def _episode(
    raw: RawEpisode, every: int, kinds: tuple[ActionKind, ...], options: ImportOptions
) -> Episode:
    frames = [fit_frame(frame, options.size, options.fit) for frame in raw.frames]
    return Episode(
        np.stack(frames),
        compose_actions(raw.actions, every, kinds),
        None if raw.states is None else raw.states[::every],
        raw.name,
    )


def _kinds(reader: Reader, options: ImportOptions) -> tuple[ActionKind, ...]:
    kinds = reader.signals.action_kinds
    return kinds if options.action_kind is None else (options.action_kind,) * len(kinds)


def _splits(reader: Reader, options: ImportOptions) -> list[Split]:
    if options.fractions is None and reader.own_splits is not None:
        return reader.own_splits
    fractions = options.fractions or (0.8, 0.1, 0.1)
    splits = assign_splits(len(reader), fractions, options.split_seed)
    if set(splits) == {"train"} and fractions[0] < 1:
        reader.notes.append(f"{len(reader)} episodes are too few to split: all of them train")
    return splits


def _describe(kinds: tuple[ActionKind, ...], every: int) -> str:
    if every == 1:
        return "every frame and action"
    sums, lasts = kinds.count("displacement"), kinds.count("target")
    rules = [
        *([f"{sums} numbers added up"] if sums else []),
        *([f"{lasts} numbers taken from the last"] if lasts else []),
    ]
    return f"one frame in {every}; of the {every} commands between, {', '.join(rules)}"
