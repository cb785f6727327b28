"""stable-worldmodel's HDF5: one plain file a split, whatever the dataset's shards.

The clip spec and the kinds of the actions stay in the attributes, which other readers pass over.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from framecast.data.episodes import EpisodeStore, Split
from framecast.data.shards import write_lengths, write_spec


def export_swm(
    stores: dict[Split, EpisodeStore], folder: Path, progress: Callable[[int], None]
) -> None:
    for split, store in stores.items():
        with h5py.File(folder / f"{split}.h5", "w") as file:
            pixels = file.create_dataset("pixels", store.pixels.shape, "u1")
            for start, length in zip(store.ep_offset, store.ep_len, strict=True):
                rows = slice(int(start), int(start + length))
                pixels[rows] = store.pixels[rows]
                progress(1)
            file["action"] = np.asarray(store.action)
            if store.state is not None:
                file["state"] = np.asarray(store.state)
            write_lengths(file, store.ep_len.tolist())
            write_spec(file, store.spec, store.action_kinds)
