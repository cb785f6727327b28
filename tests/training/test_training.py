"""Training, through the real command on tiny data."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from framecast.cli.train import _Countdown
from framecast.data.episodes import EpisodeStore
from framecast.data.header import Header
from framecast.data.windows import Windows
from framecast.data.writer import DatasetWriter
from framecast.models.course import CourseModel
from framecast.training.module import Share, TrainingBatches
from framecast.training.recipe import Recipe, read_recipe, recipe_from, recipe_path
from framecast.training.runs import Checkpoint, Run
from tests.conftest import TINY, Outcome, moving_square, write_squares

Command = Callable[..., Outcome]
FOLDER = Path(__file__).parents[2] / "recipes"


def train(framecast: Command, data: Path, out: Path, *options: str) -> Outcome:
    return framecast("train", "course", "--data", data, "--out", out, *TINY, *options)


def sizes(epochs: int, epoch_size: int = 3) -> tuple[str, str, str]:
    constant = "--kl.annealing=constant"  # a cycle's length would depend on the run's
    return f"--training.epochs={epochs}", f"--training.epoch_size={epoch_size}", constant


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def same_weights(one: Path, two: Path) -> bool:
    first, second = (load_file(run / "checkpoints" / "last.safetensors") for run in (one, two))
    return first.keys() == second.keys() and all((first[k] == second[k]).all() for k in first)


def test_a_run_folder_holds_all_that_later_steps_need(trained: Path):
    expected = {
        *("recipe.yaml", "data.json", "environment.json", "metrics.csv", "tensorboard"),
        *("checkpoints", "samples", "evaluation", "report.html", "kl_per_dimension.csv"),
    }
    assert {path.name for path in trained.iterdir()} == expected
    assert list((trained / "tensorboard").glob("events.out.tfevents.*"))
    assert {path.name for path in (trained / "samples").iterdir()} == {
        "step_0000003.png",
        "step_0000006.png",
    }
    assert not list(trained.rglob("*.partial"))
    assert not list(trained.rglob("*.ckpt")), "nothing is pickled"


def test_every_step_is_logged_with_its_weights(trained: Path):
    logged = [row for row in rows(trained) if row["loss"]]
    assert [int(row["step"]) for row in logged] == [1, 2, 3, 4, 5, 6]
    assert all(float(row["teacher_forcing"]) == 1 for row in logged)
    assert [float(row["beta"]) for row in logged][:3] == [0.0, 1e-4, 0.0]  # three cycles
    validated = [row for row in rows(trained) if row["validation_psnr"]]
    assert [int(row["step"]) for row in validated] == [3, 6]


@pytest.mark.parametrize(
    "options",
    [
        ("--optimizer.name=adam", "--teacher_forcing.gradient=false"),
        ("--optimizer.name=rmsprop", "--training.average_decay=0.9"),
        ("--optimizer.name=muon", "--kl.annealing=constant"),
        ("--optimizer.name=sgd", "--training.accumulate=2", "--clips.batch_size=4"),
        ("--optimizer.name=adamw", "--kl.annealing=dynamic", "--kl.beta=0.01", "--kl.free_bits=.1"),
    ],
    ids=["adam", "averaged", "muon", "accumulated", "dynamic"],
)
def test_a_resumed_run_ends_bit_equal_to_an_unbroken_one(
    squares: Path, tmp_path: Path, framecast: Command, options: tuple[str, ...]
):
    options = (*options, "--teacher_forcing.start=0.5")
    unbroken, resumed = tmp_path / "unbroken", tmp_path / "resumed"
    assert train(framecast, squares, unbroken, *sizes(2), *options).code == 0
    assert train(framecast, squares, resumed, *sizes(1), *options).code == 0
    assert not same_weights(unbroken, resumed)
    assert train(framecast, squares, resumed, *sizes(2), *options, "--resume").code == 0
    assert same_weights(unbroken, resumed)
    without_time = [{k: v for k, v in row.items() if k != "minutes"} for row in rows(unbroken)]
    assert without_time == [
        {k: v for k, v in row.items() if k != "minutes"} for row in rows(resumed)
    ]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves_the_step_and_the_run_goes_on_as_if_unbroken(
    squares: Path, tmp_path: Path, framecast: Command, sent: signal.Signals
):
    before = signal.getsignal(sent)
    run, unbroken = tmp_path / "run", tmp_path / "unbroken"
    metrics = run / "metrics.csv"

    def interrupt() -> None:
        while not metrics.exists() or len(metrics.read_text().splitlines()) < 4:
            time.sleep(0.01)
        os.kill(os.getpid(), sent)

    threading.Thread(target=interrupt, daemon=True).start()
    stopped = train(framecast, squares, run, *sizes(2, 40))
    assert stopped.code == 130
    assert signal.getsignal(sent) == before
    assert "--resume goes on" in stopped.out.replace("\n", " ")
    step = Checkpoint.load(run / "checkpoints" / "last.safetensors").step
    assert 2 <= step < 80
    done = train(framecast, squares, run, *sizes(2, 40), "--resume")
    assert done.code == 0, done.err
    assert train(framecast, squares, unbroken, *sizes(2, 40)).code == 0
    assert same_weights(run, unbroken)


def test_time_that_is_up_ends_a_run_in_good_order(
    squares: Path, tmp_path: Path, framecast: Command
):
    done = train(framecast, squares, tmp_path / "run", *sizes(900), "--training.max_minutes=0.03")
    assert done.code == 0
    assert "its time was up" in done.out
    assert Checkpoint.load(tmp_path / "run/checkpoints/last.safetensors").step < 2700


def test_what_a_run_ends_with_is_validated(squares: Path, tmp_path: Path, framecast: Command):
    rarely = (squares, tmp_path / "run", "--training.validate_every=1000")
    assert train(framecast, *rarely, *sizes(900), "--training.max_minutes=0.03").code == 0
    last = Checkpoint.load(tmp_path / "run/checkpoints/last.safetensors")
    best = Checkpoint.load(tmp_path / "run/checkpoints/best.safetensors")
    assert best.step == last.step
    assert last.best_psnr == best.best_psnr > 0


def test_validations_are_counted_over_all_parts_of_a_run(
    squares: Path, tmp_path: Path, framecast: Command
):
    run = tmp_path / "run"
    assert train(framecast, squares, run, *sizes(3), "--training.validate_every=2").code == 0
    resumed = train(framecast, squares, run, *sizes(5), "--training.validate_every=2", "--resume")
    assert resumed.code == 0, resumed.err
    validated = [int(row["step"]) for row in rows(run) if row["validation_psnr"]]
    assert validated == [6, 9, 12, 15]


def test_a_loss_that_is_no_number_stops_before_it_reaches_a_checkpoint(
    squares: Path, tmp_path: Path, framecast: Command, monkeypatch: pytest.MonkeyPatch
):
    plain, calls = CourseModel.loss, []

    def breaks(self: CourseModel, *arguments: object):
        calls.append(1)
        loss = plain(self, *arguments)
        if len(calls) == 5:
            loss.total.data.fill_(torch.nan)
        return loss

    monkeypatch.setattr(CourseModel, "loss", breaks)
    run = tmp_path / "run"
    line = train(framecast, squares, run, *sizes(3)).one_line()
    assert "loss became nan at step 4" in line
    assert "optimizer.lr" in line
    checkpoint = Checkpoint.load(run / "checkpoints" / "last.safetensors")
    assert checkpoint.step == 3
    assert all(torch.isfinite(tensor).all() for tensor in checkpoint.model.values())


def test_a_full_disk_while_saving_keeps_the_checkpoint_before(
    squares: Path, tmp_path: Path, framecast: Command, monkeypatch: pytest.MonkeyPatch
):
    run = tmp_path / "run"
    assert train(framecast, squares, run, *sizes(1)).code == 0
    before = (run / "checkpoints" / "last.safetensors").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("framecast.training.runs.save_file", full)
    line = train(framecast, squares, run, *sizes(2), "--resume").one_line()
    assert "disk is full" in line
    assert (run / "checkpoints" / "last.safetensors").read_bytes() == before


def test_without_a_validation_split_a_run_trains_and_keeps_its_last_step(
    tmp_path: Path, framecast: Command
):
    data = write_squares(tmp_path / "data")
    (data / "validation.h5").unlink()
    assert train(framecast, data, tmp_path / "run", *sizes(1)).code == 0
    assert Run(tmp_path / "run").default_checkpoint() == "last"


def test_an_average_is_what_is_validated_kept_as_best_and_sampled_from(
    squares: Path, tmp_path: Path, framecast: Command
):
    run = tmp_path / "run"
    assert train(framecast, squares, run, *sizes(1), "--training.average_decay=0.5").code == 0
    last, best = (Checkpoint.load(run / f"checkpoints/{n}.safetensors") for n in ("last", "best"))
    assert any((last.model[name] != last.average[name]).any() for name in last.model)
    assert not best.average
    loaded = {name: Run(run).load_model(name).state_dict() for name in ("last", "best")}
    for name, tensor in last.average.items():
        assert (loaded["last"][name] == tensor).all()
        assert (best.model[name] == tensor).all()  # one validation, at the last step


def test_a_run_that_gets_no_better_stops(squares: Path, tmp_path: Path, framecast: Command):
    run = tmp_path / "run"
    norms = ("--model.norm=group", "--model.predictor_norm=none")  # nothing that learns by itself
    still = ("--optimizer.lr=0", "--training.patience=2", *norms)
    done = train(framecast, squares, run, *sizes(9, 1), *still, "--training.average_decay=.01")
    assert done.code == 0, done.err
    assert "2 validations brought no better score" in done.out.replace("\n", " ")
    step = Checkpoint.load(run / "checkpoints" / "last.safetensors").step
    assert step < 9
    again = train(
        framecast, squares, run, *sizes(9, 1), *still, "--resume", "--training.average_decay=.01"
    )
    assert "2 validations brought no better score" in again.out.replace("\n", " ")
    assert Checkpoint.load(run / "checkpoints" / "last.safetensors").step == step


# ---- recipes


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.yaml")))
def test_a_recipe_that_comes_along_is_whole(name: str):
    recipe = recipe_from(read_recipe(recipe_path(name)), name)
    assert recipe_from(yaml.safe_load(recipe.to_yaml()), "again") == recipe


def test_the_course_recipe_has_the_courses_defaults():
    recipe = recipe_from(read_recipe(recipe_path("course")), "course")
    assert (recipe.optimizer.lr, recipe.optimizer.beta1, recipe.optimizer.name) == (
        2e-3,
        0.9,
        "adam",
    )
    assert (recipe.clips.context, recipe.clips.horizon, recipe.clips.batch_size) == (2, 10, 12)
    assert (recipe.kl.beta, recipe.kl.cycles, recipe.kl.ratio) == (1e-4, 3, 0.5)
    assert (recipe.training.epochs, recipe.training.epoch_size, recipe.seed) == (300, 600, 1)
    model = recipe.model
    assert (model.code_dim, model.latent_dim, model.hidden_dim) == (128, 64, 256)
    assert (model.predictor_layers, model.posterior_layers) == (2, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kl: {anealing: cyclical}", "no setting kl.anealing. Did you mean 'annealing'?"),
        ("modle: {}", "no setting modle. Did you mean 'model'?"),
        ("kl: {beta: much}", "beta"),
        ("kl: {annealing: sometimes}", "sometimes"),
        ("clips: {context: 0}", "clips.context should be between 1 and 1000, got 0"),
        ("teacher_forcing: {start: 1.5}", "teacher_forcing.start should be between 0 and 1"),
        ("model: {kind: curse}", "no model of kind 'curse'. Did you mean 'course'?"),
        ("model: {laten_dim: 3}", "no setting model.laten_dim. Did you mean 'latent_dim'?"),
        ("training: {accumulate: 5}", "cannot be worked through in training.accumulate = 5"),
        ("teacher_forcing: {decay_from: .7, decay_until: .2}", "should come before"),
        ("kl: 3", "expected settings under kl"),
        ("[1, 2]", "expected settings"),
        ("{: :", "is not YAML"),
        ("seed: 1\nkl: {}\nseed: 2\n", "the key 'seed' stands there twice"),
    ],
)
def test_a_recipe_with_a_fault_is_one_line_that_names_it(
    squares: Path, tmp_path: Path, framecast: Command, text: str, message: str
):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(text)
    out = tmp_path / "run"
    assert message in framecast("train", recipe, "--data", squares, "--out", out).one_line()
    assert not out.exists()


def test_an_unknown_recipe_suggests_one_that_exists(tmp_path: Path, framecast: Command):
    line = framecast("train", "curse", "--data", "x", "--out", tmp_path / "run").one_line()
    assert "Did you mean 'course'?" in line


def test_options_go_before_the_recipe_and_the_run_keeps_what_was_used(trained: Path):
    recipe = Run(trained).recipe()
    assert recipe.model.code_dim == 8
    assert recipe.kl.annealing == "cyclical"
    assert recipe.optimizer == Recipe().optimizer


def test_training_clips_are_seen_with_their_states_moved(squares: Path):
    store = EpisodeStore.open(squares, "train")
    plain, moved = (
        TrainingBatches(Windows(store, 12), recipe_from(told, "told"), range(1), Share(0, 1, 1))[0]
        for told in ({}, {"clips": {"state_shift": 1.0}})
    )
    assert (plain.frames == moved.frames).all()
    by = moved.states - plain.states
    assert (by.abs() > 0.01).any()
    torch.testing.assert_close(by, by[:1].expand_as(by), rtol=0, atol=1e-4)


# ---- what does not fit


def test_a_run_is_not_overwritten_and_not_resumed_with_other_settings(
    squares: Path, trained: Path, tmp_path: Path, framecast: Command
):
    run = shutil.copytree(trained, tmp_path / "run")
    assert "holds a run already" in train(framecast, squares, run, *sizes(2)).one_line()
    other = ("--model.code_dim=9", "--resume")
    line = train(framecast, squares, run, *sizes(2), "--kl.annealing=cyclical", *other).one_line()
    assert "was trained with model" in line


def test_a_dataset_without_the_states_a_recipe_needs_is_refused_before_anything_is_written(
    tmp_path: Path, framecast: Command
):
    data = write_squares(tmp_path / "data", with_states=False)
    assert "has no states" in train(framecast, data, tmp_path / "run", *sizes(1)).one_line()
    assert not (tmp_path / "run").exists()


def test_targets_of_unknown_states_are_refused_before_anything_is_written(
    tmp_path: Path, framecast: Command
):
    names, units = ("d0", "d1"), ("px", "px")
    header = Header(64, 64, 3, 5.0, names, units, ("x", "y"), units, "squares", ("target",) * 2)
    with DatasetWriter(tmp_path / "data", header) as writer:
        writer.add("train", moving_square(0))
    moved = (*sizes(1), "--clips.state_shift=1")
    line = train(framecast, tmp_path / "data", tmp_path / "run", *moved).one_line()
    assert "none has a state's name (x, y). Set it to 0." in line
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_action_dimension_is_refused_by_name(
    trained: Path, tmp_path: Path, framecast: Command
):
    other = write_squares(tmp_path / "other", num_actions=3)
    line = framecast("evaluate", trained, "--data", other).one_line()
    assert "action of 2 numbers (d0, d1)" in line
    assert "3 numbers (d0, d1, d2)" in line

    run = tmp_path / "run"
    options = (*TINY, *sizes(1))
    assert framecast("train", "course", "--data", other, "--out", run, *options).code == 0
    foreign = run / "checkpoints" / "last.safetensors"
    mixed = shutil.copytree(trained, tmp_path / "mixed")
    shutil.copyfile(foreign, mixed / "checkpoints" / "best.safetensors")
    assert "2 numbers (d0, d1)" in framecast("evaluate", mixed).one_line()


@pytest.mark.parametrize("damage", ["cut", "empty", "pickle", "renamed"])
def test_a_damaged_checkpoint_is_refused(
    trained: Path, tmp_path: Path, framecast: Command, damage: str
):
    run = shutil.copytree(trained, tmp_path / "run")
    file = run / "checkpoints" / "best.safetensors"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:5000])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "pickle":
        torch.save({"model": torch.zeros(3)}, file)
    else:
        whole = Checkpoint.load(file)
        tensors = {f"model.other_{name}": tensor for name, tensor in whole.model.items()}
        save_file(
            tensors,
            file,
            {
                "step": "1",
                "clip_spec": whole.spec.to_json(),
                "minutes": "0",
                "best_psnr": "0",
            },
        )
    line = framecast("evaluate", run).one_line()
    assert "best.safetensors" in line


def test_what_is_prepared_twice_is_counted_down_twice():
    notes: list[str] = []
    countdown = _Countdown(notes.append)
    for _ in range(2):
        for done in (1, 2, 3):
            countdown("states", done, 3)
    assert notes == ["preparing: states, 0 s left", "preparing"] * 2
