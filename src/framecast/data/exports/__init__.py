"""Writers of other people's formats, one a file, and the choice among them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from framecast.data.episodes import EpisodeStore, Split
from framecast.data.exports.course import export_course
from framecast.data.exports.lerobot import export_lerobot
from framecast.data.exports.swm import export_swm
from framecast.data.exports.tfrecord import export_tfrecord
from framecast.errors import UserError

Progress = Callable[[int], None]
Exporter = Callable[[dict[Split, EpisodeStore], Path, Progress], None]

EXPORTERS: dict[str, Exporter] = {
    "lerobot-v3": export_lerobot,
    "course": export_course,
    "swm-hdf5": export_swm,
    "tfrecord": export_tfrecord,
}


def open_splits(dataset: Path) -> dict[Split, EpisodeStore]:
    """Every split of a dataset. Raises UserError when there is none."""
    stores = {split: EpisodeStore.open(dataset, split) for split in EpisodeStore.splits(dataset)}
    if not stores:
        raise UserError(f"{dataset} is not a framecast dataset: it has no train.h5.")
    return stores


def export_dataset(
    stores: dict[Split, EpisodeStore], out: Path, format: str, overwrite: bool, progress: Progress
) -> None:
    """Write a folder; nothing of its name is there until it is whole."""
    if out.exists() and not overwrite:
        raise UserError(f"{out} exists already. Choose another --out, or add --overwrite.")
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    replaced = out.with_name(f".{out.name}.replaced-{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        EXPORTERS[format](stores, partial, progress)
        if out.exists():
            os.replace(out, replaced)
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)
