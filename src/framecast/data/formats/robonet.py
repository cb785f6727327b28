"""RoboNet's HDF5: one trajectory a file, its videos as mp4 bytes inside.

    env/state (T, 5)    policy/actions (T - 1, 4 or 5)    env/cam{k}_video/frames  uint8 bytes

Actions are displacements (x, y, z, rotation) and a gripper command; states are normalised.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
from numpy.typing import NDArray

from framecast.data.episodes import Split
from framecast.data.formats.bair import natural
from framecast.data.formats.base import (
    Keys,
    RawEpisode,
    Signals,
    choose,
    commands,
    kinds_by_name,
    numbered,
    require_inside,
)
from framecast.data.formats.hdf5 import open_hdf5, small
from framecast.data.formats.video import decode
from framecast.errors import UserError

ACTION_NAMES = ("dx", "dy", "dz", "dtheta", "gripper")
STATE_NAMES = ("x", "y", "z", "theta", "gripper")
ACTIONS, STATES = "policy/actions", "env/state"
ASSUMED_FPS = 5.0
LOOKED_AT = 64  # files that may be broken before the first sound one


class RoboNetReader:
    """A file, or the folder that holds the files at any depth."""

    format: ClassVar[str] = "robonet"
    own_splits: list[Split] | None = None

    def __init__(self, path: Path, keys: Keys) -> None:
        self.root = path
        self.files = _files(path)
        self.action_key, self.state_key = keys.action or ACTIONS, keys.state or STATES
        self.camera, self.frames_hint, self.signals = self._first(keys)
        self.fps = ASSUMED_FPS
        self.what = f"{len(self.files)} RoboNet trajectories, camera {self.camera!r}"
        self.notes = [f"RoboNet names no frame rate: {ASSUMED_FPS:g} a second assumed"]
        self.faults: list[str] = []

    @staticmethod
    def fits(path: Path) -> bool:
        try:
            with open_hdf5(_files(path)[0]) as file:
                return "env" in file and "policy" in file
        except (UserError, IndexError):
            return False

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int, every: int) -> RawEpisode:
        path = self.files[index]
        require_inside(self.root, path)
        with open_hdf5(path) as file:
            video = _video(file, self.camera)
            states = np.asarray(small(file, self.state_key)[:], np.float32)
            table = np.asarray(small(file, self.action_key)[:], np.float32)
        frames = _frames(video, f"{path}: {self.camera!r}", len(states), every)
        return RawEpisode(str(path), frames, commands(table, len(states), str(path)), states)

    def _first(self, keys: Keys) -> tuple[str, int, Signals]:
        """Camera, length and names, from the first file that can be read."""
        fault: UserError | None = None
        for path in self.files[:LOOKED_AT]:
            try:
                with open_hdf5(path) as file:
                    camera = choose(keys.camera, _cameras(file), ("cam0",), "camera")
                    num_frames, num_states = small(file, self.state_key).shape
                    num_actions = small(file, self.action_key).shape[1]
                return camera, num_frames, _signals(num_actions, num_states)
            except UserError as error:
                fault = fault or error
        raise fault or UserError(f"{self.root} holds no .hdf5 file.")


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(path.rglob("*.hdf5"), key=natural)


def _cameras(file: h5py.File) -> list[str]:
    names = list(file["env"]) if isinstance(file.get("env"), h5py.Group) else []
    return [name.removesuffix("_video") for name in names if name.endswith("_video")]


def _video(file: h5py.File, camera: str) -> bytes:
    found = small(file, f"env/{camera}_video/frames")
    if found.dtype != np.uint8:
        raise UserError(f"{file.filename}: the video of {camera!r} is {found.dtype}, not bytes.")
    return bytes(np.asarray(found[()]).tobytes())


def _signals(num_actions: int, num_states: int) -> Signals:
    names, state_names = numbered("action", num_actions), numbered("state", num_states)
    if num_actions in (4, 5):
        names = ACTION_NAMES[:num_actions]
    if num_states == len(STATE_NAMES):
        state_names = STATE_NAMES
    kinds = kinds_by_name(names, "displacement")
    return Signals(names, ("1",) * num_actions, kinds, state_names, ("1",) * num_states)


def _frames(video: bytes, where: str, num_states: int, every: int) -> Iterator[NDArray[np.uint8]]:
    count = 0
    for _, frame in decode(video, where):
        if count % every == 0 and count < num_states:
            yield frame
        count += 1
    if count not in (num_states, num_states + 1):
        raise UserError(f"{where} has {count} frames, but there are {num_states} states.")
