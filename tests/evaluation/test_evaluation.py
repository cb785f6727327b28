"""Scores and the report, through the real commands."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from framecast.evaluation.evaluate import ProtocolClips, clip_noise, copy_last, evaluate
from framecast.evaluation.protocols import COURSE
from framecast.metrics import psnr, ssim
from framecast.training.runs import Run
from tests.conftest import Outcome

Command = Callable[..., Outcome]


def document(run: Path) -> dict:
    return json.loads((run / "evaluation" / "course.json").read_text())


def test_scores_have_the_rows_and_the_protocol_they_promise(trained: Path):
    written = document(trained)
    assert set(written) == {"protocol", "scores"}
    assert list(written["scores"]) == ["model", "copy_last", "shuffled_actions"]
    for score in written["scores"].values():
        assert set(score) == {"psnr", "ssim", "psnr_per_step", "ssim_per_step", "num_clips"}
        assert len(score["psnr_per_step"]) == len(score["ssim_per_step"]) == 10
        assert score["num_clips"] == 3
        assert score["psnr"] == pytest.approx(np.mean(score["psnr_per_step"]))
    protocol = written["protocol"]
    assert (protocol["context"], protocol["horizon"], protocol["num_samples"]) == (2, 10, 1)
    assert protocol["states"] == "given"
    assert re.fullmatch(r"[0-9a-f]{64}", protocol["weights_sha256"])


def test_the_same_protocol_gives_the_same_file(trained: Path, tmp_path: Path, framecast: Command):
    run = shutil.copytree(trained, tmp_path / "run")
    before = (run / "evaluation" / "course.json").read_bytes()
    assert framecast("evaluate", run).code == 0
    assert (run / "evaluation" / "course.json").read_bytes() == before
    assert framecast("evaluate", run, "--seed", 1).code == 0
    other = document(run)["scores"]
    assert other["copy_last"] == json.loads(before)["scores"]["copy_last"]
    assert other["model"] != json.loads(before)["scores"]["model"]


def test_every_test_window_counts_the_same_wherever_batches_end(
    trained: Path, squares: Path, monkeypatch: pytest.MonkeyPatch
):
    run = Run(trained)
    model = run.load_model("best")
    protocol = dataclasses.replace(COURSE, horizon=3)
    clips = ProtocolClips.of(squares, protocol)
    assert len(clips) == 3 * 2
    results = []
    for batch_size in (4, 6):
        monkeypatch.setattr("framecast.evaluation.evaluate.BATCH_SIZE", batch_size)
        results.append(evaluate(model, clips, protocol, lambda _: None))
    for row in results[0]:
        assert results[0][row]["psnr"] == pytest.approx(results[1][row]["psnr"], abs=1e-4)


def test_scores_equal_those_computed_by_hand(trained: Path, squares: Path):
    model = Run(trained).load_model("best")
    clips = ProtocolClips.of(squares, COURSE)
    scores = evaluate(model, clips, COURSE, lambda _: None)
    clip = clips.batch(slice(0, 3))
    true = clip.float_frames(torch.float32)[2:]
    noise = clip_noise(model, COURSE, range(3))
    predicted = model.predict(clip, 2, noise, states_given=True)
    for row, future in (("model", predicted), ("copy_last", copy_last(clip, 2))):
        assert scores[row]["psnr"] == pytest.approx(float(psnr(future, true).mean()), abs=1e-4)
        assert scores[row]["ssim"] == pytest.approx(float(ssim(future, true).mean()), abs=1e-5)
    assert (copy_last(clip, 2) == clip.float_frames(torch.float32)[1]).all()


def test_shuffled_actions_come_from_another_episode_and_leave_the_context(squares: Path):
    clips = ProtocolClips.of(squares, COURSE)
    clip = clips.batch(slice(0, 3))
    strange = clips.with_strange_actions(clip, slice(0, 3), 2)
    assert (strange.frames == clip.frames).all()
    assert (strange.actions[:1] == clip.actions[:1]).all()
    assert (strange.states[:2] == clip.states[:2]).all()
    assert (strange.actions[1:] != clip.actions[1:]).any(dim=2).all()


def test_states_can_be_predicted_and_the_scores_say_so(
    trained: Path, tmp_path: Path, framecast: Command
):
    run = shutil.copytree(trained, tmp_path / "run")
    assert framecast("evaluate", run, "--states", "predicted", "--windows", "first").code == 0
    assert document(run)["protocol"]["states"] == "predicted"
    assert document(run)["protocol"]["windows"] == "first"


class Links(HTMLParser):
    """Everything a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.images = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.images += tag == "img"
        for name, value in attrs:
            inside = (value or "").startswith(("data:", "#"))
            if name in ("src", "href", "xlink:href") and not inside:
                self.fetched.append(f"{tag} {name}={value}")


def test_the_report_is_one_file_that_fetches_nothing(trained: Path):
    page = (trained / "report.html").read_text()
    links = Links()
    links.feed(page)
    assert links.fetched == []
    assert "url(http" not in page
    assert "<script" not in page
    assert links.images == 2 * 3  # a film and a strip of each of the three test clips
    assert len(page) < 15e6


def test_the_report_shows_the_scores_that_were_written(trained: Path):
    page = (trained / "report.html").read_text()
    for score in document(trained)["scores"].values():
        assert f"{score['psnr']:.2f}" in page
    assert "annealing: cyclical" in page


def test_a_report_before_an_evaluation_says_what_to_do(
    trained: Path, tmp_path: Path, framecast: Command
):
    run = shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(run / "evaluation")
    assert "framecast evaluate" in framecast("report", run).one_line()
    assert (run / "report.html").exists(), "the old report is still there"


@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, framecast: Command, command: str):
    assert "is not a run folder" in framecast(command, tmp_path).one_line()


def test_a_dataset_that_moved_is_one_line(trained: Path, tmp_path: Path, framecast: Command):
    run = shutil.copytree(trained, tmp_path / "run")
    described = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps(described | {"dataset": str(tmp_path / "gone")}))
    assert "is not a dataset folder" in framecast("evaluate", run).one_line()
