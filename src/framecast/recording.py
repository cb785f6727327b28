"""The recorder: any Gymnasium environment -> episodes of frames, commanded actions and states.

Frames come from a dict observation's `pixels`, else from `render()`; states from its `state`, else
from a plain vector observation. What is recorded is the command, not what the environment made of
it. Episode i of a seed is the same whatever the number of workers.

An environment may name its numbers with the attributes `action_names`, `action_units`,
`state_names` and `state_units`.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from framecast.data.episodes import SPLITS, Episode
from framecast.data.splits import assign_splits
from framecast.data.writer import DatasetWriter, Header
from framecast.errors import UserError, did_you_mean

MAX_ATTEMPTS = 20
DEFAULT_FPS = 10.0
Progress = Callable[[int], None]


class Policy(Protocol):
    """Decides what to do; reseeded before every episode."""

    def reset(self, seed: int) -> None: ...

    def act(self, observation: Any, info: dict[str, Any]) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Recording:
    """What to record.

    Args:
        env_id: a registered Gymnasium id, `module:id` for one that a module registers.
        num_frames: frames an episode; shorter where the environment ends it.
        size: frames are resized to size x size by area.
        policy: `module:Class` of a Policy taking the environment; None is the environment's own
            (`default_policy`), or else evenly random actions.
    """

    env_id: str
    num_episodes: int
    num_frames: int = 30
    seed: int = 0
    size: int = 64
    policy: str | None = None


class RandomPolicy:
    """Evenly random actions."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        self.space = env.action_space

    def reset(self, seed: int) -> None:
        self.space.seed(seed)

    def act(self, observation: Any, info: dict[str, Any]) -> NDArray[np.float32]:
        action: NDArray[np.float32] = self.space.sample()
        return action


