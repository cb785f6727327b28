"""A run that is killed at any moment, without warning, ends as if it had not been."""

from __future__ import annotations

import contextlib
import csv
import multiprocessing
import os
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file

from framecast.cli import main
from tests.conftest import TINY

STEPS = ("--training.epochs=4", "--training.epoch_size=3", "--training.save_every_minutes=0.0001")
NUM_ROWS = 16  # 12 steps and 4 validations
SETTINGS = ("--kl.annealing=cyclical", "--teacher_forcing.start=0.5", "--training.average_decay=.9")


def run_command(arguments: list[str]) -> None:
    """In a process of its own."""
    torch.set_num_threads(1)
    with open(os.devnull, "w") as silence, contextlib.redirect_stdout(silence):
        raise SystemExit(main(arguments))


@pytest.fixture(scope="module")
def processes() -> multiprocessing.context.BaseContext:
    """Processes that start quickly, from one that has imported everything once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["framecast.training.fit", __name__])
    return context


def begin(context: multiprocessing.context.BaseContext, data: Path, out: Path) -> BaseProcess:
    arguments = ["train", "course", "--data", str(data), "--out", str(out), *TINY, *STEPS]
    if (out / "recipe.yaml").exists():
        arguments.append("--resume")
    process = context.Process(target=run_command, args=([*arguments, *SETTINGS],))
    process.start()
    return process


def contents(run: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, str]]]:
    tensors = {
        f"{name} {key}": tensor
        for name in ("last", "best")
        for key, tensor in load_file(run / "checkpoints" / f"{name}.safetensors").items()
    }
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    return tensors, [{k: v for k, v in row.items() if k != "minutes"} for row in rows]


def kill_at(process: BaseProcess, run: Path, num_rows: int, delay: float) -> bool:
    """Kill the process a moment after its log has so many rows; False where it ended before."""
    log = run / "metrics.csv"
    while process.is_alive():
        if num_rows == 0 or (log.exists() and len(log.read_bytes().splitlines()) > num_rows):
            process.join(timeout=delay)
            break
        time.sleep(0.001)
    if not process.is_alive():
        assert process.exitcode == 0
        return False
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("kills", [3, pytest.param(12, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_moments_ends_bit_equal_to_an_unbroken_one(
    squares: Path, tmp_path: Path, processes: multiprocessing.context.BaseContext, kills: int
):
    unbroken = begin(processes, squares, tmp_path / "unbroken")
    unbroken.join()
    assert unbroken.exitcode == 0

    random, run, killed = Random(kills), tmp_path / "killed", 0
    for num_rows in sorted(random.randint(0, NUM_ROWS - 1) for _ in range(kills)):
        process = begin(processes, squares, run)
        killed += kill_at(process, run, num_rows, delay=random.uniform(0, 0.2))
    assert killed, "every run was over before its moment came"
    last = begin(processes, squares, run)
    last.join()
    assert last.exitcode == 0
    assert killed, "the moments were too late to test anything"

    (expected, expected_rows), (tensors, rows) = contents(tmp_path / "unbroken"), contents(run)
    assert tensors.keys() == expected.keys()
    for name, tensor in tensors.items():
        assert (tensor == expected[name]).all(), name
    assert rows == expected_rows
