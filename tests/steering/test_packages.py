"""A model to hand on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from framecast.data.episodes import EpisodeStore
from framecast.data.windows import Windows
from framecast.steering import serving
from framecast.training import packages
from framecast.training.packages import Package
from framecast.training.runs import Run
from tests.conftest import Outcome

Command = Callable[..., Outcome]


@pytest.fixture
def exported(run_folder: Path, tmp_path: Path, framecast: Command) -> Path:
    out = tmp_path / "model"
    assert framecast("export", run_folder, "--out", out).code == 0
    return out


def test_an_exported_model_predicts_what_the_run_does(
    exported: Path, run_folder: Path, squares: Path
):
    run, package = Run(run_folder), Package(exported)
    clip = Windows(EpisodeStore.open(squares, "test"), 8).at(np.array([0, 12]))
    futures = [
        model.predict(clip, 2, None, states_given=False)
        for model in (run.load_model(run.default_checkpoint()), package.load_model())
    ]
    torch.testing.assert_close(*futures, rtol=0, atol=1 / 255)


def test_an_export_is_small_whole_and_half_precise(exported: Path, run_folder: Path):
    assert {path.name for path in exported.iterdir()} == {
        *("model.safetensors", "recipe.yaml", "data.json", "README.md")
    }
    full = Run(run_folder).checkpoint_file("best").stat().st_size
    assert Package(exported).weights_file.stat().st_size < 0.55 * full
    with safe_open(exported / "model.safetensors", framework="pt") as file:
        kinds = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    assert torch.float16 in kinds
    assert Package(exported).recipe() == Run(run_folder).recipe()
    card = (exported / "README.md").read_text()
    scores = json.loads((run_folder / "evaluation" / "course.json").read_text())["scores"]
    assert f"{scores['model']['psnr']:.2f}" in card
    assert "moving squares" in card


def test_an_export_overwrites_only_an_export(
    exported: Path, run_folder: Path, tmp_path: Path, framecast: Command
):
    before = load_file(exported / "model.safetensors")
    assert "--overwrite" in framecast("export", run_folder, "--out", exported).one_line()
    assert framecast("export", run_folder, "--out", exported, "--overwrite").code == 0
    after = load_file(exported / "model.safetensors")
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("keep")
    assert (
        "exists already"
        in framecast("export", run_folder, "--out", other, "--overwrite").one_line()
    )
    assert (other / "mine.txt").read_text() == "keep"


def test_a_model_too_large_to_hand_on_is_refused_and_leaves_nothing(
    run_folder: Path, tmp_path: Path, framecast: Command, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(packages, "MAX_MEGABYTES", 0.01)
    line = framecast("export", run_folder, "--out", tmp_path / "model").one_line()
    assert "in half precision" in line
    assert list(tmp_path.iterdir()) == []


def test_an_export_needs_recordings_unless_it_is_of_the_pusher(
    exported: Path, squares: Path, framecast: Command
):
    assert "name them with --data" in framecast("steer", exported).one_line()
    steering = serving.prepare(exported, None, squares, "test", None)
    assert steering.title == "model"
    assert steering.drag is not None
    steering.close()


def test_a_damaged_model_is_one_line(
    exported: Path, squares: Path, tmp_path: Path, framecast: Command
):
    broken = shutil.copytree(exported, tmp_path / "broken")
    file = broken / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    done = framecast("steer", broken, "--data", squares)
    assert "is not a whole framecast checkpoint" in done.one_line()


def test_without_a_shipped_model_the_command_says_what_to_do(
    tmp_path: Path, framecast: Command, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(packages, "SHIPPED", tmp_path / "nothing")
    assert "holds no trained model" in framecast("steer").one_line()


def test_the_shipped_model_is_steered_from_fresh_scenes():
    if not Package.is_one(packages.SHIPPED):
        pytest.skip("this checkout holds no trained model")
    assert Package.shipped().weights_file.stat().st_size <= packages.MAX_MEGABYTES * 1e6
    steering = serving.prepare(None, None, None, "test", None)
    assert steering.starts.has_scenes
    steering.close()
