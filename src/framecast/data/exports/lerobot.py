"""LeRobotDataset v3.0: parquet tables, lossless H.264 video, and what finds one in the other.

The video is RGB without loss, so that what is imported again has the same pixels; files begin anew
at LeRobot's usual sizes. Everything but the video is read by any parquet and JSON reader.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from framecast.clip import ClipSpec, VectorSpec
from framecast.data.episodes import SPLITS, Episode, EpisodeStore, Split
from framecast.errors import UserError

VIDEO_KEY = "observation.images.main"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
FILES_A_CHUNK = 1000
DATA_MEGABYTES, VIDEO_MEGABYTES = 100, 200
TASK = "recorded"


def export_lerobot(
    stores: dict[Split, EpisodeStore], folder: Path, progress: Callable[[int], None]
) -> None:
    spec = next(iter(stores.values())).spec
    if not spec.action.size:
        raise UserError("LeRobot datasets hold actions, and this dataset has none.")
    video, table = _VideoFiles(folder, spec.fps), _TableFiles(folder)
    rows: list[dict[str, Any]] = []
    splits: dict[str, str] = {}
    for split in (split for split in SPLITS if split in stores):
        store, first = stores[split], len(rows)
        for index in range(store.num_episodes):
            episode = store.episode(index)
            rows.append(_row(len(rows), table.add(episode, spec), video.add(episode)))
            progress(1)
        splits[split] = f"{first}:{len(rows)}"
    video.close()
    table.close()
    _write_meta(folder, spec, rows, splits)


def _row(number: int, data: dict[str, Any], video: dict[str, Any]) -> dict[str, Any]:
    return {
        "episode_index": number,
        "tasks": [TASK],
        **data,
        **video,
        "meta/episodes/chunk_index": 0,
        "meta/episodes/file_index": 0,
    }


class _Files:
    """Files that begin anew when one is full, numbered within chunks."""

    def __init__(self, folder: Path, template: str) -> None:
        self.folder = folder
        self.template = template
        self.number = 0

    @property
    def place(self) -> tuple[int, int]:
        return divmod(self.number, FILES_A_CHUNK)

    @property
    def path(self) -> Path:
        chunk, file = self.place
        name = self.template.format(chunk_index=chunk, file_index=file, video_key=VIDEO_KEY)
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


class _TableFiles(_Files):
    """One row a frame: action, state, time and indices."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, DATA_PATH)
        self.num_rows = self.num_episodes = 0
        self.tables: list[pa.Table] = []

    def add(self, episode: Episode, spec: ClipSpec) -> dict[str, Any]:
        length, first = len(episode.frames), self.num_rows
        chunk, file = self.place
        self.tables.append(_table(episode, spec, self.num_episodes, first))
        self.num_rows += length
        self.num_episodes += 1
        if sum(table.nbytes for table in self.tables) > DATA_MEGABYTES * 2**20:
            self.close()
        return {
            "length": length,
            "data/chunk_index": chunk,
            "data/file_index": file,
            "dataset_from_index": first,
            "dataset_to_index": first + length,
        }

    def close(self) -> None:
        if self.tables:
            pq.write_table(pa.concat_tables(self.tables), self.path)
            self.tables = []
            self.number += 1


def _table(episode: Episode, spec: ClipSpec, number: int, first: int) -> pa.Table:
    length = len(episode.frames)
    no_effect = np.zeros((1, spec.action.size), np.float32)
    steps = np.arange(length)
    columns = {"action": _vectors(np.concatenate([episode.actions, no_effect]))}
    if episode.states is not None:
        columns["observation.state"] = _vectors(episode.states)
    columns |= {
        "timestamp": pa.array((steps / spec.fps).astype(np.float32)),
        "frame_index": pa.array(steps),
        "episode_index": pa.array(np.full(length, number)),
        "index": pa.array(first + steps),
        "task_index": pa.array(np.zeros(length, np.int64)),
    }
    return pa.table(columns)


def _vectors(rows: NDArray[np.float32]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])


