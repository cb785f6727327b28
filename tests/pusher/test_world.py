"""Laws of the pusher world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from framecast.pusher.domains import SHIFTED, USUAL
from framecast.pusher.env import PusherEnv
from framecast.pusher.scene import BIN_HALF

STILL = np.array([0, 0, 0, -1], np.float32)


@pytest.fixture(scope="module")
def env() -> PusherEnv:
    return PusherEnv()


def film(env: PusherEnv, seed: int, steps: int = 8, **options: int) -> tuple[Any, Any]:
    """Frames and commands of the random policy, or of the same commands in another world."""
    policy = env.default_policy()
    policy.reset(seed)
    observation, info = env.reset(seed=seed, options=options)
    frames, actions = [observation["pixels"]], []
    for _ in range(steps):
        actions.append(policy.act(observation, info))
        observation, _, _, _, info = env.step(actions[-1])
        frames.append(observation["pixels"])
    return np.stack(frames), np.stack(actions)


def replay(env: PusherEnv, seed: int, actions: Any, **options: int) -> Any:
    observation, _ = env.reset(seed=seed, options=options)
    return np.stack([observation["pixels"], *(env.step(action)[0]["pixels"] for action in actions)])


def test_it_is_an_environment_as_gymnasium_wants_it():
    env = gymnasium.make("framecast/Pusher-v0", disable_env_checker=True)
    check_env(env.unwrapped, skip_render_check=True)
    assert env.action_space.shape == (4,)


def test_the_shifted_world_looks_and_moves_otherwise(env: PusherEnv):
    shifted = gymnasium.make("framecast/PusherShifted-v0").unwrapped
    assert isinstance(shifted, PusherEnv)
    kinds = set(USUAL.shapes)
    for seed in range(3):
        (seen, info), (usual, _) = shifted.reset(seed=seed), env.reset(seed=seed)
        assert not kinds & set(info["object_shapes"])
        assert seen["pixels"].mean() < 0.7 * usual["pixels"].mean(), "darker tables"
    moved = []
    for world in (shifted, env):
        world.reset(seed=3)
        world.step(np.array([0, 0, 0.09 - world.end_effector()[2], -1], np.float32))
        before = world.end_effector()
        for _ in range(3):
            world.step(np.array([-0.02 * np.sign(before[0]), 0, 0, -1], np.float32))
        moved.append(abs(world.end_effector() - before)[0])
    assert moved[0] == pytest.approx(SHIFTED.action_scale * moved[1], rel=0.2)


def test_the_same_seed_gives_the_same_frames(env: PusherEnv):
    first, actions = film(env, seed=5)
    np.testing.assert_array_equal(replay(env, 5, actions), first)
    assert (film(env, seed=6)[0][0] != first[0]).any()


def test_hidden_physics_change_the_future_but_not_the_first_frame(env: PusherEnv):
    for seed in range(6):
        plain, actions = film(env, seed=seed)
        hidden = replay(env, seed, actions, hidden_seed=99)
        np.testing.assert_array_equal(hidden[0], plain[0])
        assert (hidden[-1] != plain[-1]).any()


def test_the_end_effector_goes_where_it_is_told(env: PusherEnv):
    for axis, distance in enumerate((0.03, 0.03, 0.02)):
        for sign in (-1, 1):
            height = env.reset(seed=3)[0]["state"][2]
            for _ in range(4):  # over the things, below the top of its reach
                climb = np.array([0, 0, 0.09 - height, -1], np.float32)
                height = env.step(climb)[0]["state"][2]
            before = env.end_effector()
            action = STILL.copy()
            action[axis] = sign * distance
            env.step(action)
            moved = env.end_effector() - before
            assert sign * moved[axis] > 0.7 * distance
            assert np.abs(np.delete(moved, axis)).max() < 0.2 * distance


def test_a_command_beyond_the_bounds_is_cut_off_at_them(env: PusherEnv):
    wild, bounded = np.full(4, 9, np.float32), env.action_space.high
    frames = [replay(env, 2, [action]) for action in (wild, bounded)]
    np.testing.assert_array_equal(*frames)


def test_objects_stay_in_the_bin_and_on_the_table(env: PusherEnv):
    for seed in range(4):
        policy = env.default_policy()
        policy.reset(seed)
        observation, info = env.reset(seed=seed)
        for _ in range(40):
            observation, _, _, _, info = env.step(policy.act(observation, info))
            places = info["object_positions"]
            assert (np.abs(places[:, :2]) < BIN_HALF).all()
            assert ((places[:, 2] > 0) & (places[:, 2] < 0.12)).all()


def test_the_random_policy_touches_things(env: PusherEnv):
    touched = 0
    for seed in range(4):
        policy = env.default_policy()
        policy.reset(seed)
        observation, info = env.reset(seed=seed)
        for _ in range(20):
            observation, _, _, _, info = env.step(policy.act(observation, info))
            touched += info["contact"]
    assert touched > 8


def test_a_cached_picture_equals_one_cast_whole(env: PusherEnv):
    for seed in range(4):
        film(env, seed=seed, steps=1)
        policy = env.default_policy()
        policy.reset(seed)
        observation, info = env.reset(seed=seed)
        for _ in range(12):
            observation, _, _, _, info = env.step(policy.act(observation, info))
            env.renderer.forget()
            np.testing.assert_array_equal(observation["pixels"], env.render())


def test_the_gripper_is_seen_where_it_is(env: PusherEnv):
    for seed in range(5):
        env.reset(seed=seed)
        place = env.end_effector()
        across, down = env.camera.project(place, env.image_size)
        rays = env.renderer.rays.reshape(64, 64, 3)
        towards = place - env.renderer.eye
        towards /= np.linalg.norm(towards)
        nearest = np.unravel_index((rays @ towards).argmax(), (64, 64))
        assert abs(nearest[1] + 0.5 - across) <= 1
        assert abs(nearest[0] + 0.5 - down) <= 1
        area = env.renderer.geom.reshape(64, 64)[
            nearest[0] - 4 : nearest[0] + 3, nearest[1] - 3 : nearest[1] + 4
        ]
        bodies = env.model.geom_bodyid[area]
        assert np.isin(bodies, env._arm).any()


def test_a_diverged_simulation_is_an_error_not_an_episode(
    env: PusherEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    env.reset(seed=0)
    env.data.qvel[:] = np.nan
    with pytest.raises(RuntimeError, match="diverged"):
        env.step(STILL)
    assert not list(tmp_path.iterdir()), "no log file where the user stands"


def test_a_restored_moment_leads_to_the_same_future(env: PusherEnv):
    env.reset(seed=6)
    random = np.random.default_rng(0)
    actions = [random.uniform(-env.bound, env.bound).astype(np.float32) for _ in range(12)]
    env.step(actions[0])
    moment, before = env.snapshot(), env.render()
    first = [env.step(action)[0] for action in actions]
    env.restore(moment)
    np.testing.assert_array_equal(env.render(), before)
    for expected, action in zip(first, actions, strict=True):
        observation = env.step(action)[0]
        np.testing.assert_array_equal(observation["pixels"], expected["pixels"])
        np.testing.assert_array_equal(observation["state"], expected["state"])
