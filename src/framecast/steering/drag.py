"""Where the end effector is in the picture, and which two actions move it there.

Places in the picture are (across, down) as shares of its width and height. A position is what a
mapping keeps for one moment: metres for the pusher, whose camera is known, and a place in the
picture where the mapping was estimated from recordings.

Shape letters: T frames, N samples, A action, S state.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from framecast.clip import ClipSpec
from framecast.data.episodes import Episode, EpisodeStore
from framecast.errors import UserError, did_you_mean
from framecast.planning.handmap import KnownCamera
from framecast.pusher.env import PusherEnv
from framecast.pusher.scene import REACH_HIGH, REACH_LOW

Floats = NDArray[np.float64]
Frames = NDArray[np.uint8]

MAX_EPISODES = 60  # looked at for an estimate
NOISE_LEVEL = 24  # summed over channels; a smaller change of a pixel is no motion
MIN_MOVED = 12.0  # pixels that have to change for a frame pair to count
MIN_EXPLAINED = 0.25  # share of the motion's variance that two actions have to explain
MIN_TRAVEL = 0.003  # of the picture, for one standard deviation of the weaker action
MAX_SKEW = 6.0  # ratio of the two actions' effects


class DragMap(Protocol):
    """How actions move the end effector in the picture."""

    @property
    def dims(self) -> tuple[int, int]:
        """Which two actions are displacements in the picture's plane."""
        ...

    def locate(self, frames: Frames, state: NDArray[np.float32] | None) -> Floats:
        """The position after context frames (T, H, W, C), from the state (S,) where it is known."""
        ...

    def after(self, position: Floats, action: NDArray[np.float32]) -> Floats:
        """The position after an action if nothing is in the way."""
        ...

    def place(self, position: Floats) -> Floats:
        """(across, down) in the picture."""
        ...

    def effect(self, position: Floats) -> Floats:
        """(2, 2): how far one unit of each of the two actions moves it across and down."""
        ...


class PusherDrag:
    """The built-in world, seen through its own camera; a position is x, y, z in metres."""

    dims = (0, 1)

    def __init__(self) -> None:
        self.camera = KnownCamera(1)

    def locate(self, frames: Frames, state: NDArray[np.float32] | None) -> Floats:
        assert state is not None, "the pusher always records its state"
        return state.astype(np.float64)

    def after(self, position: Floats, action: NDArray[np.float32]) -> Floats:
        moved: Floats = np.clip(position + action[:3], REACH_LOW, REACH_HIGH)
        return moved

    def place(self, position: Floats) -> Floats:
        place: Floats = self.camera.pixels(position[None])[0]
        return place

    def effect(self, position: Floats) -> Floats:
        step = 0.01
        ends = [self.place(position + step * np.eye(3)[axis]) for axis in self.dims]
        effect: Floats = (np.stack(ends, axis=1) - self.place(position)[:, None]) / step
        return effect


@dataclass(frozen=True)
class EstimatedDrag:
    """A linear mapping read off recordings; a position is a place in the picture.

    Attributes:
        matrix: (2, 2) the effect of the two actions.
        explained: share of the variance of the motion seen that they explain.
        from_state: (2, S + 1) the place from a state and 1, where the recordings have states.
    """

    dims: tuple[int, int]
    matrix: Floats
    explained: float
    from_state: Floats | None

    def locate(self, frames: Frames, state: NDArray[np.float32] | None) -> Floats:
        if self.from_state is not None and state is not None:
            placed: Floats = np.clip(self.from_state @ np.append(state, 1.0), 0, 1)
            return placed
        centres, moved = motion_centres(frames)
        return centres[-1] if len(centres) and moved[-1] else np.array([0.5, 0.5])

    def after(self, position: Floats, action: NDArray[np.float32]) -> Floats:
        moved: Floats = np.clip(position + self.matrix @ action[list(self.dims)], 0, 1)
        return moved

    def place(self, position: Floats) -> Floats:
        return position

    def effect(self, position: Floats) -> Floats:
        return self.matrix


def is_pusher(spec: ClipSpec) -> bool:
    """Whether clips of this kind come from the built-in world."""
    states = spec.state.names if spec.state is not None else ()
    return spec.action.names == PusherEnv.action_names and states == PusherEnv.state_names


def find_drag(spec: ClipSpec, store: EpisodeStore | None, wanted: str | None) -> DragMap | None:
    """The mapping for clips of this kind, or None where no two actions move things in the plane.

    Args:
        store: recordings to estimate from, where the mapping is not known.
        wanted: `none`, or the names of the two actions, such as `dx,dy`; None finds them.

    Raises UserError for names that are none, or whose effect cannot be seen in the recordings.
    """
    dims = None if wanted in (None, "none") else _dims(spec, str(wanted))
    if wanted == "none":
        return None
    if is_pusher(spec) and dims in (None, PusherDrag.dims):
        return PusherDrag()
    found = None if store is None else estimate_drag(store, dims)
    if dims is not None and found is None:
        raise UserError(
            f"The recordings do not show {wanted} moving anything in the picture's plane. "
            "Leave --drag out, and steer with the sliders."
        )
    return found


