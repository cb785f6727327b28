"""Every recipe of the family trains, resumes, is evaluated and reported, on tiny data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from framecast.models.config import CourseConfig, ModelConfig, WarpConfig
from framecast.training.recipe import Recipe, read_recipe, recipe_from
from framecast.training.runs import Checkpoint, Run
from tests.conftest import TINY, Outcome

Command = Callable[..., Outcome]
FOLDER = Path(__file__).parents[2] / "recipes"
# vgg is as good as any narrow, and slow on a CPU even so: dcgan stands for it here.
SMALL = ("--model.image_network=dcgan", "--model.image_width=4", "--training.film_frames=6")


# Small, and with schedules that do not depend on a run's length, so that one may be continued.
SMALL_WARP = (
    *("--model.fine_width=8", "--model.middle_width=16", "--model.coarse_width=16"),
    *("--model.refiner_width=8", "--model.depth=1"),
    *("--clips.batch_size=2", "--clips.horizon=3", "--clips.first_horizon=0", "--clips.shift=0"),
    *("--teacher_forcing.schedule=constant", "--teacher_forcing.start=0.5"),
    *("--optimizer.lr_schedule=constant", "--optimizer.warmup_steps=0"),
    *("--training.precision=32-true", "--training.validation_clips=2", "--training.film_frames=6"),
    *("--training.epoch_size=2", "--training.validate_every=1", "--training.max_minutes=0"),
)


def recipes(kind: type[ModelConfig] = CourseConfig) -> dict[str, Recipe]:
    every = {path.stem: recipe_from(read_recipe(path), path.name) for path in FOLDER.glob("*.yaml")}
    return {n: recipe for n, recipe in every.items() if isinstance(recipe.model, kind)}


@pytest.mark.parametrize("name", sorted(recipes()))
def test_a_recipe_trains_resumes_and_is_evaluated_and_reported(
    squares: Path, tmp_path: Path, framecast: Command, name: str
):
    run, sizes = tmp_path / "run", [*TINY, *SMALL]
    model = recipes()[name].model
    assert isinstance(model, CourseConfig)
    if not model.latent_dim:
        sizes.append("--model.latent_dim=0")
    command = ("train", name, "--data", squares, "--out", run, *sizes, "--training.epoch_size=1")
    for epochs, resume in ((1, ()), (2, ("--resume",))):
        done = framecast(*command, f"--training.epochs={epochs}", *resume)
        assert done.code == 0, done.err
    assert Checkpoint.load(run / "checkpoints/last.safetensors").step == 2
    expected = 4 * model.code_size**2 if model.latent_dim else 0
    assert Run(run).load_model("last").latent_dim == expected
    is_scored_and_reported(framecast, run)


@pytest.mark.parametrize("name", sorted(recipes(WarpConfig)))
def test_a_warp_recipe_resumes_bit_equal_and_is_evaluated_and_reported(
    squares: Path, tmp_path: Path, framecast: Command, name: str
):
    unbroken, resumed, begun = (tmp_path / run for run in ("unbroken", "resumed", "begun"))
    sizes = SMALL_WARP
    model = recipes(WarpConfig)[name].model
    assert isinstance(model, WarpConfig)
    if model.latent_flows:
        backbone = ("--out", begun, "--training.epochs=1", *SMALL_WARP)
        base = name.removesuffix("_latent")
        assert framecast("train", base, "--data", squares, *backbone).code == 0
        sizes = (*SMALL_WARP, f"--training.start_from={begun}")
    for run, epochs, resume in ((unbroken, 2, ()), (resumed, 1, ()), (resumed, 2, ("--resume",))):
        command = ("train", name, "--data", squares, "--out", run, *sizes)
        done = framecast(*command, f"--training.epochs={epochs}", *resume)
        assert done.code == 0, done.err
    first, second = (load_file(run / "checkpoints/last.safetensors") for run in (unbroken, resumed))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    is_scored_and_reported(framecast, resumed)


def is_scored_and_reported(framecast: Command, run: Path) -> None:
    assert framecast("evaluate", run).code == 0
    assert framecast("report", run).code == 0
    assert (run / "report.html").stat().st_size > 10_000


def test_a_collapsed_posterior_is_told_in_words(squares: Path, tmp_path: Path, framecast: Command):
    """A weight that makes every nat dear presses the posterior onto its prior."""
    steps = ("--training.epochs=1", "--training.epoch_size=101", "--training.log_every=50")
    options = (*TINY, *SMALL, *steps, "--kl.beta=0.5")
    done = framecast("train", "course", "--data", squares, "--out", tmp_path / "run", *options)
    assert done.code == 0
    words = " ".join(done.out.split())
    assert "The posterior has collapsed" in words
    assert "0 of 4 latent dimensions" in words
    assert "implies a pixel noise of 55.43" in words

    rows = (tmp_path / "run" / "kl_per_dimension.csv").read_text().splitlines()
    assert rows[0] == "step,d0,d1,d2,d3"
    assert all(float(value) < 0.01 for value in rows[1].split(",")[1:])
