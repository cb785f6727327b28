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


@pytest.fixture(autouse=True)
def _registered():
    for kind in (Counter, Diverging):
        gymnasium.register(f"test/{kind.__name__}-v0", kind)
    yield
    for kind in (Counter, Diverging):
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
    Diverging.episodes = 0
    episode = Recorder(Recording("test/Diverging-v0", 1)).episode(0)
    assert len(episode.frames) == 6
    assert Diverging.episodes == 3


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
        *(sys.executable, "-c", "import sys; from framecast.cli import main; sys.exit(main())"),
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
    ],
)
def test_what_cannot_be_recorded_is_one_line(
    tmp_path: Path, framecast: Command, arguments: tuple, message: str
):
    assert message in framecast("record", *arguments, "--out", tmp_path / "data").one_line()
    assert list(tmp_path.iterdir()) == []