class Recorder:
    """Records one episode at a time. Raises UserError for an environment it cannot record."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.env = _make(recording.env_id, recording.size)
        if not isinstance(self.env.action_space, gymnasium.spaces.Box):
            raise UserError(
                f"{recording.env_id} has actions of {self.env.action_space}; "
                "framecast needs a Box of numbers."
            )
        self.policy = _policy(recording.policy, self.env)

    def episode(self, index: int) -> Episode:
        """Episode `index`; one whose simulation diverges is recorded again from another seed."""
        for attempt in range(MAX_ATTEMPTS):
            entropy = [self.recording.seed, index, attempt]
            seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
            try:
                episode = self._attempt(seed, f"{self.recording.env_id}, episode {index}")
            except RuntimeError as error:  # the simulation diverged
                failure = str(error)
                continue
            if len(episode.frames) > 1:
                return episode
            failure = "it ended at once"
        raise UserError(
            f"{self.recording.env_id}: episode {index} failed {MAX_ATTEMPTS} times ({failure})."
        )

    def look(self, observation: Any) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        """The frame (size, size, C) and the state (S,) of an observation, as they are recorded."""
        return self._frame(observation), _state(observation)

    def header(self) -> Header:
        """Names and sizes, read off a short episode."""
        env = self.env.unwrapped
        first = self._attempt(0, "trial", num_frames=2)
        num_actions = first.actions.shape[1]
        num_states = 0 if first.states is None else first.states.shape[1]
        height, width, channels = first.frames.shape[1:]
        return Header(
            height=height,
            width=width,
            channels=channels,
            fps=float(self.env.metadata.get("render_fps") or DEFAULT_FPS),
            action_names=_labels(env, "action_names", "action_{}", num_actions),
            action_units=_labels(env, "action_units", "1", num_actions),
            state_names=_labels(env, "state_names", "state_{}", num_states),
            state_units=_labels(env, "state_units", "1", num_states),
            source=self._source(),
        )

    def _source(self) -> str:
        recording = self.recording
        policy = recording.policy or type(self.policy).__name__
        source = f"recorded in {recording.env_id}, seed {recording.seed}, policy {policy}"
        version = getattr(self.env.unwrapped, "simulator_version", "")
        return f"{source}, {version}" if version else source

    def _attempt(self, seed: int, name: str, num_frames: int | None = None) -> Episode:
        observation, info = self.env.reset(seed=seed)
        self.env.action_space.seed(seed)
        self.policy.reset(seed)
        frames, states = [self._frame(observation)], [_state(observation)]
        actions: list[NDArray[np.float32]] = []
        while len(frames) < (num_frames or self.recording.num_frames):
            action = np.asarray(self.policy.act(observation, info), np.float32)
            observation, _, terminated, truncated, info = self.env.step(action)
            actions.append(action.reshape(-1))
            frames.append(self._frame(observation))
            states.append(_state(observation))
            if terminated or truncated:
                break
        known = [state for state in states if state is not None]
        return Episode(
            np.stack(frames),
            np.stack(actions),
            np.stack(known) if known else None,
            name,
        )

    def _frame(self, observation: Any) -> NDArray[np.uint8]:
        pixels = observation.get("pixels") if isinstance(observation, dict) else None
        frame = np.asarray(self.env.render() if pixels is None else pixels)
        if frame.ndim != 3 or frame.dtype != np.uint8:
            raise UserError(
                f"{self.recording.env_id} gives no picture: expected uint8 (H, W, 3) from "
                f"observation['pixels'] or render(), got {frame.dtype} {frame.shape}."
            )
        size = self.recording.size
        if frame.shape[:2] == (size, size):
            return frame
        return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BOX))


def record(
    recording: Recording,
    out: Path,
    fractions: tuple[float, float, float],
    num_workers: int,
    overwrite: bool,
    progress: Progress,
) -> dict[str, int]:
    """Record a dataset; returns the number of episodes of each split.

    Nothing of the target's name is there until every episode is recorded.
    """
    splits = assign_splits(recording.num_episodes, fractions, recording.seed)
    header = Recorder(recording).header()
    with (
        DatasetWriter(out, header, overwrite) as writer,
        _episodes(recording, num_workers) as episodes,
    ):
        for split, episode in zip(splits, episodes, strict=True):
            writer.add(split, episode)
            progress(1)
    return {split: splits.count(split) for split in SPLITS if split in splits}


@contextmanager
def _episodes(recording: Recording, num_workers: int) -> Iterator[Iterator[Episode]]:
    indices = range(recording.num_episodes)
    if num_workers <= 1:
        yield map(Recorder(recording).episode, indices)
        return
    with _one_thread_each():
        pool = multiprocessing.get_context("spawn").Pool(num_workers, _start, (recording,))
    try:
        yield pool.imap(_episode, indices)
    finally:
        pool.terminate()
        pool.join()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Worker processes that share the cores must not each start a thread a core."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_recorder: Recorder | None = None  # of a worker process


def _start(recording: Recording) -> None:
    global _recorder
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops its workers
    _recorder = Recorder(recording)


def _episode(index: int) -> Episode:
    assert _recorder is not None
    return _recorder.episode(index)


def _make(env_id: str, size: int) -> gymnasium.Env[Any, Any]:
    import framecast.pusher  # noqa: F401  registers the built-in world

    known = list(gymnasium.registry)
    try:
        spec = gymnasium.spec(env_id)
        options: dict[str, Any] = {"render_mode": "rgb_array"}
        if env_id.startswith("framecast/"):
            options = {"image_size": size}
        return gymnasium.make(spec, disable_env_checker=True, **options)
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        hint = did_you_mean(env_id, known)
        reason = " ".join(str(error).split())
        raise UserError(f"Cannot make the environment {env_id!r}: {reason}.{hint}") from None


def _policy(path: str | None, env: gymnasium.Env[Any, Any]) -> Policy:
    if path is None:
        default = getattr(env.unwrapped, "default_policy", None)
        policy: Policy = default() if default is not None else RandomPolicy(env)
        return policy
    module, _, name = path.partition(":")
    try:
        made: Policy = getattr(importlib.import_module(module), name)(env)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"--policy takes module:Class of a policy that takes the environment, got {path!r} "
            f"({error})."
        ) from None
    return made


def _state(observation: Any) -> NDArray[np.float32] | None:
    state = observation.get("state") if isinstance(observation, dict) else observation
    if isinstance(state, np.ndarray) and state.ndim == 1:
        return state.astype(np.float32)
    return None


def _labels(env: Any, attribute: str, default: str, count: int) -> tuple[str, ...]:
    labels = getattr(env, attribute, None)
    if labels is not None and len(labels) == count:
        return tuple(labels)
    return tuple(default.format(index) for index in range(count))
