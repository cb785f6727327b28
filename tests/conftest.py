"""What many tests stand on: tiny data, tiny recipes, the real command."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side; read when torch is loaded

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from framecast.cli import main
from framecast.clip import Clip, ClipSpec, VectorSpec
from framecast.data.episodes import Episode
from framecast.data.writer import DatasetWriter, Header

SHARED = Path(__file__).parents[2] / "shared" / "data"
TINY = [
    *("--model.code_dim=8", "--model.latent_dim=4", "--model.hidden_dim=16"),
    *("--model.condition_dim=8", "--model.image_width=8"),
    *("--clips.batch_size=2", "--clips.horizon=3"),
    *("--training.precision=32-true", "--training.validation_clips=2", "--training.log_every=1"),
    "--training.film_frames=6",
]


@dataclass
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    def one_line(self) -> str:
        """The error, which has to be one line of a command that failed with 1."""
        assert self.code == 1, (self.code, self.out, self.err)
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


@pytest.fixture
def framecast(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the real command in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        return Outcome(code, printed.out, printed.err)

    return run


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real recordings beside the checkout; they are not part of the project."""
    folder = Path(os.environ.get("FRAMECAST_SHARED_DATA", SHARED))
    if not folder.is_dir():
        pytest.skip(f"the real recordings are not at {folder} (set FRAMECAST_SHARED_DATA)")
    return folder


def moving_square(seed: int, num_frames: int = 12, num_actions: int = 2) -> Episode:
    """A square that goes where its actions say, on a plain background."""
    random = np.random.default_rng(seed)
    position = random.uniform(12, 52, 2)
    colour = random.integers(60, 255, 3)
    actions = random.uniform(-6, 6, (num_frames - 1, num_actions)).astype(np.float32)
    frames, states = [], []
    for step in range(num_frames):
        frame = np.full((64, 64, 3), 25, np.uint8)
        x, y = position.astype(int)
        frame[y - 4 : y + 4, x - 4 : x + 4] = colour
        frames.append(frame)
        states.append(position.copy())
        if step < num_frames - 1:
            position = np.clip(position + actions[step, :2], 5, 58)
    return Episode(np.stack(frames), actions, np.array(states, np.float32), f"square {seed}")


def write_squares(folder: Path, num_actions: int = 2, with_states: bool = True) -> Path:
    """A dataset of moving squares: 4 episodes to train, 2 to validate, 3 to test."""
    names = tuple(f"d{index}" for index in range(num_actions))
    header = Header(
        *(64, 64, 3, 5.0, names, ("px",) * num_actions),
        *((("x", "y"), ("px", "px")) if with_states else ((), ())),
        "moving squares",
    )
    with DatasetWriter(folder, header) as writer:
        for seed in range(9):
            episode = moving_square(seed, num_actions=num_actions)
            if not with_states:
                episode = Episode(episode.frames, episode.actions, None, episode.name)
            split = "train" if seed < 4 else "validation" if seed < 6 else "test"
            writer.add(split, episode)
    return folder


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_squares(tmp_path_factory.mktemp("data") / "squares")


@pytest.fixture(scope="session")
def trained(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few steps, evaluated and reported. Copy it before changing it."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    sizes = ["--training.epochs=2", "--training.epoch_size=3", "--kl.annealing=cyclical"]
    data = ["--data", str(squares), "--out", str(folder)]
    assert main(["train", "course", *data, *TINY, *sizes]) == 0
    assert main(["evaluate", str(folder)]) == 0
    assert main(["report", str(folder)]) == 0
    return folder


def vector(names: tuple[str, ...], mean: float = 0.0, std: float = 1.0) -> VectorSpec:
    size = len(names)
    return VectorSpec(
        names, ("m",) * size, (mean,) * size, (std,) * size, (-1.0,) * size, (1.0,) * size
    )


@pytest.fixture
def spec() -> ClipSpec:
    return ClipSpec(64, 64, 3, 5.0, vector(("dx", "dy")), vector(("x", "y"), std=2.0), "made up")


@pytest.fixture
def clip() -> Clip:
    """Three random clips of six frames."""
    random = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (6, 3, 3, 64, 64), dtype=torch.uint8, generator=random)
    actions = torch.randn(5, 3, 2, generator=random)
    return Clip(frames, actions, torch.randn(6, 3, 2, generator=random))
