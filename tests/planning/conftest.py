"""A small pusher dataset and a run of a few steps on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from framecast.cli import main
from framecast.data.episodes import EpisodeStore
from tests.conftest import TINY


@contextmanager
def one_thread() -> Iterator[None]:
    """These tensors are so small that threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="session")
def pushes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "pushes"
    sizes = ["--episodes", "40", "--frames", "24", "--split", ".9,.05,.05"]
    assert main(["record", "framecast/Pusher-v0", *sizes, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def pushes(pushes_folder: Path) -> EpisodeStore:
    return EpisodeStore.open(pushes_folder, "train")


@pytest.fixture(scope="session")
def pusher_run(pushes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned next to nothing: for commands, not for scores."""
    folder = tmp_path_factory.mktemp("runs") / "pusher"
    data = ["--data", str(pushes_folder), "--out", str(folder)]
    sizes = ["--training.epochs=1", "--training.epoch_size=2"]
    with one_thread():  # session fixtures come before the package's own
        assert main(["train", "course", *data, *TINY, *sizes]) == 0
    return folder