def estimate_drag(store: EpisodeStore, dims: tuple[int, int] | None = None) -> EstimatedDrag | None:
    """Regress the motion seen in recordings on pairs of actions; None if it explains too little.

    What changed between frames t and t + 1 lies, on average, halfway between where the arm was and
    where it is. From one frame pair to the next that centre moves by half of both actions.
    """
    steps, motion, places, states = _motions(store)
    if len(steps) < 8:
        return None
    scale: Floats = steps.std(axis=0, dtype=np.float64)
    moving = [dim for dim in range(steps.shape[1]) if scale[dim] > 1e-9]
    pairs = [dims] if dims else list(itertools.combinations(moving, 2))
    spread = motion - motion.mean(axis=0)
    best: EstimatedDrag | None = None
    for pair in pairs:
        chosen = steps[:, list(pair)] - steps[:, list(pair)].mean(axis=0)
        solution, *_ = np.linalg.lstsq(chosen, spread, rcond=None)
        matrix = solution.T
        explained = 1 - float(((spread - chosen @ solution) ** 2).sum() / (spread**2).sum())
        if best is None or explained > best.explained:
            best = EstimatedDrag(pair, matrix, explained, None)
    if best is None or not _usable(best, scale):
        return None
    return EstimatedDrag(best.dims, best.matrix, best.explained, _place_from(states, places))


def motion_centres(frames: Frames) -> tuple[Floats, NDArray[np.bool_]]:
    """Where pictures (T, H, W, C) change: centres (T - 1, 2), and which pairs change enough."""
    change = np.abs(np.diff(frames.astype(np.int16), axis=0)).sum(axis=-1).astype(np.float64)
    weight = np.where(change > NOISE_LEVEL, change, 0.0)
    height, width = frames.shape[1:3]
    total = np.maximum(weight.sum(axis=(1, 2)), 1e-9)
    across = (weight.sum(axis=1) * (np.arange(width) + 0.5)).sum(axis=1) / total / width
    down = (weight.sum(axis=2) * (np.arange(height) + 0.5)).sum(axis=1) / total / height
    moved = (weight > 0).sum(axis=(1, 2)) >= MIN_MOVED
    return np.stack([across, down], axis=1), moved


def _motions(store: EpisodeStore) -> tuple[Floats, Floats, Floats, Floats | None]:
    """Actions and the motion they caused; places of motion and the states there."""
    steps, motion, places, states = [], [], [], []
    chosen = np.linspace(0, store.num_episodes - 1, min(MAX_EPISODES, store.num_episodes))
    for index in np.unique(chosen.astype(int)):
        episode: Episode = store.episode(int(index))
        if len(episode.frames) < 3:
            continue
        centres, moved = motion_centres(episode.frames)
        both = moved[1:] & moved[:-1]
        steps.append(((episode.actions[1:] + episode.actions[:-1]) / 2)[both])
        motion.append(np.diff(centres, axis=0)[both])
        places.append(centres[moved])
        if episode.states is not None:
            states.append(((episode.states[1:] + episode.states[:-1]) / 2)[moved])
    if not steps:
        return np.zeros((0, 1)), np.zeros((0, 2)), np.zeros((0, 2)), None
    known = np.concatenate(states).astype(np.float64) if states else None
    return (
        np.concatenate(steps).astype(np.float64),
        np.concatenate(motion),
        np.concatenate(places),
        known,
    )


def _usable(drag: EstimatedDrag, scale: Floats) -> bool:
    strength = np.linalg.svd(drag.matrix * scale[list(drag.dims)], compute_uv=False)
    return bool(
        drag.explained >= MIN_EXPLAINED
        and strength[1] >= MIN_TRAVEL
        and strength[0] <= MAX_SKEW * strength[1]
    )


def _place_from(states: Floats | None, places: Floats) -> Floats | None:
    if states is None:
        return None
    inputs = np.c_[states, np.ones(len(states))]
    solution, *_ = np.linalg.lstsq(inputs, places, rcond=None)
    return np.array(solution.T, np.float64)


def _dims(spec: ClipSpec, wanted: str) -> tuple[int, int]:
    names = [name.strip() for name in wanted.split(",")]
    for name in names:
        if name not in spec.action.names:
            known = ", ".join(spec.action.names)
            hint = did_you_mean(name, spec.action.names)
            raise UserError(f"--drag: there is no action {name!r}.{hint} The actions are: {known}.")
    if len(names) != 2 or names[0] == names[1]:
        raise UserError(f"--drag takes two actions, such as dx,dy, or none; got {wanted!r}.")
    first, second = (spec.action.names.index(name) for name in names)
    return first, second
