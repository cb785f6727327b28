"""Policies that use no model: the random one, and a scripted pusher that knows the true state.

The scripted pusher is the yardstick of the push task: it rises, goes behind the object, comes
down, pushes toward the goal while it steers against the object's slipping off, and starts over
when it has lost it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from framecast.planning.tasks import Task
from framecast.pusher.env import PusherEnv

Floats = NDArray[np.float64]
CONTACT_HEIGHT, CLEAR_HEIGHT = 0.028, 0.115
NEAR = 0.012  # metres
DONE = 0.007
STANDOFF = 0.03  # metres between the object's edge and the tip where it comes down
LOST = 0.6  # cosine between where the object lies and where it should go
PUSH_SPEED = 0.03  # metres a step
STEERING = 1.2
CLOSED = 1.0


class RandomAgent:
    """The environment's own random policy, which knows nothing of the task."""

    num_decisions = 0

    def begin(self, env: PusherEnv, task: Task, observation: Any, seed: int) -> None:
        self.policy = env.default_policy()
        self.policy.reset(seed)

    def is_done(self, env: PusherEnv, info: dict[str, Any]) -> bool:
        return False

    def act(self, env: PusherEnv, observation: Any, info: dict[str, Any]) -> NDArray[np.float32]:
        self.num_decisions += 1
        return self.policy.act(observation, info)


class ScriptedAgent:
    """Reaches straight, pushes by script; knows where everything is, but not the hidden physics."""

    num_decisions = 0

    def begin(self, env: PusherEnv, task: Task, observation: Any, seed: int) -> None:
        self.task = task
        self.radii = np.array([thing.radius for thing in env.scene.things])
        self.pushing = False
        self.bound = env.bound

    def act(self, env: PusherEnv, observation: Any, info: dict[str, Any]) -> NDArray[np.float32]:
        self.num_decisions += 1
        tip = observation["state"].astype(np.float64)
        things = info["object_positions"][:, :2].astype(np.float64)
        thing = self._misplaced(things)
        if thing is not None:
            move = self._push(tip, things[thing], self.task.places[thing], self.radii[thing])
        elif self.task.tip is not None:
            move = self._travel(tip, self.task.tip)
        else:
            move = np.array([0.0, 0.0, CLEAR_HEIGHT - tip[2]]) * (not self.pushing)
        action = np.append(_bounded(move, self.bound[:3]), CLOSED)
        return action.astype(np.float32)

    def is_done(self, env: PusherEnv, info: dict[str, Any]) -> bool:
        return self.task.distance_cm(env.end_effector(), info["object_positions"]) < 100 * DONE

    def _misplaced(self, things: Floats) -> int | None:
        gaps = np.linalg.norm(things - self.task.places, axis=1)
        limit = DONE if self.task.kind == "push" else 0.02
        gaps[~np.isfinite(gaps)] = 0
        return int(gaps.argmax()) if gaps.max() > limit else None

    def _travel(self, tip: Floats, goal: Floats) -> Floats:
        """Straight where nothing can be moved by it, else over the top."""
        if self.task.kind == "reach":
            return goal - tip
        away = np.linalg.norm(goal[:2] - tip[:2])
        if away < NEAR:
            return goal - tip
        return self._over(tip, goal[:2], float(away))

    def _push(self, tip: Floats, thing: Floats, goal: Floats, radius: float) -> Floats:
        direction = (goal - thing) / np.linalg.norm(goal - thing)
        to_thing = thing - tip[:2]
        gap = float(np.linalg.norm(to_thing))
        is_low = tip[2] < CONTACT_HEIGHT + 0.015
        behind_it = to_thing @ direction > LOST * gap and gap < radius + STANDOFF + 0.035
        if is_low and behind_it:
            self.pushing = True
            return self._steer(tip, thing, goal, direction)
        self.pushing = False
        behind = thing - (0.8 * radius + STANDOFF) * direction
        away = float(np.linalg.norm(behind - tip[:2]))
        if away < NEAR:
            return np.append(behind - tip[:2], CONTACT_HEIGHT - tip[2])
        return self._over(tip, behind, away)

    def _steer(self, tip: Floats, thing: Floats, goal: Floats, direction: Floats) -> Floats:
        """Forward, and sideways to stay behind the object's middle."""
        to_thing = thing - tip[:2]
        sideways = to_thing - (to_thing @ direction) * direction
        left = float(np.linalg.norm(goal - thing))
        contact = float(np.linalg.norm(to_thing))
        forward = min(PUSH_SPEED, left + max(0.0, contact - self._touching))
        return np.append(forward * direction + STEERING * sideways, CONTACT_HEIGHT - tip[2])

    @property
    def _touching(self) -> float:
        thing = self.task.thing
        return 0.013 + 0.8 * float(self.radii[thing] if thing is not None else 0.03)

    def _over(self, tip: Floats, goal: Floats, away: float) -> Floats:
        """Rise first; move sideways only above the things."""
        rise = CLEAR_HEIGHT - tip[2]
        sideways = (goal - tip[:2]) * (tip[2] > 0.075 or away < 0.5 * NEAR)
        return np.append(sideways, rise)


def _bounded(move: Floats, bound: NDArray[np.float32]) -> Floats:
    """Shorter where an axis asks for more than the bound, in the same direction."""
    share = min(1.0, float((bound / np.maximum(np.abs(move), 1e-9)).min()))
    return move * share
