"""Training on mirror images, and a model that predicts in the mirror too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import Outcome
from tests.training.test_family import SMALL_WARP, is_scored_and_reported

Command = Callable[..., Outcome]


def test_a_run_with_mirrors_resumes_bit_equal_and_is_scored_and_reported(
    squares: Path, tmp_path: Path, framecast: Command
):
    mirrors = ("--model.mirror=d0", "--clips.mirror=d0")
    unbroken, resumed, plain = (tmp_path / name for name in ("unbroken", "resumed", "plain"))
    for run, epochs, options in (
        (unbroken, 2, mirrors),
        (resumed, 1, mirrors),
        (resumed, 2, (*mirrors, "--resume")),
        (plain, 2, ()),
    ):
        command = ("train", "warp", "--data", squares, "--out", run, *SMALL_WARP, *options)
        done = framecast(*command, f"--training.epochs={epochs}")
        assert done.code == 0, done.err
    first, second, other = (
        load_file(run / "checkpoints/last.safetensors") for run in (unbroken, resumed, plain)
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in other), "no clip was mirrored"
    is_scored_and_reported(framecast, resumed)


@pytest.mark.parametrize("setting", ["--model.mirror=d9", "--clips.mirror=d9"])
def test_a_name_that_is_no_signal_is_refused_before_anything_is_written(
    squares: Path, tmp_path: Path, framecast: Command, setting: str
):
    run = tmp_path / "run"
    done = framecast("train", "warp", "--data", squares, "--out", run, *SMALL_WARP, setting)
    assert "its signals are d0, d1, x, y" in done.one_line()
    assert not run.exists()
