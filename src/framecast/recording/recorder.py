"""The recorder: any Gymnasium environment -> episodes of frames, commanded actions and states.

Frames come from a dict observation's `pixels`, else from `render()`; states from where they usually
are in the observation, or from a key. What is recorded is the command, not what the environment
made of it. Episode i of a seed is the same whatever the number of workers.

An environment may name its numbers with the attributes `action_names`, `action_units`,
`state_names` and `state_units`.

The first frame after a reset is not trusted: some environments still show the last episode there.
A recorder resets twice from one seed; where the two first frames differ, it leaves out the first
frame of every episode, with the command that was given on seeing it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from framecast.data.episodes import Episode
from framecast.data.geometry import Fit, Flip, Geometry
from framecast.data.header import Header
from framecast.errors import UserError
from framecast.recording.environments import StateFinder, make_environment
from framecast.recording.policies import make_policy

MAX_ATTEMPTS = 20
DEFAULT_FPS = 10.0
PROBE_STEPS = 3
NOISE_STREAM = 1  # of an episode's seed: what is hidden from the recording


@dataclass(frozen=True)
class Recording:
    """What to record.

    Args:
        env_id: a registered Gymnasium id, `module:id` for one that a module registers.
        num_frames: frames an episode; shorter where the environment ends it.
        size: frames become size x size by area.
        policy: `module:Class` of a Policy taking the environment; None is the environment's own
            (`default_policy`), or else evenly random actions.
        fit, box, flip: as in Geometry.
        state_key: where the state is in the observation (`a/b`), or in the info (`info/a`).
        state_slice: (first, last) of its numbers to keep.
        action_repeat: steps of the environment for one command; the rate falls with it.
        execution_noise: standard deviation of what is added to the executed action, as a share of
            half its range. It is drawn anew every step and not recorded: the command is.
        env_options: keyword arguments for the environment.
        by_rays: draw a MuJoCo environment by casting rays, where there is no OpenGL.
    """

    env_id: str
    num_episodes: int
    num_frames: int = 30
    seed: int = 0
    size: int = 64
    policy: str | None = None
    fit: Fit = "crop"
    box: tuple[int, int, int, int] | None = None
    flip: Flip = "none"
    state_key: str | None = None
    state_slice: tuple[int, int] | None = None
    action_repeat: int = 1
    execution_noise: float = 0.0
    env_options: Mapping[str, Any] = field(default_factory=dict)
    by_rays: bool = False


class Recorder:
    """Records one episode at a time. Raises UserError for an environment it cannot record."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.geometry = Geometry(recording.size, recording.fit, recording.box, recording.flip)
        self.env = make_environment(
            recording.env_id, recording.size, recording.env_options, recording.by_rays
        )
        if not isinstance(self.env.action_space, gymnasium.spaces.Box):
            raise UserError(
                f"{recording.env_id} has actions of {self.env.action_space}; "
                "framecast needs a Box of numbers."
            )
        self.space = self.env.action_space
        self.policy = make_policy(recording.policy, self.env)
        self.state_of = StateFinder(recording.state_key, recording.state_slice)
        self.skips_first = self._first_frame_is_stale()

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

    def look(
        self, observation: Any, info: dict[str, Any]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        """The frame (size, size, C) and the state (S,) of an observation, as they are recorded."""
        return self._frame(observation), self.state_of(observation, info)

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
            fps=self._fps(),
            action_names=_labels(env, "action_names", "action_{}", num_actions),
            action_units=_labels(env, "action_units", "1", num_actions),
            state_names=_labels(env, "state_names", "state_{}", num_states),
            state_units=_labels(env, "state_units", "1", num_states),
            source=self._source(),
        )

    def _fps(self) -> float:
        fps = float(self.env.metadata.get("render_fps") or DEFAULT_FPS)
        return fps / self.recording.action_repeat

    def _source(self) -> str:
        recording = self.recording
        policy = recording.policy or type(self.policy).__name__
        noise, repeat = recording.execution_noise, recording.action_repeat
        version = getattr(self.env.unwrapped, "simulator_version", "")
        facts = [
            f"recorded in {recording.env_id}, seed {recording.seed}, policy {policy}",
            *(["drawn by rays"] if recording.by_rays else []),
            *([f"every command {repeat} times"] if repeat > 1 else []),
            *([f"execution noise {noise:g}"] if noise else []),
            *([f"state from {self.state_of.where}"] if recording.state_key else []),
            *(["first frames left out: they show the episode before"] if self.skips_first else []),
            *([version] if version else []),
        ]
        return ", ".join(facts)

    def _first_frame_is_stale(self) -> bool:
        """Whether the first frame of a seed depends on what was before."""
        first = self._frame(self.env.reset(seed=0)[0])
        self.env.action_space.seed(0)
        try:
            for _ in range(PROBE_STEPS):
                _, _, terminated, truncated, _ = self.env.step(self.env.action_space.sample())
                if terminated or truncated:
                    break
        except RuntimeError:  # the simulation diverged
            pass
        return not np.array_equal(first, self._frame(self.env.reset(seed=0)[0]))

    def _attempt(self, seed: int, name: str, num_frames: int | None = None) -> Episode:
        observation, info = self.env.reset(seed=seed)
        self.env.action_space.seed(seed)
        self.policy.reset(seed)
        hidden = np.random.default_rng([seed, NOISE_STREAM])
        if self.skips_first:
            command = np.asarray(self.policy.act(observation, info), np.float32)
            observation, info, _ = self._execute(command, hidden)
        frames, states = [self._frame(observation)], [self.state_of(observation, info)]
        actions: list[NDArray[np.float32]] = []
        while len(frames) < (num_frames or self.recording.num_frames):
            command = np.asarray(self.policy.act(observation, info), np.float32)
            observation, info, ended = self._execute(command, hidden)
            actions.append(command.reshape(-1))
            frames.append(self._frame(observation))
            states.append(self.state_of(observation, info))
            if ended:
                break
        known = [state for state in states if state is not None]
        return Episode(
            np.stack(frames),
            np.stack(actions),
            np.stack(known) if known else None,
            name,
        )

    def _execute(
        self, command: NDArray[np.float32], hidden: np.random.Generator
    ) -> tuple[Any, dict[str, Any], bool]:
        """Give the command as often as it is to be repeated; what is executed may differ."""
        for _ in range(self.recording.action_repeat):
            action = self._disturbed(command, hidden).reshape(self.space.shape)
            observation, _, terminated, truncated, info = self.env.step(action)
            if terminated or truncated:
                return observation, info, True
        return observation, info, False

    def _disturbed(
        self, command: NDArray[np.float32], hidden: np.random.Generator
    ) -> NDArray[np.float32]:
        if not self.recording.execution_noise:
            return command
        low, high = self.space.low.reshape(-1), self.space.high.reshape(-1)
        is_bounded = np.isfinite(low) & np.isfinite(high)
        half_range = np.where(is_bounded, (high - low) / 2, 1.0)
        noise = hidden.normal(size=half_range.shape) * half_range * self.recording.execution_noise
        return np.clip(command.reshape(-1) + noise, low, high).astype(np.float32)

    def _frame(self, observation: Any) -> NDArray[np.uint8]:
        pixels = observation.get("pixels") if isinstance(observation, Mapping) else None
        frame = np.asarray(self._rendered() if pixels is None else pixels)
        if frame.ndim != 3 or frame.dtype != np.uint8:
            raise UserError(
                f"{self.recording.env_id} gives no picture: expected uint8 (H, W, 3) from "
                f"observation['pixels'] or render(), got {frame.dtype} {frame.shape}."
            )
        return self.geometry.apply(frame)

    def _rendered(self) -> Any:
        try:
            return self.env.render()
        except Exception as error:
            if not _is_about_opengl(error):
                raise
            raise UserError(
                f"{self.recording.env_id} draws with OpenGL, which does not work here "
                f"({type(error).__name__}). Set MUJOCO_GL to egl or osmesa where one is "
                "installed, or add --render rays."
            ) from None


def _is_about_opengl(error: Exception) -> bool:
    """Every OpenGL library fails in its own way."""
    told = f"{type(error).__module__} {error!r}"
    return any(word in told for word in ("OpenGL", "EGL", "glGetError", "glfw", "GLFW", "mjr_"))


def _labels(env: Any, attribute: str, default: str, count: int) -> tuple[str, ...]:
    labels = getattr(env, attribute, None)
    if labels is not None and len(labels) == count:
        return tuple(labels)
    return tuple(default.format(index) for index in range(count))
