"""The course's folders: numbered PNG frames beside headerless CSV tables, 256 sequences a folder.

Pixels and numbers come back exactly; names, units and the frame rate have no place in the format.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from framecast.data.episodes import EpisodeStore, Split
from framecast.data.formats.course import ACTIONS, POSITIONS

FOLDERS: dict[Split, str] = {"train": "train", "validation": "validate", "test": "test"}
BLOCK = 256


def block_name(index: int) -> str:
    """The name of the file or folder that BAIR keeps sequence `index` in."""
    first = index // BLOCK * BLOCK
    return f"traj_{first}_to_{first + BLOCK - 1}.tfrecords"


def export_course(
    stores: dict[Split, EpisodeStore], folder: Path, progress: Callable[[int], None]
) -> None:
    for split, store in stores.items():
        for index in range(store.num_episodes):
            place = folder / FOLDERS[split] / block_name(index) / str(index % BLOCK)
            _write(store, index, place)
            progress(1)


def _write(store: EpisodeStore, index: int, folder: Path) -> None:
    episode = store.episode(index)
    folder.mkdir(parents=True)
    for step, frame in enumerate(episode.frames):
        Image.fromarray(frame).save(folder / f"{step}.png")
    if store.spec.action.size:
        rows = np.asarray(store.action[_rows(store, index)])  # the last row has no effect
        _write_table(folder / ACTIONS, rows)
    if episode.states is not None:
        _write_table(folder / POSITIONS, episode.states)


def _rows(store: EpisodeStore, index: int) -> slice:
    start = int(store.ep_offset[index])
    return slice(start, start + int(store.ep_len[index]))


def _write_table(path: Path, rows: NDArray[np.float32]) -> None:
    """Nine digits name a float32 exactly."""
    lines = (",".join(f"{value:.9g}" for value in row) for row in rows.tolist())
    path.write_text("".join(f"{line}\n" for line in lines))
