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

from framecast.clip import Clip
from framecast.evaluation.baselines import linear_motion
from framecast.evaluation.clips import with_zero_actions
from framecast.evaluation.evaluate import Evaluator, ProtocolClips, clip_noise, copy_last
from framecast.evaluation.groups import GroupStore
from framecast.evaluation.protocols import COURSE, PRESETS, Protocol
from framecast.evaluation.sampling import batch_entries, clips_at_once, sample_futures, sampler_of
from framecast.evaluation.statistics import Bootstrap
from framecast.evaluation.summary import Summary
from framecast.metrics import METRICS, psnr, ssim
from framecast.training.runs import Run
from tests.conftest import Outcome

Command = Callable[..., Outcome]


def document(run: Path, name: str = "course") -> dict:
    return json.loads((run / "evaluation" / f"{name}.json").read_text())


def scored(evaluator: Evaluator) -> dict[str, dict]:
    groups = evaluator.run(lambda _: None)
    bootstrap = Bootstrap(evaluator.clips.episodes(), seed=0)
    return Summary(groups, evaluator.protocol, bootstrap).scores()


@pytest.fixture(scope="module")
def model(trained: Path):
    return Run(trained).load_model("best")


def test_scores_have_the_rows_and_the_protocol_they_promise(trained: Path):
    written = document(trained)
    assert {"protocol", "written", "episodes", "scores"} == set(written)
    assert set(written["scores"]) == {
        *("model", "prior_mean", "copy_last", "linear_motion"),
        *("shuffled_actions", "zero_actions"),
    }
    for score in written["scores"].values():
        assert len(score["psnr_per_step"]) == len(score["ssim_per_step"]) == 10
        assert score["num_clips"] == 3
        for metric in METRICS:
            assert score[metric] == pytest.approx(np.mean(score[f"{metric}_per_step"]))
            assert score[metric] == pytest.approx(np.mean(score["per_clip"][metric]))
            low, high = score["interval"][metric]
            assert low <= score[metric] <= high
    protocol = written["protocol"]
    assert (protocol["context"], protocol["horizon"], protocol["num_samples"]) == (2, 10, 1)
    assert protocol["states"] == "given"
    assert set(METRICS) < set(protocol), "the variant of every metric"
    for checksum in ("weights_sha256", "clips_sha256"):
        assert re.fullmatch(r"[0-9a-f]{64}", protocol[checksum])


def test_the_same_protocol_gives_the_same_file_but_for_the_time(
    trained: Path, tmp_path: Path, framecast: Command
):
    run = shutil.copytree(trained, tmp_path / "run")
    path = run / "evaluation" / "course.json"

    def without_time() -> str:
        return re.sub(r'"written": "[^"]*"', "", path.read_text())

    before, written = without_time(), document(run)
    assert framecast("evaluate", run).code == 0
    assert without_time() == before
    assert framecast("evaluate", run, "--seed", 1).code == 0
    other = document(run)["scores"]
    assert other["copy_last"]["per_clip"] == written["scores"]["copy_last"]["per_clip"]
    assert other["model"]["per_clip"] != written["scores"]["model"]["per_clip"]


def test_every_test_window_counts_the_same_wherever_batches_end(model, squares: Path):
    protocol = dataclasses.replace(COURSE, horizon=3, num_samples=4)
    clips = ProtocolClips.of(squares, protocol)
    assert len(clips) == 3 * 2
    results = []
    for memory in (1, 50, 1000):
        evaluator = Evaluator(model, clips, protocol, memory_mb=memory)
        results.append((evaluator.entries, scored(evaluator)))
    assert len({entries for entries, _ in results}) == 3
    for _, other in results[1:]:
        for row, score in results[0][1].items():
            assert score["per_clip"]["psnr"] == pytest.approx(
                other[row]["per_clip"]["psnr"], abs=1e-4
            )


def test_a_sample_does_not_depend_on_its_batch_mates(model, squares: Path):
    protocol = dataclasses.replace(COURSE, horizon=4, num_samples=5)
    clip = ProtocolClips.of(squares, protocol).batch(slice(0, 3))
    sampler = sampler_of(model, protocol)
    together = sample_futures(sampler, clip, protocol, range(3), range(5))
    alone = sample_futures(sampler, clip.take(slice(1, 2)), protocol, range(1, 2), range(3, 4))
    assert together.shape == (4, 3, 5, 3, 64, 64)
    torch.testing.assert_close(alone[:, 0, 0], together[:, 1, 3], rtol=0, atol=1e-5)
    assert (together[:, 0, 0] != together[:, 0, 1]).any()


