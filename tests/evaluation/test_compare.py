"""Runs side by side: the same clips, paired differences, nothing compared that differs."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from framecast.evaluation import compare
from framecast.evaluation.tables import Grid
from framecast.training.runs import Run
from framecast.training.tables import read_table
from tests.conftest import TINY, Outcome

Command = Callable[..., Outcome]


@pytest.fixture(scope="module")
def runs(trained: Path, squares: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The tiny run, and another one from another seed that does not use states."""
    from framecast.cli import main

    folder = tmp_path_factory.mktemp("compared")
    first = shutil.copytree(trained, folder / "first")
    other = folder / "other"
    options = ["--training.epochs=1", "--training.epoch_size=2", "--seed=5"]
    options.append("--model.condition=action")
    data = ["--data", str(squares), "--out", str(other)]
    assert main(["train", "course", *data, *TINY, *options]) == 0
    assert main(["evaluate", str(other)]) == 0
    return [first, other]


def scores(run: Path) -> dict:
    return json.loads((run / "evaluation" / "course.json").read_text())


def change(run: Path, tmp_path: Path, **fields: object) -> Path:
    """A copy of a run with other fields in its protocol."""
    copy = shutil.copytree(run, tmp_path / "changed")
    document = scores(copy)
    document["protocol"] |= fields
    (copy / "evaluation" / "course.json").write_text(json.dumps(document))
    return copy


def test_differences_are_means_over_the_same_clips(runs: list[Path]):
    documents = compare.read_runs(runs, "course")
    first, other = documents.values()
    gap, (low, high) = compare.difference(other, first, "model", "psnr")
    assert gap == pytest.approx(other["scores"]["model"]["psnr"] - first["scores"]["model"]["psnr"])
    assert low <= gap <= high
    assert compare.difference(first, first, "model", "psnr") == (0.0, [0.0, 0.0])


def test_a_difference_clip_by_clip_is_surer_than_the_scores():
    random = np.random.default_rng(0)
    easy = random.normal(20, 5, size=40)

    def document(values: np.ndarray) -> dict:
        row = {"per_clip": {"psnr": values.tolist()}}
        return {"scores": {"model": row}, "episodes": list(range(40)), "protocol": {"seed": 0}}

    reference, better = document(easy), document(easy + 0.5 + random.normal(0, 0.1, size=40))
    gap, (low, high) = compare.difference(better, reference, "model", "psnr")
    assert 0 < low < gap < high < 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("horizon", 9), ("seed", 3), ("clips_sha256", "0" * 64), ("psnr", "pooled")],
)
def test_different_protocols_are_refused_naming_the_field(
    runs: list[Path], tmp_path: Path, framecast: Command, field: str, value: object
):
    changed = change(runs[1], tmp_path, **{field: value})
    line = framecast("compare", runs[0], changed).one_line()
    assert f"cannot be compared: {field} is " in line


def test_compare_prints_and_writes_tables_plots_and_films(
    runs: list[Path], tmp_path: Path, framecast: Command
):
    out = tmp_path / "comparison"
    done = framecast("compare", *runs, "--out", out)
    assert done.code == 0, done.err
    assert "first" in done.out
    assert "cannot be told apart from" in done.out or "differs from" in done.out
    names = {path.name for path in out.iterdir()}
    assert {"comparison.md", "comparison.tex", "comparison.csv", "psnr.svg", "ssim.svg"} < names
    with (out / "comparison.csv").open() as file:
        rows = list(csv.reader(file))
    assert [row[1] for row in rows[:4]] == ["run", "first", "other", "copy the last frame"]
    assert rows[1][2].startswith(f"{scores(runs[0])['scores']['model']['psnr']:.2f} [")
    with Image.open(out / "clip_0.gif") as film:
        assert film.n_frames == 12
        assert film.width == 3 * (64 * 3 + 3) - 3, "the truth and both runs"


def test_what_cannot_be_compared_is_one_line(runs: list[Path], tmp_path: Path, framecast: Command):
    assert "at least 2 runs" in framecast("compare", runs[0]).one_line()
    assert "named twice" in framecast("compare", runs[0], runs[0]).one_line()
    assert (
        "no scores by the protocol svg"
        in framecast("compare", *runs, "--protocol", "svg").one_line()
    )
    unknown = framecast("compare", *runs, "--metrics", "beauty").one_line()
    assert "was not measured" in unknown


def test_results_are_read_from_the_files_and_are_the_same_each_time(
    runs: list[Path], tmp_path: Path, framecast: Command
):
    page = tmp_path / "docs" / "results.md"
    for _ in range(2):
        before = page.read_text() if page.exists() else None
        assert framecast("results", *runs, "--out", page).code == 0
        assert before is None or page.read_text() == before
    text = page.read_text()
    for run in runs:
        assert f"| {run.name}, one sample | {scores(run)['scores']['model']['psnr']:.2f} [" in text
    assert text.count("| copy the last frame |") == 1, "the same clips share a table"
    assert "framecast results" in text
    for run in runs:
        parameters = sum(p.numel() for p in Run.open(run).load_model("best").parameters())
        steps = read_table(Run.open(run).metrics_file)[-1]["step"]
        line = next(line for line in text.splitlines() if line.startswith(f"| {run.name} | "))
        assert f"| {parameters / 1e6:.2f} M | {steps} |" in line
    values = [float(scores(run)["scores"]["model"]["psnr"]) for run in runs]
    texts = [f"{value:.2f}" for value in values]
    for run, own in zip(runs, texts, strict=True):
        line = next(line for line in text.splitlines() if line.startswith(f"| {run.name} | "))
        best = own == f"{max(values):.2f}"
        assert f"| **{own}** |" in line if best else f"| {own} |" in line, "what it scores, too"


def test_other_protocols_get_tables_of_their_own(
    runs: list[Path], tmp_path: Path, framecast: Command
):
    changed = change(runs[1], tmp_path, horizon=9)
    assert framecast("results", runs[0], changed).out.count("\n## course: ") == 2


def test_a_grid_is_escaped_for_latex_and_quoted_for_csv():
    grid = Grid(("run_1", "50%"), (("a & b", '1,"2"'),))
    assert r"run\_1 & 50\% \\" in grid.latex()
    assert r"a \& b" in grid.latex()
    assert list(csv.reader(grid.csv().splitlines())) == [["run_1", "50%"], ["a & b", '1,"2"']]
    assert grid.markdown().splitlines()[0] == "| run_1 | 50% |"
