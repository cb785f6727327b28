"""framecast's own datasets, to be imported again at another size or rate, or looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from framecast.data.episodes import SPLITS, EpisodeStore, Split
from framecast.data.formats.base import Keys, RawEpisode, Signals, kinds_by_name
from framecast.data.formats.hdf5 import open_hdf5
from framecast.errors import UserError

FRAMES_AT_ONCE = 256


class StoreReader:
    """A dataset folder, or the file of one split."""

    format: ClassVar[str] = "framecast"

    def __init__(self, path: Path, keys: Keys) -> None:
        files = _files(path)
        self.stores = [EpisodeStore(file) for file in files]
        if not self.stores:
            raise UserError(f"{path} holds no split of a framecast dataset.")
        spec = self.stores[0].spec
        self.episodes = [
            (store, index) for store in self.stores for index in range(store.num_episodes)
        ]
        self.fps = spec.fps
        self.signals = _signals(self.stores[0])
        self.frames_hint = int(np.median(self.stores[0].ep_len))
        self.what = f"a framecast dataset of {len(self.episodes)} episodes ({spec.source})"
        self.notes: list[str] = []
        self.faults: list[str] = []
        self.own_splits: list[Split] | None = None
        if path.is_dir():
            self.own_splits = [_split_of(store) for store, _ in self.episodes]

    @staticmethod
    def fits(path: Path) -> bool:
        for file in _files(path):
            try:
                with open_hdf5(file) as opened:
                    return "clip_spec" in opened.attrs
            except UserError:
                return path.is_dir()
        return False

    def __len__(self) -> int:
        return len(self.episodes)

    def read(self, index: int, every: int) -> RawEpisode:
        store, number = self.episodes[index]
        start = int(store.ep_offset[number])
        rows = slice(start, start + int(store.ep_len[number]))
        return RawEpisode(
            f"{store.path}, episode {number}",
            _frames(store, rows, every),
            np.array(store.action[rows][:-1]),
            None if store.state is None else np.array(store.state[rows]),
        )


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [file for file in (path / f"{split}.h5" for split in SPLITS) if file.is_file()]


def _split_of(store: EpisodeStore) -> Split:
    return next(split for split in SPLITS if split == store.path.stem)


def _signals(store: EpisodeStore) -> Signals:
    action, state = store.spec.action, store.spec.state
    names, units = ((), ()) if state is None else (state.names, state.units)
    kinds = store.action_kinds or kinds_by_name(action.names, "displacement")
    return Signals(action.names, action.units, kinds, names, units)


def _frames(store: EpisodeStore, rows: slice, every: int) -> Iterator[NDArray[np.uint8]]:
    for start in range(rows.start, rows.stop, every * FRAMES_AT_ONCE):
        stop = min(start + every * FRAMES_AT_ONCE, rows.stop)
        yield from store.pixels[start:stop:every]