def test_scores_equal_those_computed_by_hand(model, squares: Path):
    clips = ProtocolClips.of(squares, COURSE)
    scores = scored(Evaluator(model, clips, COURSE))
    clip = clips.batch(slice(0, 3))
    true = clip.float_frames(torch.float32)[2:]
    noise = clip_noise(model, COURSE, range(3))
    predicted = model.predict(clip, 2, noise, states_given=True)
    for row, future in (("model", predicted), ("copy_last", copy_last(clip, 2))):
        assert scores[row]["psnr"] == pytest.approx(float(psnr(future, true).mean()), abs=1e-4)
        assert scores[row]["ssim"] == pytest.approx(float(ssim(future, true).mean()), abs=1e-5)
    assert (copy_last(clip, 2) == clip.float_frames(torch.float32)[1]).all()


def test_the_best_of_n_is_chosen_for_the_whole_future_by_the_metric_named(model, squares: Path):
    protocol = dataclasses.replace(COURSE, num_samples=6, best_by="ssim")
    clips = ProtocolClips.of(squares, protocol)
    groups = Evaluator(model, clips, protocol).run(lambda _: None)
    summary = Summary(groups, protocol, Bootstrap(clips.episodes(), 0))
    scores, curves = summary.scores(), summary.over_samples()
    values = np.concatenate([group.rows["model"] for group in groups], axis=-1)
    ssims = values[list(METRICS).index("ssim")].mean(axis=1)  # (S, N)
    assert scores["best"]["per_clip"]["ssim"] == pytest.approx(ssims.max(axis=0).tolist())
    assert scores["worst"]["per_clip"]["ssim"] == pytest.approx(ssims.min(axis=0).tolist())
    psnrs = values[list(METRICS).index("psnr")].mean(axis=1)
    chosen = psnrs[ssims.argmax(axis=0), np.arange(len(clips))]
    assert scores["best"]["per_clip"]["psnr"] == pytest.approx(chosen.tolist())
    assert curves["ssim"][-1] == pytest.approx(scores["best"]["ssim"])
    assert curves["mse"] == sorted(curves["mse"], reverse=True), "less is better"


def test_the_average_of_samples_is_scored_as_one_future(model, squares: Path):
    protocol = dataclasses.replace(COURSE, horizon=3, num_samples=4)
    clips = ProtocolClips.of(squares, protocol)
    scores = scored(Evaluator(model, clips, protocol))
    clip = clips.batch(slice(0, len(clips)))
    sampler = sampler_of(model, protocol)
    drawn = sample_futures(sampler, clip, protocol, range(len(clips)), range(4))
    by_hand = psnr(drawn.mean(dim=2), clip.float_frames(torch.float32)[2:])
    assert scores["average"]["psnr"] == pytest.approx(float(by_hand.mean()), abs=0.01), "in bytes"
    assert scores["average"]["mse"] < scores["model"]["mse"], "less error than that of a sample"
    assert "average" not in scored(
        Evaluator(model, clips, dataclasses.replace(protocol, num_samples=1))
    )


