"""`framecast plan` and `framecast plan-bench`, as they are called."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import TINY, Outcome

Command = Callable[..., Outcome]
PUSHER = ("--env", "framecast/Pusher-v0")
SMALL = ("--candidates", 4, "--rounds", 1, "--horizon", 4, "--execute", 2, "--precision", "32")


def plan(folder: Path) -> dict:
    document = json.loads((folder / "plan.json").read_text())
    for decision in document["decisions"]:
        decision.pop("seconds")
    document.pop("seconds_per_decision")
    return document


def test_a_task_is_planned_and_the_seed_gives_the_same_decisions_and_film(
    pusher_run: Path, tmp_path: Path, framecast: Command
):
    arguments = ("plan", pusher_run, *PUSHER, "--task", "reach", "--steps", 5, *SMALL)
    outcomes = []
    for name, seed in (("a", 2), ("b", 2), ("c", 3)):
        out = tmp_path / name
        done = framecast(*arguments, "--seed", seed, "--out", out)
        assert done.code == 0, done.err
        assert "cm from the goal" in done.out
        outcomes.append((plan(out), (out / "plan.gif").read_bytes()))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][1] != outcomes[2][1]
    document = outcomes[0][0]
    assert [decision["step"] for decision in document["decisions"]] == [0, 2, 4]
    assert len(document["actions"]) == 5
    assert len(document["decisions"][0]["plan"]) == 4
    assert document["task"]["kind"] == "reach"
    with Image.open(tmp_path / "a" / "plan.gif") as film:
        assert film.n_frames == 6


def test_without_a_run_the_shipped_model_plans(tmp_path: Path, framecast: Command):
    arguments = ("plan", *PUSHER, "--task", "push", "--seed", 3, "--steps", 2, *SMALL)
    done = framecast(*arguments, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    document = json.loads((tmp_path / "out" / "plan.json").read_text())
    assert document["run"] == "shipped"
    assert {action[3] for action in document["actions"]} == {1.0}, "the gripper is closed"
    clip = ("plan", "--clip", 1, "--goal", "image=+3", "--out", tmp_path / "clip")
    assert "add --data" in framecast(*clip).one_line()
    last = framecast("plan-bench", "--checkpoint", "last", "--episodes", 1)
    assert "--checkpoint chooses" in last.one_line()


def test_goals_are_weighed_and_clicked(pusher_run: Path, tmp_path: Path, framecast: Command):
    goal = tmp_path / "goal.png"
    Image.new("RGB", (64, 64), (90, 90, 90)).save(goal)
    goals = ("--goal", f"image={goal}@0.5", "--goal", "reach=0.1,0.0,0.08@2")
    own = ("--goal", "tests.planning.test_commands:calm")
    arguments = ("plan", pusher_run, *PUSHER, *goals, *own, "--steps", 2, *SMALL)
    done = framecast(*arguments, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert plan(tmp_path / "out")["goals"][2] == own[1]


def calm(futures):
    """A cost of one's own: small actions."""
    return futures.actions.square().sum(dim=(0, 2))


def test_a_plan_on_a_recorded_clip_needs_no_simulator(
    pusher_run: Path, tmp_path: Path, framecast: Command
):
    arguments = ("plan", pusher_run, "--clip", 1, "--goal", "image=+3", *SMALL)
    done = framecast(*arguments, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    document = plan(tmp_path / "out")
    assert len(document["decisions"]) == 1
    assert document["actions"] == []
    with Image.open(tmp_path / "out" / "plan.gif") as film:
        assert film.n_frames == 5


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--goal", "reach=9,0,0"), "x=9 is out of reach"),
        (("--goal", "reach=a,b"), "Expected numbers"),
        (("--goal", "pixel=99,1:2,2"), "outside the 64x64"),
        (("--goal", "image=nowhere.png"), "no goal image nowhere.png"),
        (("--goal", "image=+99", "--clip", "0"), "no goal image"),
        (("--goal", "nonsense"), "A goal is"),
        (("--goal", "no.such:cost"), "module:function"),
        (("--goal", "reach=0,0,0.05@x"), "not a number"),
        (("--goal", "reach=0,0,0.05", "--fix", "griper=1"), "Did you mean 'gripper'"),
        (("--goal", "reach=0,0,0.05", "--candidates", "1"), "candidates should be"),
        ((), "Say what to plan for"),
    ],
)
def test_what_cannot_be_planned_is_one_line(
    pusher_run: Path, tmp_path: Path, framecast: Command, arguments: tuple[str, ...], what: str
):
    out = tmp_path / "out"
    done = framecast("plan", pusher_run, *PUSHER, "--steps", 1, *SMALL, *arguments, "--out", out)
    assert what in done.one_line()
    assert not out.exists()


def test_a_goal_image_of_another_size_is_refused(
    pusher_run: Path, tmp_path: Path, framecast: Command
):
    Image.new("RGB", (80, 60)).save(tmp_path / "goal.png")
    goal = f"image={tmp_path / 'goal.png'}"
    done = framecast("plan", pusher_run, *PUSHER, "--goal", goal, "--out", tmp_path / "out")
    assert "80x60" in done.one_line()


def test_a_model_that_does_not_listen_is_refused(
    pushes_folder: Path, tmp_path: Path, framecast: Command
):
    run = tmp_path / "deaf"
    sizes = ("--training.epochs=1", "--training.epoch_size=1", "--model.condition=none")
    done = framecast("train", "course", "--data", pushes_folder, "--out", run, *TINY, *sizes)
    assert done.code == 0, done.err
    out = tmp_path / "out"
    done = framecast("plan", run, *PUSHER, "--goal", "pixel=30,30:40,30", *SMALL, "--out", out)
    assert "trained without actions" in done.one_line()
    assert not out.exists()


def test_an_environment_of_other_bounds_is_refused(
    trained: Path, tmp_path: Path, framecast: Command
):
    done = framecast("plan", trained, *PUSHER, "--goal", "reach=30,30", "--out", tmp_path / "out")
    assert "The model takes 2 actions" in done.one_line()


def test_the_benchmark_writes_what_it_promises(
    pusher_run: Path, tmp_path: Path, framecast: Command
):
    file = tmp_path / "bench.json"
    agents = ("--agents", "random,scripted,simulator,model")
    arguments = ("--tasks", "reach,match", "--episodes", 1, "--seed", 1, "--json", file, *SMALL)
    done = framecast("plan-bench", pusher_run, *arguments, *agents)
    assert done.code == 0, done.err
    scores = json.loads(file.read_text())
    assert list(scores) == ["reach", "match"]
    for rows in scores.values():
        assert list(rows) == ["random", "scripted", "simulator", "model"]
        for row in rows.values():
            assert {"success", "distance_cm", "seconds_per_decision", "episodes"} <= set(row)
            assert 0 <= row["success"] <= 1
            assert row["episodes"] == 1
    assert scores["reach"]["scripted"]["success"] == 1


def test_a_benchmark_needs_a_model_of_the_pusher(trained: Path, framecast: Command):
    assert "the pusher's actions" in framecast("plan-bench", trained, "--episodes", 1).one_line()
    assert "some of reach" in framecast("plan-bench", trained, "--tasks", "fly").one_line()
