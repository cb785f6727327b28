"""Training from another run's weights: what is taken, what is trained, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from framecast.models.base import VideoModel
from framecast.training import fit
from framecast.training.runs import Checkpoint, Run
from tests.conftest import Outcome

Command = Callable[..., Outcome]
SIZES = (
    *("--model.fine_width=8", "--model.middle_width=8", "--model.coarse_width=8"),
    *("--model.refiner_width=8", "--model.depth=1", "--model.num_flows=2"),
    *("--clips.batch_size=2", "--clips.horizon=2", "--clips.first_horizon=0"),
    *("--training.epochs=1", "--training.epoch_size=1", "--training.validate_every=1"),
    *("--training.precision=32-true", "--training.validation_clips=2", "--training.film_frames=5"),
)
NEW_PARTS = "--training.only_new_parts=true"


@pytest.fixture
def begun(squares: Path, tmp_path: Path, framecast: Command) -> Path:
    """A run of the warp model without a latent."""
    run = tmp_path / "begun"
    done = framecast("train", "warp", "--data", squares, "--out", run, *SIZES)
    assert done.code == 0, done.err
    return run


def weights(run: Path, name: str = "best") -> dict[str, torch.Tensor]:
    checkpoint = Checkpoint.load(run / f"checkpoints/{name}.safetensors")
    return checkpoint.average or checkpoint.model


def test_a_run_begins_with_the_weights_of_another(
    squares: Path, tmp_path: Path, framecast: Command, begun: Path
):
    run = tmp_path / "further"
    command = ("train", "warp", "--data", squares, "--out", run, *SIZES, "--seed=9")
    done = framecast(*command, "--optimizer.lr=0", f"--training.start_from={begun}")
    assert done.code == 0, done.err
    before, after = weights(begun), weights(run)
    assert before.keys() == after.keys()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value)


def test_a_run_begins_with_the_weights_of_an_exported_model(
    squares: Path, tmp_path: Path, framecast: Command, begun: Path
):
    package, run = tmp_path / "package", tmp_path / "further"
    assert framecast("export", begun, "--out", package).code == 0
    command = ("train", "warp", "--data", squares, "--out", run, *SIZES, "--seed=9")
    done = framecast(*command, "--optimizer.lr=0", f"--training.start_from={package}")
    assert done.code == 0, done.err
    before, after = weights(begun), weights(run)
    assert before.keys() == after.keys()
    for name, value in before.items():  # an exported model is in half precision
        torch.testing.assert_close(after[name], value, rtol=1e-3, atol=1e-6)


def test_a_prediction_of_states_is_fitted_where_it_is_new_and_else_taken(
    squares: Path, tmp_path: Path, framecast: Command, monkeypatch: pytest.MonkeyPatch
):
    fitted: list[VideoModel[Any]] = []
    monkeypatch.setattr(fit, "fit_states", lambda model, *_: fitted.append(model))
    plain, further, last = (tmp_path / name for name in ("plain", "further", "last"))
    train = ("train", "warp", "--data", squares, *SIZES, "--out")
    assert framecast(*train, plain, "--model.state_history=false").code == 0
    assert framecast(*train, further, f"--training.start_from={plain}").code == 0
    assert len(fitted) == 2
    assert framecast(*train, last, f"--training.start_from={further}").code == 0
    assert len(fitted) == 2
    names = {name for name in weights(last) if "state_predictor" in name}
    assert names - weights(plain).keys()
    assert all(torch.equal(weights(last)[name], weights(further)[name]) for name in names)


def test_a_run_in_the_way_is_found_before_anything_is_fitted(
    squares: Path, framecast: Command, begun: Path, monkeypatch: pytest.MonkeyPatch
):
    fitted: list[VideoModel[Any]] = []
    monkeypatch.setattr(fit, "fit_sprites", lambda model, *_: fitted.append(model))
    done = framecast("train", "warp", "--data", squares, "--out", begun, *SIZES)
    assert "holds a run already" in done.one_line()
    assert not fitted


def test_how_a_finished_run_predicts_may_be_changed(squares: Path, framecast: Command, begun: Path):
    """Its weights stay; what training knows of may not be changed."""
    before = weights(begun)
    command = ("train", "warp", "--data", squares, "--out", begun, *SIZES, "--resume")
    assert framecast(*command, "--model.mask_sharpness=2").code == 0
    assert Run.open(begun).recipe().model.mask_sharpness == 2.0
    model = Run.open(begun).load_model("best")
    assert model.compositor.mask_sharpness == 2.0
    assert all(torch.equal(weights(begun)[name], value) for name, value in before.items())
    assert "was trained with model" in framecast(*command, "--model.num_flows=3").one_line()


def test_only_new_parts_are_trained(squares: Path, tmp_path: Path, framecast: Command, begun: Path):
    run = tmp_path / "latent"
    command = ("train", "warp_latent", "--data", squares, "--out", run, *SIZES, NEW_PARTS)
    assert framecast(*command, f"--training.start_from={begun}").code == 0
    before, after = weights(begun), Checkpoint.load(run / "checkpoints/last.safetensors").model
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert {name.partition(".")[0] for name in after.keys() - before.keys()} == {"latent_flows"}


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("--model.fine_width=16", "Give the model the settings of the recipe.yaml"),
        (NEW_PARTS, "has every part of this model"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    squares: Path,
    tmp_path: Path,
    framecast: Command,
    begun: Path,
    setting: str,
    told: str,
):
    run = tmp_path / "further"
    command = ("train", "warp", "--data", squares, "--out", run, *SIZES, setting)
    done = framecast(*command, f"--training.start_from={begun}")
    assert told in done.one_line()
    assert not run.exists()


def test_new_parts_need_a_run_whose_parts_are_kept(
    squares: Path, tmp_path: Path, framecast: Command
):
    run = tmp_path / "latent"
    done = framecast("train", "warp_latent", "--data", squares, "--out", run, *SIZES, NEW_PARTS)
    assert "--training.start_from RUN" in done.one_line()
    assert not run.exists()
