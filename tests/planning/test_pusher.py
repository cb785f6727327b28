"""Planning in the pusher world: tasks, policies, the simulator as model, hand and picture."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from framecast.data.episodes import EpisodeStore
from framecast.errors import UserError
from framecast.planning.actions import ActionBox
from framecast.planning.agents import clicks
from framecast.planning.benchmark import attempt, summary
from framecast.planning.handeye import learn_hand_eye, saved_hand_eye
from framecast.planning.planners import PlannerConfig
from framecast.planning.robot import Displacements
from framecast.planning.scripted import RandomAgent, ScriptedAgent
from framecast.planning.simulator import SimulatorAgent
from framecast.planning.tasks import KINDS, sample_task, seen_at
from framecast.planning.tracking import Mark
from framecast.pusher.env import PusherEnv
from framecast.pusher.renderer import Camera
from framecast.pusher.scene import ARM_BODIES


@pytest.fixture(scope="module")
def env() -> PusherEnv:
    return PusherEnv(16)


def test_after_restoring_a_snapshot_the_same_actions_give_the_same_future():
    env = PusherEnv(32)
    policy = env.default_policy()
    policy.reset(3)
    observation, info = env.reset(seed=3)
    for _ in range(4):
        observation, _, _, _, info = env.step(policy.act(observation, info))
    start = env.snapshot()
    actions = [policy.act(observation, info) for _ in range(5)]
    futures = []
    for _ in range(2):
        futures.append([env.step(action)[0]["pixels"] for action in actions])
        for action in actions[:2]:
            env.try_out(action)
        env.restore(start)
    np.testing.assert_array_equal(*futures)


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_names_the_task_and_nothing_is_done_yet(env: PusherEnv, kind: str):
    for seed in range(3):
        first, second, other = (sample_task(env, kind, s) for s in (seed, seed, seed + 50))
        np.testing.assert_array_equal(first.places, second.places)
        assert (first.seed, first.thing) == (second.seed, second.thing)
        assert first.seed != other.seed
        _, info = env.reset(seed=first.seed)
        distance = first.distance_cm(env.end_effector(), info["object_positions"])
        assert not first.succeeded(distance)
        if kind == "push":
            assert 6 <= distance <= 12.01
            across, down = clicks(env, first)[0]
            assert 0 < across < 16
            assert 0 < down < 16


def test_the_object_to_push_is_seen_and_clicked_on():
    env = PusherEnv(64)
    for seed in range(12):
        task = sample_task(env, "push", seed)
        env.reset(seed=task.seed)
        (across, down), goal = clicks(env, task)
        geoms = env.renderer.geom.reshape(64, 64)
        body = env.model.geom_bodyid[geoms[int(down), int(across)]]
        assert env.model.body(int(body)).name == f"thing_{task.thing}"
        thing = env.data.xpos[body]
        moved = env.camera.project(np.array([*task.places[task.thing], thing[2]]), 64)
        way = moved - env.camera.project(thing, 64)
        np.testing.assert_allclose(np.subtract(goal, (across, down)), way, atol=1e-9)


def test_an_object_by_the_arm_is_not_seen():
    env, hidden = PusherEnv(64), 0
    for seed in range(6):
        env.reset(seed=seed)
        bodies = torch.from_numpy(env.model.geom_bodyid[env.renderer.geom.reshape(64, 64)])
        arm = torch.isin(bodies, torch.tensor([env.model.body(name).id for name in ARM_BODIES]))
        near_arm = functional.max_pool2d(arm[None].float(), 5, stride=1, padding=2)[0] > 0
        for thing in range(len(env.scene.things)):
            shown = bodies == env.model.body(f"thing_{thing}").id
            is_hidden = int(shown.sum()) < 10 or bool((shown & near_arm).any())
            assert (seen_at(env, thing) is None) == is_hidden
            hidden += is_hidden
    assert hidden


def test_a_task_is_done_when_everything_is_where_it_should_be(env: PusherEnv):
    task = sample_task(env, "push", 1)
    _, info = env.reset(seed=task.seed)
    things = info["object_positions"].copy()
    things[task.thing, :2] = task.places[task.thing]
    assert task.distance_cm(env.end_effector(), things) == pytest.approx(0, abs=1e-4)
    things[task.thing, 0] += 0.031
    assert not task.succeeded(task.distance_cm(env.end_effector(), things))


def test_the_scripted_pusher_pushes_and_the_random_policy_does_not(env: PusherEnv):
    tasks = [(sample_task(env, "push", seed), seed) for seed in range(6)]
    scores = {
        name: [attempt(env, agent, task, seed) for task, seed in tasks]
        for name, agent in (("scripted", ScriptedAgent()), ("random", RandomAgent()))
    }
    table = summary({"push": scores})["push"]
    assert table["scripted"]["success"] >= 4 / 6
    assert table["scripted"]["success"] > table["random"]["success"] + 0.3
    assert table["scripted"]["distance_cm"] < table["random"]["distance_cm"]


def box_and_robot(pushes: EpisodeStore) -> tuple[ActionBox, Displacements]:
    robot = Displacements.of(pushes.spec)
    assert robot is not None
    return ActionBox.of(pushes.spec, fixed={"gripper": 1.0}), robot


@pytest.mark.parametrize("kind", ["reach", "push"])
def test_planning_in_the_simulator_itself_comes_closer(
    env: PusherEnv, pushes: EpisodeStore, kind: str
):
    config = PlannerConfig(horizon=10, candidates=12, rounds=2)
    agent = SimulatorAgent(config, *box_and_robot(pushes), execute=3)
    done = [attempt(env, agent, sample_task(env, kind, seed), seed) for seed in range(2)]
    assert all(one.end_cm < 0.75 * one.start_cm for one in done)
    assert sum(one.success for one in done) >= (2 if kind == "reach" else 1)


def test_planning_in_the_simulator_leaves_it_as_it_was(env: PusherEnv, pushes: EpisodeStore):
    task = sample_task(env, "push", 0)
    agent = SimulatorAgent(PlannerConfig(candidates=4, rounds=1), *box_and_robot(pushes), 1)
    actions = []
    for _ in range(2):
        observation, info = env.reset(seed=task.seed)
        agent.begin(env, task, observation, 0)
        before = env.snapshot()
        actions.append(agent.act(env, observation, info))
        np.testing.assert_array_equal(env.snapshot().physics, before.physics)
    np.testing.assert_array_equal(*actions)


def test_where_the_hand_is_in_the_picture_is_learned_from_recordings_alone(
    pushes: EpisodeStore, tmp_path: Path
):
    eye = learn_hand_eye(pushes)
    places = np.random.default_rng(0).uniform([-0.18, -0.14, 0.03], [0.18, 0.14, 0.03], (200, 3))
    true = np.array([Camera().project(place, 64) for place in places])
    gap = eye.pixels(places) - true
    assert eye.residual < 1.2
    assert np.abs(np.median(gap, axis=0)).max() < 4, "a few pixels at most to where it touches"
    assert gap.std(axis=0).max() < 2
    back = eye.places(eye.pixels(np.c_[places[:, :2], np.full(200, eye.contact_height)]))
    assert np.abs(back - places[:, :2]).max() < 0.01
    file = tmp_path / "planning" / "eye.json"
    first = saved_hand_eye(file, pushes.path.parent)
    np.testing.assert_allclose(saved_hand_eye(file, pushes.path.parent).weights, first.weights)


def test_recordings_without_positions_cannot_teach_it(squares: Path):
    store = EpisodeStore.open(squares, "train")
    with pytest.raises(UserError, match="no position x, y, z"):
        learn_hand_eye(store)


def test_an_object_is_followed_through_true_frames():
    env = PusherEnv()
    errors = []
    for seed in range(4):
        task = sample_task(env, "push", seed)
        observation, info = env.reset(seed=task.seed)
        agent = ScriptedAgent()
        agent.begin(env, task, observation, seed)
        pixel, _ = clicks(env, task)
        frame = torch.from_numpy(observation["pixels"]).permute(2, 0, 1) / 255
        mark = Mark.at(frame, pixel)
        place = mark.place[None]
        start = info["object_positions"][task.thing]
        offset = mark.place.numpy() - env.camera.project(np.array([*start[:2], 0.02]), 64)
        for _ in range(24):
            observation, _, _, _, info = env.step(agent.act(env, observation, info))
            frame = torch.from_numpy(observation["pixels"]).permute(2, 0, 1) / 255
            place, _ = mark.find(frame[None], place)
        thing = info["object_positions"][task.thing]
        true = env.camera.project(np.array([*thing[:2], 0.02]), 64) + offset
        errors.append(float(np.linalg.norm(place[0].numpy() - true)))
    assert np.median(errors) < 1.5, errors


def test_a_budget_is_the_same_for_every_planner():
    config = PlannerConfig(candidates=20, rounds=3)
    for name in ("shooting", "cem", "icem", "mppi"):
        assert dataclasses.replace(config, name=name).num_evaluations == 60
