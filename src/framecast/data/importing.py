"""Recordings of any format -> a dataset.

The episodes are dealt out into shards before anything is read. Shards are the unit of work: each
is written by one process, whole or not at all, and a finished one is kept whatever happens to the
rest. The same command, run again after a kill, finds them and goes on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from framecast.data.episodes import SPLITS, Split
from framecast.data.formats.base import Reader
from framecast.data.geometry import Geometry
from framecast.data.header import ActionKind, Header
from framecast.data.import_work import Job, Progress, Result, Task, work_off
from framecast.data.locks import locked
from framecast.data.resampling import describe, keep_every, override_kinds
from framecast.data.shards import SHARD_BYTES
from framecast.data.splits import assign_splits
from framecast.data.writer import publish, refuse_existing, shard_name
from framecast.errors import UserError

LAYOUT = 1  # of the unfinished folder


@dataclass(frozen=True)
class ImportOptions:
    """How recordings become a dataset.

    Args:
        fps: frames a second; None keeps the source's.
        action_rules: `sum` or `last` for all numbers or for each; None leaves it to the reader.
        fractions: of train, validation and test; None takes the source's own splits, or .8 .1 .1.
        skip_broken: go on without the episodes that cannot be read, and report them.
        shard_bytes: pixels of a shard, about.
    """

    geometry: Geometry = field(default_factory=Geometry)
    fps: float | None = None
    action_rules: tuple[str, ...] | None = None
    fractions: tuple[float, float, float] | None = None
    split_seed: int = 0
    skip_broken: bool = False
    shard_bytes: int = SHARD_BYTES


@dataclass(frozen=True)
class Imported:
    """What an import made, for people."""

    episodes: dict[Split, int]
    frames: int
    fps: float
    composed: str
    left_out: list[str]
    notes: list[str]
    kept_shards: int


def import_recordings(
    reader: Reader,
    out: Path,
    options: ImportOptions,
    overwrite: bool,
    num_workers: int,
    progress: Progress,
) -> Imported:
    """Write the dataset; nothing of its name is there until it is whole."""
    refuse_existing(out, overwrite)
    if reader.faults and not options.skip_broken:
        raise UserError(reader.faults[0] + _or_skip(len(reader.faults)))
    every = keep_every(reader.fps, options.fps)
    names = reader.signals.action_names
    kinds = override_kinds(options.action_rules, reader.signals.action_kinds, names)
    composed = describe(names, kinds, every)
    header = _header(reader, options, every, kinds, composed)
    notes: list[str] = []
    splits = _splits(reader, options, notes)
    tasks = deal_out(splits, reader.frames_hint // every + 1, header, options.shard_bytes)
    job = Job(reader, header, options.geometry, every, kinds, options.skip_broken)
    partial = out.with_name(f".{out.name}.partial")
    plan = _plan_of(job, tasks, options)
    with locked(partial), _unfinished(partial, plan, options.shard_bytes, notes) as folder:
        kept = sum((folder / task.name).is_file() for task in tasks)
        results = work_off(job, tasks, folder, num_workers, progress)
        left_out = reader.faults + [line for result in results for line in result.left_out]
        _write_lines(folder / "left_out.txt", left_out)
        publish(folder, out, header)
    return Imported(
        _counts(results),
        sum(result.frames for result in results),
        header.fps,
        composed,
        left_out,
        notes + reader.notes + _new_notes(results, reader),
        kept,
    )


def deal_out(splits: list[Split], frames: int, header: Header, shard_bytes: int) -> list[Task]:
    """Consecutive episodes of one split to a shard, as many as about fill it."""
    episode_bytes = frames * header.height * header.width * header.channels
    size = max(1, shard_bytes // episode_bytes)
    tasks = []
    for split in SPLITS:
        mine = [index for index, its in enumerate(splits) if its == split]
        for number, start in enumerate(range(0, len(mine), size)):
            episodes = tuple(mine[start : start + size])
            tasks.append(Task(shard_name(split, number), split, episodes))
    return tasks


def _header(
    reader: Reader, options: ImportOptions, every: int, kinds: tuple[ActionKind, ...], composed: str
) -> Header:
    signals, size = reader.signals, options.geometry.size
    return Header(
        height=size,
        width=size,
        channels=3,
        fps=reader.fps / every,
        action_names=signals.action_names,
        action_units=signals.action_units,
        state_names=signals.state_names,
        state_units=signals.state_units,
        source=f"imported: {reader.what}; {options.geometry}; {composed}",
        action_kinds=kinds,
    )


def _splits(reader: Reader, options: ImportOptions, notes: list[str]) -> list[Split]:
    if options.fractions is None and reader.own_splits is not None:
        notes.append("splits as the source defines them")
        return reader.own_splits
    fractions = options.fractions or (0.8, 0.1, 0.1)
    splits = assign_splits(len(reader), fractions, options.split_seed)
    if set(splits) == {"train"} and fractions[0] < 1:
        notes.append(f"{len(reader)} episodes are too few to split: all of them train")
    return splits


@contextmanager
def _unfinished(partial: Path, plan: str, shard_bytes: int, notes: list[str]) -> Iterator[Path]:
    """The folder for shards: that of an interrupted import of the same plan, or a new one.

    It is removed on success, and on a failure before half a shard's worth was finished.
    """
    folder, plan_file = partial / "dataset", partial / "plan"
    if not plan_file.is_file() or plan_file.read_text() != plan:
        if folder.exists():
            notes.append("an unfinished import of other recordings or options was discarded")
            shutil.rmtree(folder)
        plan_file.write_text(plan)
    folder.mkdir(exist_ok=True)
    for leftover in (*folder.glob("*.raw"), *folder.glob("*.partial")):
        leftover.unlink(missing_ok=True)
    try:
        yield folder
    except BaseException as error:
        finished = [file.stat().st_size for file in folder.glob("*-*.h5")]
        if sum(finished) < shard_bytes / 2:
            shutil.rmtree(partial, ignore_errors=True)
        elif isinstance(error, UserError):
            raise UserError(
                f"{error} The {len(finished)} finished shards are kept in {partial}: the same "
                "command, with --skip-broken if you like, goes on from there."
            ) from None
        raise
    shutil.rmtree(partial, ignore_errors=True)


def _plan_of(job: Job, tasks: list[Task], options: ImportOptions) -> str:
    """A name for what is being imported and how: only shards of the same plan are kept."""
    chosen = dataclasses.asdict(options) | {"skip_broken": None}
    facts = [LAYOUT, job.reader.what, dataclasses.asdict(job.header), chosen, job.every]
    dealt = [(task.name, task.episodes) for task in tasks]
    text = json.dumps([facts, job.reader.faults, dealt], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _counts(results: list[Result]) -> dict[Split, int]:
    counts = {
        split: sum(result.episodes for result in results if result.split == split)
        for split in SPLITS
    }
    return {split: count for split, count in counts.items() if count}


def _new_notes(results: list[Result], reader: Reader) -> list[str]:
    notes = [line for result in results for line in result.notes]
    return [line for line in dict.fromkeys(notes) if line not in reader.notes]


def _write_lines(path: Path, lines: list[str]) -> None:
    if lines:
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _or_skip(count: int) -> str:
    more = f" ({count - 1} more faults of the kind.)" if count > 1 else ""
    return f"{more} --skip-broken goes on without what is lost."
