"""Processes that train together take the steps that one would take alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from lightning.pytorch import Trainer
from safetensors.torch import load_file

from framecast.errors import UserError
from framecast.training import fit
from framecast.training.callbacks import Agreement
from framecast.training.devices import Devices
from framecast.training.module import TrainingModule
from framecast.training.runs import Checkpoint
from framecast.training.tables import read_table
from tests.conftest import TINY, Outcome

Command = Callable[..., Outcome]
# SGD, because Adam's first steps follow the sign of a gradient, however small it is.
SETTINGS = (
    *("--training.epochs=2", "--training.epoch_size=2", "--clips.batch_size=4"),
    *("--optimizer.name=sgd", "--optimizer.lr=0.1", "--training.average_decay=0.9"),
    *("--teacher_forcing.start=0.5", "--teacher_forcing.draw=frame", "--kl.beta=0.01"),
)


WARP = (
    *("--model.fine_width=8", "--model.middle_width=8", "--model.coarse_width=8"),
    *("--model.depth=1", "--model.refiner_width=8", "--model.things=0"),
    *("--clips.horizon=3", "--clips.first_horizon=0", "--optimizer.lr_schedule=constant"),
    *("--optimizer.warmup_steps=0", "--training.precision=32-true", "--training.log_every=1"),
    *("--training.validation_clips=2", "--training.film_frames=6", "--training.max_minutes=0"),
)


def trained_by_two(
    launcher: list[str], recipe: str, data: Path, out: Path, options: tuple[str, ...]
) -> None:
    command = [*launcher, "framecast", "train", recipe, "--data", str(data), "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *options], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Training finished at step 4") == 1


def assert_alike(alone: Path, together: Path) -> None:
    """Two runs end with the same weights, and had the same losses."""
    one, two = (load_file(run / "checkpoints/last.safetensors") for run in (alone, together))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=2e-5, msg=name)
    losses = [
        [float(row["loss"]) for row in read_table(run / "metrics.csv") if row["loss"]]
        for run in (alone, together)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param(["-m"], id="devices"),
        pytest.param(
            ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"],
            id="torchrun",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_two_processes_take_the_steps_of_one_on_the_joined_batch(
    squares: Path, tmp_path: Path, framecast: Command, launcher: list[str]
):
    """Batch normalisation, in every time step, by the statistics of the joined batch."""
    alone, together = tmp_path / "alone", tmp_path / "together"
    data = ("--data", squares, "--out", alone)
    assert framecast("train", "course", *data, *TINY, *SETTINGS).code == 0
    devices = () if "torch.distributed.run" in launcher else ("--devices", "2")
    options = (*TINY, *SETTINGS, *devices)
    trained_by_two([sys.executable, *launcher], "course", squares, together, options)

    assert_alike(alone, together)


def test_what_is_fitted_before_the_training_is_fitted_once_and_sent_to_the_others(
    squares: Path, tmp_path: Path, framecast: Command
):
    alone, together = tmp_path / "alone", tmp_path / "together"
    options = (*WARP, *SETTINGS)
    assert framecast("train", "warp", "--data", squares, "--out", alone, *options).code == 0
    devices = (*options, "--devices", "2")
    trained_by_two([sys.executable, "-m"], "warp", squares, together, devices)
    assert_alike(alone, together)


def test_the_others_fit_nothing(monkeypatch: pytest.MonkeyPatch):
    def fitted(*_: object) -> None:
        raise AssertionError("fitted by a process that is not the first")

    for name in ("fit_states", "fit_sprites", "fit_shade", "fit_things"):
        monkeypatch.setattr(fit, name, fitted)
    parts = ["state_predictor.rule", "sprites.pose", "shade.says", "things.step"]
    model, store = cast(Any, None), cast(Any, None)
    with pytest.raises(AssertionError, match="not the first"):
        fit._prepare(model, parts, store, lambda *_: None)
    monkeypatch.setattr(fit, "is_first_process", lambda: False)
    fit._prepare(model, parts, store, lambda *_: None)


def test_two_processes_stop_together_when_one_is_told_to(squares: Path, tmp_path: Path):
    out = tmp_path / "run"
    data = ("--data", str(squares), "--out", str(out), "--devices", "2")
    endless = (*TINY, *SETTINGS, "--training.epochs=10000")
    command = [sys.executable, "-m", "framecast", "train", "course", *data, *endless]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            metrics = out / "metrics.csv"
            while not metrics.exists() or len(metrics.read_text().splitlines()) < 3:
                assert process.poll() is None
                time.sleep(0.05)
            process.terminate()
            told, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Training was interrupted at step" in told
    assert Checkpoint.load(out / "checkpoints/last.safetensors").step >= 2


def test_a_signal_after_an_agreement_waits_for_the_next_one(
    squares: Path, tmp_path: Path, framecast: Command, monkeypatch: pytest.MonkeyPatch
):
    """A process that left at once would leave the others waiting for it."""
    leaves: list[bool] = []

    def on_step(self: Agreement, trainer: Trainer, module: TrainingModule) -> None:
        if module.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            leaves.append(trainer.should_stop)

    monkeypatch.setattr(Agreement, "on_step", on_step)
    data = ("--data", squares, "--out", tmp_path / "run")
    settings = (*TINY, *SETTINGS, "--training.epochs=3", "--training.log_every=1")
    assert framecast("train", "course", *data, *settings).code == 130
    assert leaves == [False]
    assert Checkpoint.load(tmp_path / "run/checkpoints/last.safetensors").step == 3


def test_a_batch_that_cannot_be_shared_equally_is_refused(
    squares: Path, tmp_path: Path, framecast: Command
):
    data = ("--data", squares, "--out", tmp_path / "run", *TINY)
    line = framecast("train", "course", *data, "--devices", 3).one_line()
    assert "A batch of 2 clips cannot be shared equally by 3 devices" in line
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="--devices should be at least 1"):
        Devices.asked_for(0, 1)


def test_torchrun_decides_how_many_there_are(monkeypatch: pytest.MonkeyPatch):
    for name, value in (("RUN_ID", "x"), ("LOCAL_WORLD_SIZE", "2"), ("WORLD_SIZE", "6")):
        key = name if name.endswith("SIZE") else f"TORCHELASTIC_{name}"
        monkeypatch.setenv(key, value)
    assert Devices.asked_for(1, 1) == Devices(per_node=2, num_nodes=3)