def test_an_interrupted_evaluation_goes_on_and_ends_the_same(
    model, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("framecast.evaluation.sampling.MOST_CLIPS", 2)
    protocol = dataclasses.replace(COURSE, horizon=3, num_samples=3)
    evaluator = Evaluator(model, ProtocolClips.of(squares, protocol), protocol)
    assert len(evaluator.groups) >= 3
    whole = scored(evaluator)
    kept = GroupStore(tmp_path, "course", {"a": 1})

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluator.run(interrupt, kept)
    assert kept.num_kept == 1
    (tmp_path / kept.folder.name / "000001.npz").write_bytes(b"cut off")
    again = GroupStore(tmp_path, "course", {"a": 1})
    scored_slices = []
    score = Evaluator.score
    monkeypatch.setattr(
        Evaluator, "score", lambda self, chosen: scored_slices.append(chosen) or score(self, chosen)
    )
    groups = evaluator.run(lambda _: None, again)
    assert scored_slices == evaluator.groups[1:], "the first group is read, the broken one is not"
    resumed = Summary(groups, protocol, Bootstrap(evaluator.clips.episodes(), 0)).scores()
    assert resumed == whole
    assert GroupStore(tmp_path, "course", {"a": 2}).num_kept == 0


def test_memory_bounds_what_is_scored_together():
    svg = PRESETS["svg"]
    assert 1 < batch_entries(64 * 64 * 3, memory_mb=500) < 100
    assert clips_at_once(svg, 64 * 64 * 3, memory_mb=500) == 7  # of 100 samples of 28 frames
    assert clips_at_once(COURSE, 64 * 64 * 3, memory_mb=500) == 16
    assert batch_entries(64 * 64 * 3, memory_mb=1) == 1


def test_presets_are_those_of_the_literature():
    sizes = {name: (p.context, p.horizon, p.num_samples) for name, p in PRESETS.items()}
    assert sizes == {
        "course": (2, 10, 1),
        "svg": (2, 28, 100),
        "fvd": (2, 14, 1),
        "token": (1, 15, 1),
    }
    for preset in PRESETS.values():
        assert Protocol.from_dict(preset.to_dict() | {"psnr": "a variant"}) == preset


def test_many_samples_bring_calibration_and_a_curve(
    trained: Path, tmp_path: Path, framecast: Command
):
    run = shutil.copytree(trained, tmp_path / "run")
    done = framecast("evaluate", run, "--samples", 5, "--name", "five", "--context", 1)
    assert done.code == 0, done.err
    written = document(run, "five")
    assert len(written["over_samples"]["psnr"]) == 5
    assert "linear_motion" not in written["scores"], "one frame shows no motion"
    histogram = written["calibration"]["rank_histogram"]["all"]
    assert len(histogram) == 6
    assert sum(histogram) == pytest.approx(1)
    assert framecast("report", run, "--protocol", "five").code == 0
    assert "Does it believe its own uncertainty?" in (run / "report-five.html").read_text()


def test_the_shipped_model_is_scored_beside_runs_of_its_world_only(
    trained: Path, framecast: Command
):
    line = framecast("evaluate", trained, "--shipped").one_line()
    assert "The model expects action of 4 numbers" in line


def test_a_twin_is_scored_by_its_one_future(trained: Path, tmp_path: Path, framecast: Command):
    run = shutil.copytree(trained, tmp_path / "run")
    assert framecast("evaluate", run, "--twin", trained).code == 0
    scores = document(run)["scores"]
    assert scores["twin"] == scores["prior_mean"]
    assert document(run)["protocol"]["twin"] == document(trained)["protocol"]["weights_sha256"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--protocol", "cours"], "Did you mean 'course'?"),
        (["--horizon", 0], "horizon should be at least 1"),
        (["--horizon", 11], "A window needs 13 frames"),
        (["--prior", "mean", "--samples", 3], "num_samples has to be 1"),
        (["--name", "../up"], "--name takes letters"),
        (["--memory", 0], "--memory should be at least 1"),
        (["--clips", 1], "at least 2 clips"),
        (["--true-futures", 4], "only for what `framecast record"),
    ],
)
def test_a_protocol_that_makes_no_sense_is_one_line(
    trained: Path, framecast: Command, options: list[object], said: str
):
    before = (trained / "evaluation" / "course.json").read_bytes()
    assert said in framecast("evaluate", trained, *options).one_line()
    assert (trained / "evaluation" / "course.json").read_bytes() == before


def test_linear_motion_goes_on_where_the_square_went():
    frames = torch.zeros(4, 1, 3, 64, 64, dtype=torch.uint8)
    # Of a plain square only the border moves visibly.
    square = torch.randint(100, 255, (3, 8, 8), dtype=torch.uint8)
    for step in range(4):
        frames[step, 0, :, 20:28, 10 + 3 * step : 18 + 3 * step] = square
    clip = Clip(frames, torch.zeros(3, 1, 2))
    error = (linear_motion(clip, 2) - clip.float_frames(torch.float32)[2:]).abs()
    still = (copy_last(clip, 2) - clip.float_frames(torch.float32)[2:]).abs()
    # What moves away leaves its old place as it was.
    assert (error.sum(dim=(1, 2, 3, 4)) < still.sum(dim=(1, 2, 3, 4))).all()
    assert error[1, 0, 0, 20:28, 19:27].max() < 0.05


def test_zero_actions_hold_the_state_and_leave_the_context(squares: Path):
    clip = ProtocolClips.of(squares, COURSE).batch(slice(0, 2))
    still = with_zero_actions(clip, 2)
    assert (still.actions[0] == clip.actions[0]).all()
    assert (still.actions[1:] == 0).all()
    assert (still.states[:2] == clip.states[:2]).all()
    assert (still.states[2:] == clip.states[1]).all()


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
    assert "fetch(" not in page
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
