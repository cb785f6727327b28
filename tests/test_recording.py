"""The recorder, on the pusher and on an environment of somebody else's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from framecast.data.episodes import EpisodeStore
from framecast.recording import Recorder, Recording
from tests.conftest import Outcome

Command = Callable[..., Outcome]


class Counter(gymnasium.Env):
    """Shows its step as brightness; ends after five steps; wants no dict, gives a plain vector."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 3}  # noqa: RUF012
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    observation_space = gymnasium.spaces.Box(-9, 99, (1,), np.float64)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(1), {}

    def step(self, action: np.ndarray):
        self.count += 1
        return np.full(1, float(self.count)), 0.0, self.count == 5, False, {}

    def render(self) -> np.ndarray:
        return np.full((48, 48, 3), 10 * self.count, np.uint8)


class Diverging(Counter):
    """Fails on its first two episodes."""

    episodes = 0

    def reset(self, **options):
        Diverging.episodes += 1
        return super().reset(**options)

    def step(self, action: np.ndarray):
        if Diverging.episodes < 3:
            raise RuntimeError("diverged")
        return super().step(action)


class Lagging(Counter):
    """Its first frame after a reset still shows the episode before; states are nested."""

    def reset(self, **options):
        shown = getattr(self, "count", 0)
        super().reset(**options)
        self.first = np.full((48, 48, 3), 10 * shown, np.uint8)
        return self.observation(), {"clock": {"hours": np.arange(3.0)}}

    def step(self, action: np.ndarray):
        self.first = None
        self.executed = action
        _, reward, terminated, truncated, _ = super().step(action)
        info = {"clock": {"hours": np.arange(3.0) + self.count}}
        return self.observation(), reward, terminated, truncated, info

    def observation(self):
        return {"arm": {"joints": np.arange(6.0) * self.count}, "executed": np.zeros(2)}

    def render(self) -> np.ndarray:
        if self.first is not None:
            return self.first
        frame = np.full((48, 64, 3), 10 * self.count, np.uint8)
        frame[:8] = 255
        return frame[:, 8:56]


class Executed(Counter):
    """Tells what was executed, so that hidden noise can be seen from outside."""

    action_space = gymnasium.spaces.Box(-2, 2, (2,), np.float32)

    def reset(self, **options):
        super().reset(**options)
        return np.zeros(2), {}

    def step(self, action: np.ndarray):
        _, reward, terminated, truncated, info = super().step(action)
        return np.array(action, np.float64), reward, terminated, truncated, info


# A shell that starts tests in the background has SIGINT ignored, in its children too.
INTERRUPTIBLE = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from framecast.cli import main; sys.exit(main())"
)
KINDS = (Counter, Diverging, Lagging, Executed)


@pytest.fixture(autouse=True)
def _registered():
    for kind in KINDS:
        gymnasium.register(f"test/{kind.__name__}-v0", kind)
    yield
    for kind in KINDS:
        del gymnasium.registry[f"test/{kind.__name__}-v0"]


def test_any_environment_is_recorded(tmp_path: Path, framecast: Command):
    out = tmp_path / "data"
    done = framecast("record", "test/Counter-v0", "--episodes", 4, "--size", 32, "--out", out)
    assert done.code == 0, done.err
    store = EpisodeStore.open(out, "train")
    assert store.spec.fps == 3
    assert store.spec.action.names == ("action_0", "action_1")
    episode = store.episode(0)
    assert episode.frames.shape == (6, 32, 32, 3)
    np.testing.assert_array_equal(episode.frames[:, 0, 0, 0], 10 * np.arange(6))
    np.testing.assert_array_equal(episode.states[:, 0], np.arange(6))


def test_a_diverged_episode_is_recorded_again():
    recorder = Recorder(Recording("test/Diverging-v0", 1))
    Diverging.episodes = 0
    episode = recorder.episode(0)
    assert len(episode.frames) == 6
    assert Diverging.episodes == 3


def test_a_first_frame_that_shows_the_episode_before_is_left_out():
    recorder = Recorder(Recording("test/Lagging-v0", 1, size=48))
    assert recorder.skips_first
    assert not Recorder(Recording("test/Counter-v0", 1)).skips_first
    assert "first frames left out" in recorder.header().source
    frames = recorder.episode(0).frames
    np.testing.assert_array_equal(frames[:, 20, 0, 0], 10 * np.arange(1, 6))


def test_the_state_is_where_its_key_says(tmp_path: Path, framecast: Command):
    for key, expected in (
        ("arm/joints", np.outer(np.arange(1, 6), [1, 2])),
        ("info/clock/hours", np.arange(1, 6)[:, None] + [1, 2]),
    ):
        options = ("--state-key", key, "--state-slice", "1:3", "--size", 48)
        out = tmp_path / key.replace("/", "_")
        done = framecast("record", "test/Lagging-v0", "--episodes", 1, *options, "--out", out)
        assert done.code == 0, done.err
        states = EpisodeStore.open(out, "train").episode(0).states
        np.testing.assert_array_equal(states, expected)


def test_frames_are_cut_flipped_and_fitted():
    recording = Recording("test/Lagging-v0", 1, size=32, box=(0, 0, 48, 16), flip="vertical")
    frames = Recorder(recording).episode(0).frames
    assert frames.shape[1:] == (32, 32, 3)
    assert (frames[0, 16:] == 255).all()
    assert (frames[0, :16] == 10).all()


def test_a_repeated_command_is_recorded_once(tmp_path: Path, framecast: Command):
    out = tmp_path / "data"
    options = ("--episodes", 1, "--action-repeat", 2, "--size", 32, "--out", out)
    assert framecast("record", "test/Counter-v0", *options).code == 0
    store = EpisodeStore.open(out, "train")
    assert store.spec.fps == 1.5
    np.testing.assert_array_equal(store.episode(0).states[:, 0], [0, 2, 4, 5])
    assert len(store.episode(0).actions) == 3


