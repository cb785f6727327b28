"""Seeded tasks in the pusher world, and how they are scored: by the simulator's true state.

    reach   bring the end effector to a place
    push    push one object to a place 6 to 12 cm away
    match   make the picture equal a goal image: what the random policy made of the same start

A planner is told the task in pixels and in the robot's state only; where objects truly are is for
scoring, for the scripted pusher and for the planner that uses the simulator itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import mujoco
import numpy as np
from numpy.typing import NDArray

from framecast.errors import UserError
from framecast.pusher.env import PusherEnv
from framecast.pusher.renderer import FAR, SEEN_GROUPS
from framecast.pusher.scene import ARM_BODIES, REACH_HIGH, REACH_LOW

Floats = NDArray[np.float64]
Kind = Literal["reach", "push", "match"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MAX_STEPS: dict[Kind, int] = {"reach": 12, "push": 50, "match": 15}
SUCCESS_CM: dict[Kind, float] = {"reach": 2.0, "push": 3.0, "match": 3.0}
MATCH_STEPS = 10
PUSH_DISTANCE = (0.06, 0.12)
PUSH_AREA = (0.16, 0.13)  # metres from the middle; an object here can be pushed from every side
ROOM_BEHIND = 0.075  # metres that the gripper needs behind an object
GAP = 0.012
LOOK_SIZE = 64  # pixels a side of the picture in which an object has to be seen
MIN_SEEN, FREE_RIM = 10, 2  # pixels of an object, and around it without the arm
CLEAR_OF_THINGS = 0.09  # metres; lower than this, an object can be in the end effector's way
MAX_ATTEMPTS = 1000


@dataclass(frozen=True)
class Task:
    """One task of one scene.

    Attributes:
        seed: of the scene and its hidden physics.
        tip: (3,) where the end effector should be, or None.
        thing: the object to push, or None.
        places: (N, 2) where the objects should be; NaN where it does not matter.
        image: (H, W, 3) the goal image, or None.
    """

    kind: Kind
    seed: int
    tip: Floats | None
    thing: int | None
    places: Floats
    image: NDArray[np.uint8] | None

    @property
    def max_steps(self) -> int:
        return MAX_STEPS[self.kind]

    def distance_cm(self, tip: Floats, things: NDArray[Any]) -> float:
        """How far the farthest thing that matters is from where it should be, in cm."""
        gaps = np.linalg.norm(things[:, :2] - self.places, axis=1)
        gaps = gaps[np.isfinite(gaps)]
        if self.tip is not None:
            gaps = np.append(gaps, np.linalg.norm(tip - self.tip))
        return float(100 * gaps.max())

    def succeeded(self, distance_cm: float) -> bool:
        return distance_cm <= SUCCESS_CM[self.kind]


def sample_task(env: PusherEnv, kind: Kind, seed: int) -> Task:
    """The task of this seed. Afterwards the environment is wherever sampling left it."""
    if kind not in KINDS:
        raise UserError(f"There is no task {kind!r}. The tasks are: {', '.join(KINDS)}.")
    random = np.random.default_rng([seed, KINDS.index(kind)])
    for _ in range(MAX_ATTEMPTS):
        scene_seed = int(random.integers(2**31))
        _, info = env.reset(seed=scene_seed)
        task = _SAMPLERS[kind](env, info, scene_seed, random)
        if task is not None:
            return task
    raise AssertionError(f"no {kind} task in {MAX_ATTEMPTS} scenes")


def _reach(env: PusherEnv, info: dict[str, Any], seed: int, random: Any) -> Task | None:
    tip = random.uniform(REACH_LOW, REACH_HIGH)
    things = info["object_positions"]
    gaps = np.linalg.norm(things[:, :2] - tip[:2], axis=1)
    radii = np.array([thing.radius for thing in env.scene.things])
    blocked = tip[2] < CLEAR_OF_THINGS and (gaps < radii + 0.05).any()
    if blocked or np.linalg.norm(tip - env.end_effector()) < 0.06:
        return None
    return Task("reach", seed, tip, None, _nowhere(info), None)


def _push(env: PusherEnv, info: dict[str, Any], seed: int, random: Any) -> Task | None:
    things = info["object_positions"][:, :2].astype(np.float64)
    thing = int(random.integers(len(things)))
    angle, length = random.uniform(0, 2 * math.pi), random.uniform(*PUSH_DISTANCE)
    direction = np.array([math.cos(angle), math.sin(angle)])
    start, goal = things[thing], things[thing] + length * direction
    behind = start - ROOM_BEHIND * direction
    inside = all((np.abs(place) < PUSH_AREA).all() for place in (start, goal))
    reachable = (np.abs(behind) < REACH_HIGH[:2]).all()
    away = np.linalg.norm(env.end_effector()[:2] - start) > 0.09
    if not (inside and reachable and away and _is_free(env, things, thing, behind, goal)):
        return None
    if seen_at(env, thing) is None:
        return None
    places = _nowhere(info)
    places[thing] = goal
    return Task("push", seed, None, thing, places, None)


def seen_at(env: PusherEnv, thing: int) -> tuple[float, float] | None:
    """The pixel (across, down) in the middle of an object, for a picture of the environment's size.

    None where it is hidden, or the arm so near to it in the picture that it may be.
    """
    rays = np.ascontiguousarray(env.camera.rays(LOOK_SIZE))
    geoms, distances = np.full(len(rays), -1, np.int32), np.zeros(len(rays))
    mujoco.mj_multiRay(
        env.model,
        env.data,
        np.array(env.camera.eye),
        rays.ravel(),
        SEEN_GROUPS,
        True,
        -1,
        geoms,
        distances,
        None,
        len(rays),
        FAR,
    )
    bodies = env.model.geom_bodyid[geoms].reshape(LOOK_SIZE, LOOK_SIZE)
    seen = bodies == env.model.body(f"thing_{thing}").id
    arm = np.argwhere(np.isin(bodies, [env.model.body(name).id for name in ARM_BODIES]))
    pixels = np.argwhere(seen)
    if len(pixels) < MIN_SEEN:
        return None
    gaps = np.abs(pixels[:, None] - arm[None]).max(axis=2)
    if (gaps <= FREE_RIM).any():
        return None
    inner = np.linalg.norm(pixels - pixels.mean(axis=0), axis=1).argmin()
    down, across = (pixels[inner] + 0.5) * env.image_size / LOOK_SIZE
    return float(across), float(down)


def _match(env: PusherEnv, info: dict[str, Any], seed: int, random: Any) -> Task | None:
    policy = env.default_policy()
    policy.reset(int(random.integers(2**31)))
    observation: Any = {"state": env.end_effector()}
    start = info["object_positions"]
    for _ in range(MATCH_STEPS):
        observation, _, _, _, info = env.step(policy.act(observation, info))
    tip, things = env.end_effector(), info["object_positions"][:, :2].astype(np.float64)
    moved = np.linalg.norm(things - start[:, :2], axis=1).max()
    across, down = env.camera.project(tip, env.image_size) / env.image_size
    if moved < 0.03 or not (0.08 < across < 0.92 and 0.08 < down < 0.92):
        return None
    return Task("match", seed, tip, None, things, observation["pixels"])


_SAMPLERS = {"reach": _reach, "push": _push, "match": _match}


def _nowhere(info: dict[str, Any]) -> Floats:
    return np.full((len(info["object_positions"]), 2), np.nan)


def _is_free(env: PusherEnv, things: Floats, thing: int, behind: Floats, goal: Floats) -> bool:
    """No other object lies where the gripper goes down, nor in the object's way."""
    radii = np.array([shape.radius for shape in env.scene.things])
    others = np.arange(len(things)) != thing
    path = goal - things[thing]
    share = np.clip((things - things[thing]) @ path / (path @ path), 0, 1)
    gaps = np.linalg.norm(things - (things[thing] + share[:, None] * path), axis=1)
    clear = gaps > radii + radii[thing] + GAP
    room = np.linalg.norm(things - behind, axis=1) > radii + 0.035
    return bool((clear & room)[others].all())
