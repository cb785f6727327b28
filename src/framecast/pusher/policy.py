"""A random policy that explores the bin and now and then pushes through an object."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

WALK_MEMORY = 0.75
LOW, HIGH = 0.03, 0.10  # metres above the table
START_PUSH, STOP_PUSH = 0.25, 0.08  # probabilities a step
CHANGE_GRIPPER, LIFT = 0.05, 0.06
PUSH_SPEED = 0.035  # metres a step


class RandomPusherPolicy:
    """A correlated walk over the bin, mostly low; sometimes it heads for an object.

    Args:
        bound: (4,) largest action.
    """

    def __init__(self, bound: NDArray[np.float32]) -> None:
        self.bound = bound
        self.reset(0)

    def reset(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.velocity = self.random.normal(0, 0.02, 2)
        self.height = LOW
        self.gripper = float(self.random.choice([-1.0, 1.0]))
        self.aim: int | None = None
        self.push = np.zeros(2)
        self.last = np.full(2, np.inf)  # the latest place

    def act(self, observation: Any, info: dict[str, Any]) -> NDArray[np.float32]:
        """The next command: dx, dy, dz (m) and gripper, from the state and where objects are."""
        random, position = self.random, observation["state"].astype(np.float64)
        self._change_plans(position, info["object_positions"])
        if self.aim is None:
            self.velocity = WALK_MEMORY * self.velocity + random.normal(0, 0.013, 2)
            self.velocity -= 0.06 * position[:2]  # the middle of the bin attracts
        else:
            self.velocity = self.push + random.normal(0, 0.004, 2)
        rise = 0.6 * (self.height - position[2])
        action = np.array([*self.velocity, rise, self.gripper])
        clipped: NDArray[np.float32] = np.clip(action, -self.bound, self.bound).astype(np.float32)
        return clipped

    def _change_plans(self, position: NDArray[np.float64], objects: NDArray[np.float32]) -> None:
        random = self.random
        if random.uniform() < CHANGE_GRIPPER:
            self.gripper = -self.gripper
        if self.height == HIGH or random.uniform() < LIFT:
            self.height = HIGH if random.uniform() < 0.3 else LOW
        if self.aim is None and random.uniform() < START_PUSH:
            gaps = np.linalg.norm(objects[:, :2] - position[:2], axis=1)
            self.aim = int(random.choice(np.argsort(gaps)[:3]))
            self.height = LOW
            heading = objects[self.aim, :2] - position[:2]
            heading = heading / max(1e-6, float(np.linalg.norm(heading)))
            self.push = PUSH_SPEED * random.uniform(0.6, 1.3) * heading
        elif self.aim is not None:
            blocked = np.linalg.norm(position[:2] - self.last) < 0.3 * np.linalg.norm(self.push)
            if blocked or random.uniform() < STOP_PUSH:
                self.aim = None
                self.velocity = -self.push
        self.last = position[:2]
