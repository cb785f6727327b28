"""The store: episodes on disk, one HDF5 file a split, in the layout of stable-worldmodel.

A dataset is a folder with `train.h5` and, where they hold any episode, `validation.h5` and
`test.h5`. Each file has one dataset a column, all episodes end to end:

    pixels     uint8   (N, H, W, C)
    action     float32 (N, A)   the last row of an episode has no effect and is zero
    state      float32 (N, S)   only where the recording has states
    ep_len     int32   (E,)
    ep_offset  int64   (E,)

and the ClipSpec as JSON in the attribute `clip_spec`. Columns are contiguous, so that they can be
memory-mapped. In a large split `pixels` is a virtual dataset over shards, files beside this one
that are contiguous again. `writer.py` writes a dataset.

A dataset may lie behind a URL that fsspec knows (`s3://bucket/pusher`): its small columns are read
at once, pixels as they are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from framecast.clip import ClipSpec
from framecast.data.columns import Columns, read_columns
from framecast.data.header import ActionKind
from framecast.data.rows import as_url, remote_filesystem
from framecast.errors import UserError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Episode:
    """One unbroken recording.

    Shape:
        frames: (T, H, W, C) uint8
        actions: (T - 1, A) float32
        states: (T, S) float32 or None
    """

    frames: NDArray[np.uint8]
    actions: NDArray[np.float32]
    states: NDArray[np.float32] | None
    name: str

    def check(self) -> None:
        """Raises UserError for frames of a wrong kind; a dataset's Header checks the numbers."""
        if self.frames.ndim != 4 or self.frames.dtype != np.uint8 or not len(self.frames):
            raise UserError(
                f"{self.name}: expected uint8 frames (T, H, W, C), "
                f"got {self.frames.dtype} {self.frames.shape}."
            )


class EpisodeStore:
    """One split of a dataset, memory-mapped and read-only.

    Attributes:
        pixels: (N, H, W, C) uint8; of shards or behind a URL, `Rows`, which is indexed like it
        action: (N, A) float32
        state: (N, S) float32 or None
        ep_len, ep_offset: (E,) length and first row of each episode
        action_kinds: displacement or target, of every action; empty where it is not known

    Raises UserError when the file is missing, cut off or inconsistent.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        columns = _read(path)
        self.spec: ClipSpec = columns.spec
        self.pixels: NDArray[np.uint8] = columns.pixels
        self.action: NDArray[np.float32] = columns.action
        self.state: NDArray[np.float32] | None = columns.state
        self.ep_len: NDArray[np.int64] = columns.ep_len
        self.ep_offset: NDArray[np.int64] = columns.ep_offset
        self.action_kinds: tuple[ActionKind, ...] = columns.action_kinds
        self._check()

    @classmethod
    def open(cls, dataset: Path | str, split: Split) -> EpisodeStore:
        if as_url(dataset) is None and not Path(dataset).is_dir():
            raise UserError(
                f"{dataset} is not a dataset folder. "
                "Make one with `framecast record` or `framecast import`."
            )
        return cls(
            f"{as_url(dataset)}/{split}.h5" if as_url(dataset) else Path(dataset, f"{split}.h5")
        )

    @staticmethod
    def splits(dataset: Path | str) -> list[Split]:
        """The splits that a dataset has, here or behind a URL."""
        url = as_url(dataset)
        if url is None:
            return [split for split in SPLITS if Path(dataset, f"{split}.h5").is_file()]
        filesystem, path = remote_filesystem(url)
        return [split for split in SPLITS if filesystem.isfile(f"{path}/{split}.h5")]

    @property
    def num_episodes(self) -> int:
        return len(self.ep_len)

    def episode(self, index: int) -> Episode:
        rows = slice(self.ep_offset[index], self.ep_offset[index] + self.ep_len[index])
        return Episode(
            np.array(self.pixels[rows]),
            np.array(self.action[rows][:-1]),
            None if self.state is None else np.array(self.state[rows]),
            name=f"{self.path}, episode {index}",
        )

    def _check(self) -> None:
        num_rows = len(self.pixels)
        whole = (
            len(self.ep_len) == len(self.ep_offset) > 0
            and int(self.ep_len.min()) > 0
            and np.array_equal(self.ep_offset, np.cumsum(self.ep_len) - self.ep_len)
            and int(self.ep_len.sum()) == num_rows == len(self.action)
            and (self.state is None or len(self.state) == num_rows)
        )
        spec = self.spec
        fits = (
            self.pixels.shape[1:] == (spec.height, spec.width, spec.channels)
            and self.action.shape[1] == spec.action.size
            and (self.state is None) == (spec.state is None)
            and (self.state is None or spec.state is None or self.state.shape[1] == spec.state.size)
        )
        if not (whole and fits):
            raise UserError(
                f"{self.path}: columns, episode lengths and clip spec do not fit each other. "
                "Record or import it again."
            )


def _read(path: Path | str) -> Columns:
    url = as_url(path)
    if url is None and not Path(path).is_file():
        raise UserError(f"{path} is not there. {_what_is_there(Path(path).parent)}")
    try:
        return read_columns(Path(path), url)
    except FileNotFoundError:
        raise UserError(f"{url or path} is not there.") from None
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is not a whole framecast store ({error}). "
            "It may have been cut off while copying: copy, record or import it again."
        ) from None


def _what_is_there(folder: Path) -> str:
    found = sorted(file.stem for file in folder.glob("*.h5"))
    if not found:
        return f"{folder} holds no split of a dataset."
    return f"The dataset has the splits: {', '.join(found)}."
