"""`framecast bench`: pairs, ratios, the file it writes and what it refuses."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from framecast.cli import main
from framecast.speed.pairs import Benchmark, convolution_peak, measure
from framecast.speed.suite import benchmarks, import_course, train_step


def test_a_ratio_is_plain_time_over_own_time_for_the_same_work():
    benchmark = Benchmark(
        name="naps",
        title="naps",
        goal=8.0,
        ours=lambda: time.sleep(0.01),
        plain=lambda: time.sleep(0.05),
        share=0.5,
    )
    turns = []
    timing = measure(benchmark, 3, lambda: turns.append(1))
    assert len(turns) == 4, "one turn does not count"
    assert 5 < timing.ratio < 11, "0.05 s for half of the work against 0.01 s"
    assert timing.low <= timing.ratio <= timing.high
    assert timing.operations is None


def test_a_rate_is_work_over_time():
    benchmark = Benchmark("naps", "naps", 25.0, lambda: time.sleep(0.02), rate=4, unit="naps/s")
    assert 100 < measure(benchmark, 2, lambda: None).ratio <= 200


def test_operations_are_counted_and_stay_below_the_peak():
    flops = train_step("dcgan", teacher_forcing=True).flops
    assert 150e9 < flops < 220e9, "12 frames of 12 clips, forward and backward"
    assert convolution_peak() > 1e9


def test_quick_times_the_documented_benchmarks():
    assert list(benchmarks(quick=True)) == [
        "cli_help",
        "load_windows",
        "pusher_episodes",
        "train_step_dcgan64",
        "train_step_rollout_dcgan64",
        "train_step_vgg64",
        "sample_dcgan64",
        "sample_vgg64",
    ]
    assert set(benchmarks(quick=False)) > set(benchmarks(quick=True))


def test_the_command_writes_what_it_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "speed.json"
    command = ["bench", "--quick", "--pairs", "1", "--json", str(file)]
    assert main([*command, "--only", "cli_help", "load_windows"]) == 0
    written = json.loads(file.read_text())
    assert [entry["name"] for entry in written] == ["cli_help", "load_windows"]
    for entry in written:
        assert {"name", "ratio", "spread", "goal"} <= entry.keys()
        assert entry["ratio"] > 1
        assert entry["spread"] == 0, "of one pair"
    assert "load_windows" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["speed.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "load_window"], "Did you mean 'load_windows'?"),
        (["--pairs", "0"], "--pairs should be at least 1, got 0"),
        (["--json", "nowhere/speed.json"], "There is no folder for nowhere/speed.json"),
    ],
)
def test_what_it_refuses(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *arguments]) == 1
    assert message in " ".join(capsys.readouterr().err.split())


def test_importing_is_timed_over_and_over(tmp_path: Path):
    timing = measure(import_course(tmp_path, episodes=4), 2, lambda: None)
    assert timing.ratio > 0
    assert len(list(tmp_path.glob("imported_*"))) == 3
