"""Sweeps, through the real command on tiny data."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from framecast.training.runs import Run
from framecast.training.sweep import Sweep
from framecast.training.sweep_spec import read_spec
from framecast.training.sweep_summary import by_level, importances, seed_spread
from framecast.training.tables import read_table
from tests.conftest import TINY, Outcome

Command = Callable[..., Outcome]
RECIPES = Path(__file__).parents[2] / "recipes"
NARROW = {
    name.removeprefix("--"): yaml.safe_load(value)
    for name, value in (option.split("=") for option in TINY)
}
GRID = {
    "recipe": "course",
    "settings": NARROW | {"training.epochs": 1, "training.epoch_size": 2},
    "seeds": [1, 2],
    "search": {
        "forcing": {
            "always": {"teacher_forcing.start": 1.0},
            "never": {"teacher_forcing.start": 0.0},
        },
    },
}


def write(path: Path, spec: dict) -> Path:
    path.write_text(yaml.safe_dump(spec))
    return path


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "table.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_grid_trains_every_combination_and_says_what_mattered(
    squares: Path, tmp_path: Path, framecast: Command
):
    spec, out = write(tmp_path / "grid.yaml", GRID), tmp_path / "sweep"
    done = framecast("sweep", spec, "--data", squares, "--out", out)
    assert done.code == 0, done.err
    found = rows(out)
    assert {(row["seed"], row["forcing"]) for row in found} == {
        (seed, forcing) for seed in "12" for forcing in ("always", "never")
    }
    scores = [float(row["best_validation_psnr"]) for row in found]
    assert scores == sorted(scores, reverse=True)
    for row in found:
        recipe = Run(out / f"trial_{int(row['trial']):04d}").recipe()
        assert str(recipe.seed) == row["seed"]
        assert (recipe.teacher_forcing.start == 1.0) == (row["forcing"] == "always")
    assert (out / "importance.png").read_bytes().startswith(b"\x89PNG")

    sweep = Sweep(read_spec(spec), squares, out)
    assert 0 <= sum(importances(sweep).values()) <= 1 + 1e-9
    assert sum(count for _, _, count in by_level(sweep)["seed"].values()) == 4
    assert seed_spread(sweep) > 0

    again = framecast("sweep", spec, "--data", squares, "--out", out)
    assert again.code == 0
    assert rows(out) == found, "a finished sweep trains nothing more"
    other = write(tmp_path / "other.yaml", GRID | {"seeds": [1]})
    line = framecast("sweep", other, "--data", squares, "--out", out).one_line()
    assert "another sweep" in line


def test_a_range_is_searched_and_workers_share_the_trials(
    squares: Path, tmp_path: Path, framecast: Command
):
    search = {"optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True}}
    spec = GRID | {"search": search, "trials": 4}
    spec.pop("seeds")
    out = tmp_path / "sweep"
    command = ("sweep", write(tmp_path / "range.yaml", spec), "--data", squares, "--out", out)
    done = framecast(*command, "--workers", 2)
    assert done.code == 0, done.err
    rates = {float(row["optimizer.lr"]) for row in rows(out)}
    assert len(rates) == 4
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)


def test_a_killed_sweep_goes_on_with_the_trial_that_was_under_way(
    squares: Path, tmp_path: Path, framecast: Command
):
    settings = GRID["settings"] | {"training.epoch_size": 6, "training.save_every_minutes": 1e-4}
    spec = write(tmp_path / "one.yaml", GRID | {"settings": settings, "seeds": [1]})
    out = tmp_path / "sweep"
    arguments = ["sweep", str(spec), "--data", str(squares), "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "framecast", *arguments], stdout=subprocess.DEVNULL
    )
    checkpoint = out / "trial_0000" / "checkpoints" / "last.safetensors"
    while not checkpoint.exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = framecast(*arguments)
    assert done.code == 0, done.err
    assert sorted(row["trial"] for row in rows(out)) == ["0", "1"]
    steps = [row["step"] for row in read_table(out / "trial_0000/metrics.csv")]
    assert steps == ["1", "2", "3", "4", "5", "6", "6"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"serch": {}}, "no key serch. Did you mean 'search'?"),
        ({"search": {"kl.bta": [1]}}, "no setting kl.bta. Did you mean 'beta'?"),
        ({"search": {"kl.beta": 3}}, "should be a list of values, a range"),
        ({"search": {"kl.beta": {"low": 0, "high": 1}}}, "how many trials"),
        ({"search": {"kl.annealing": ["sometimes"]}}, "sometimes"),
        ({"recipe": "curse"}, "no recipe named 'curse'"),
    ],
)
def test_a_spec_with_a_fault_is_one_line_that_names_it(
    squares: Path, tmp_path: Path, framecast: Command, change: dict, message: str
):
    spec = write(tmp_path / "spec.yaml", GRID | change)
    out = tmp_path / "sweep"
    assert message in framecast("sweep", spec, "--data", squares, "--out", out).one_line()
    assert not out.exists()


def test_the_courses_discussion_is_a_grid_of_what_the_report_discusses():
    spec = read_spec(RECIPES / "sweeps" / "course_discussion.yaml")
    assert spec.is_grid
    assert spec.trials == 2 * 5 * 3 * 2
    minutes = {spec.recipe(chosen).training.max_minutes for chosen in spec.grid()}
    assert len(minutes) == 1, "equal training time"
    assert 0 < spec.trials * minutes.pop() / 2 <= 120, "minutes with two workers"