def test_hidden_noise_is_executed_and_not_recorded():
    noisy = Recorder(Recording("test/Executed-v0", 1, execution_noise=0.1)).episode(0)
    plain = Recorder(Recording("test/Executed-v0", 1)).episode(0)
    np.testing.assert_array_equal(noisy.actions, plain.actions)
    np.testing.assert_array_equal(plain.states[1:], plain.actions)
    apart = noisy.states[1:] - noisy.actions
    assert 0.02 < np.abs(apart).mean() < 0.5
    assert np.abs(noisy.states).max() <= 2
    again = Recorder(Recording("test/Executed-v0", 1, execution_noise=0.1)).episode(0)
    np.testing.assert_array_equal(again.states, noisy.states)


def test_a_third_partys_environment_is_recorded(tmp_path: Path, framecast: Command):
    """PushT: absolute targets in pixels, a dict observation, a first frame not to be trusted."""
    pytest.importorskip("gym_pusht", reason="pip install 'framecast[pusht]'")
    out = tmp_path / "data"
    done = framecast(
        *("record", "gym_pusht:gym_pusht/PushT-v0", "--env", "obs_type=pixels_agent_pos"),
        *("--policy", "framecast.recording:HeldPolicy", "--episodes", 3, "--frames", 8),
        *("--out", out),
    )
    assert done.code == 0, done.err
    store = EpisodeStore.open(out, "train")
    assert store.pixels.shape[1:] == (64, 64, 3)
    assert store.spec.fps == 10
    episode = store.episode(0)
    assert episode.states.shape == (8, 2)
    assert episode.states.min() >= 0
    assert episode.states.max() <= 512
    assert np.abs(np.diff(episode.states, axis=0)).max() > 1
    # The agent, a blue disc, is seen where the state says it is.
    for frame, state in zip(episode.frames, episode.states, strict=True):
        x, y = (state / 512 * 64).astype(int).clip(0, 63)
        assert int(frame[y, x, 2]) > int(frame[y, x, 0]) + 40


def test_mujocos_pusher_is_drawn_without_opengl(tmp_path: Path, framecast: Command):
    out = tmp_path / "data"
    done = framecast(
        *("record", "Pusher-v5", "--render", "rays", "--state-slice", "14:17"),
        *("--episodes", 1, "--frames", 8, "--action-repeat", 4, "--out", out),
    )
    assert done.code == 0, done.err
    store = EpisodeStore.open(out, "train")
    assert store.action.shape == (8, 7)
    assert store.state.shape == (8, 3)
    frames = store.episode(0).frames.astype(int)
    assert len(np.unique(frames.reshape(-1, 3), axis=0)) > 50
    assert np.abs(np.diff(frames, axis=0)).max() > 50  # the arm moves
    assert (np.abs(np.diff(frames, axis=0)).max(axis=(0, 3)) == 0).mean() > 0.3  # the table rests


def test_recordings_do_not_depend_on_the_number_of_workers(tmp_path: Path, framecast: Command):
    for workers in (1, 2):
        options = ("--episodes", 4, "--frames", 4, "--workers", workers, "--seed", 3)
        done = framecast(
            "record", "framecast/Pusher-v0", *options, "--out", tmp_path / f"{workers}"
        )
        assert done.code == 0, done.err
    for split in ("train", "validation", "test"):
        one, two = (EpisodeStore.open(tmp_path / name, split) for name in ("1", "2"))
        np.testing.assert_array_equal(one.pixels, two.pixels)
        np.testing.assert_array_equal(one.action, two.action)
    assert one.spec.action.names == ("dx", "dy", "dz", "gripper")
    assert one.spec.state is not None
    assert one.spec.state.units == ("m", "m", "m")


def test_an_interrupted_recording_leaves_nothing_and_says_so(tmp_path: Path):
    out = tmp_path / "data"
    command = [
        *(sys.executable, "-c", INTERRUPTIBLE),
        *("record", "framecast/Pusher-v0", "--episodes", "5000", "--workers", "2"),
        *("--out", str(out)),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".data.partial-*/train-*.raw")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted; nothing unfinished is left" in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("framecast/Pusher-v1",), "Did you mean 'framecast/Pusher-v0'"),
        (("CartPole-v1",), "needs a Box of numbers"),
        (("framecast/Pusher-v0", "--episodes", 0), "--episodes should be at least 1"),
        (("framecast/Pusher-v0", "--split", "1,1"), "--split takes three fractions"),
        (("framecast/Pusher-v0", "--policy", "nothing:Here"), "--policy takes module:Class"),
        (("test/Lagging-v0", "--state-key", "arm/legs"), "where 'legs' should be is joints"),
        (("test/Counter-v0", "--state-slice", "3:1"), "--state-slice takes first:last"),
        (("test/Counter-v0", "--state-slice", "0:9"), "is beyond a state of 1"),
        (("test/Counter-v0", "--crop", "40,40,16,16"), "does not fit into frames of 48x48"),
        (("test/Counter-v0", "--env", "colour"), "--env takes name=value"),
        (("test/Counter-v0", "--env", "colour=red"), "Cannot make the environment"),
        (("test/Counter-v0", "--render", "rays"), "draws MuJoCo environments only"),
        (("no_such_module:test/Counter-v0",), "Cannot make the environment"),
    ],
)
def test_what_cannot_be_recorded_is_one_line(
    tmp_path: Path, framecast: Command, arguments: tuple, message: str
):
    assert message in framecast("record", *arguments, "--out", tmp_path / "data").one_line()
    assert list(tmp_path.iterdir()) == []