class _VideoFiles(_Files):
    """Episodes end to end in one video, until it is full."""

    def __init__(self, folder: Path, fps: float) -> None:
        super().__init__(folder, VIDEO_PATH)
        self.rate = Fraction(fps).limit_denominator(10_000)
        self.container: Any = None
        self.num_frames = 0

    def add(self, episode: Episode) -> dict[str, Any]:
        if self.container is None:
            self._begin(*episode.frames.shape[1:3])
        chunk, file = self.place
        first = self.num_frames
        for frame in episode.frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts = self.num_frames
            self.container.mux(self.stream.encode(picture))
            self.num_frames += 1
        seconds = [float(count / self.rate) for count in (first, self.num_frames)]
        if self.path.stat().st_size > VIDEO_MEGABYTES * 2**20:
            self.close()
        return {
            f"videos/{VIDEO_KEY}/chunk_index": chunk,
            f"videos/{VIDEO_KEY}/file_index": file,
            f"videos/{VIDEO_KEY}/from_timestamp": seconds[0],
            f"videos/{VIDEO_KEY}/to_timestamp": seconds[1],
        }

    def _begin(self, height: int, width: int) -> None:
        self.container = av.open(str(self.path), "w")
        self.stream = self.container.add_stream("libx264rgb", rate=self.rate)
        self.stream.width, self.stream.height = width, height
        self.stream.pix_fmt = "rgb24"
        self.stream.codec_context.time_base = 1 / self.rate
        self.stream.options = {"qp": "0", "preset": "veryfast", "g": "10", "bf": "0"}
        self.num_frames = 0

    def close(self) -> None:
        if self.container is not None:
            self.container.mux(self.stream.encode(None))
            self.container.close()
            self.container = None
            self.number += 1


def _write_meta(
    folder: Path, spec: ClipSpec, rows: list[dict[str, Any]], splits: dict[str, str]
) -> None:
    episodes = folder / EPISODES_PATH.format(chunk_index=0, file_index=0)
    episodes.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), episodes)
    pq.write_table(_tasks(), folder / "meta" / "tasks.parquet")
    vectors = {"action": spec.action} | ({"observation.state": spec.state} if spec.state else {})
    info = {
        "codebase_version": "v3.0",
        "robot_type": "unknown",
        "total_episodes": len(rows),
        "total_frames": rows[-1]["dataset_to_index"],
        "total_tasks": 1,
        "chunks_size": FILES_A_CHUNK,
        "data_files_size_in_mb": DATA_MEGABYTES,
        "video_files_size_in_mb": VIDEO_MEGABYTES,
        "fps": int(spec.fps) if spec.fps == int(spec.fps) else spec.fps,
        "splits": splits,
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH,
        "features": _features(spec, vectors),
    }
    _write_json(folder / "meta" / "info.json", info)
    _write_json(folder / "meta" / "stats.json", {k: _stats(v) for k, v in vectors.items()})


def _tasks() -> pa.Table:
    """The task's name is the index that pandas expects."""
    table = pa.table({"task_index": pa.array([0], pa.int64()), "task": [TASK]})
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": [], "creator": {}}
    return table.replace_schema_metadata({b"pandas": json.dumps(pandas).encode()})


def _features(spec: ClipSpec, vectors: dict[str, VectorSpec]) -> dict[str, Any]:
    video = {
        "video.height": spec.height,
        "video.width": spec.width,
        "video.codec": "h264",
        "video.pix_fmt": "gbrp",
        "video.is_depth_map": False,
        "video.fps": spec.fps,
        "video.channels": spec.channels,
        "has_audio": False,
    }
    numbers = {"timestamp": "float32"} | dict.fromkeys(
        ("frame_index", "episode_index", "index", "task_index"), "int64"
    )
    return {
        VIDEO_KEY: {
            "dtype": "video",
            "shape": [spec.height, spec.width, spec.channels],
            "names": ["height", "width", "channels"],
            "info": video,
        },
        **{
            key: {
                "dtype": "float32",
                "shape": [vector.size],
                "names": list(vector.names),
                "units": list(vector.units),
            }
            for key, vector in vectors.items()
        },
        **{key: {"dtype": kind, "shape": [1], "names": None} for key, kind in numbers.items()},
    }


def _stats(vector: VectorSpec) -> dict[str, Any]:
    """Of the training split, as everywhere in framecast."""
    low, high, mean, std = vector.low, vector.high, vector.mean, vector.std
    return {"min": list(low), "max": list(high), "mean": list(mean), "std": list(std)}


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=4), encoding="utf-8")
