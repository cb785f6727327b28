"""Who decides what to do while it is recorded."""

from __future__ import annotations

import importlib
from typing import Any, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray

from framecast.errors import UserError

HOLD_STEPS = 6
LARGEST_TARGET = 1.0  # where the action space names no bound


class Policy(Protocol):
    """Decides what to do; reseeded before every episode."""

    def reset(self, seed: int) -> None: ...

    def act(self, observation: Any, info: dict[str, Any]) -> NDArray[np.float32]: ...


class RandomPolicy:
    """Evenly random actions."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        self.space = env.action_space

    def reset(self, seed: int) -> None:
        self.space.seed(seed)

    def act(self, observation: Any, info: dict[str, Any]) -> NDArray[np.float32]:
        action: NDArray[np.float32] = self.space.sample()
        return action


class HeldPolicy:
    """Goes evenly from one random action to the next: what absolute targets want."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        space = env.action_space
        assert isinstance(space, gymnasium.spaces.Box)
        self.low = np.maximum(space.low, -LARGEST_TARGET) if _unbounded(space) else space.low
        self.high = np.minimum(space.high, LARGEST_TARGET) if _unbounded(space) else space.high

    def reset(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.step = 0
        self.before = self.after = self._draw()

    def act(self, observation: Any, info: dict[str, Any]) -> NDArray[np.float32]:
        if self.step % HOLD_STEPS == 0:
            self.before, self.after = self.after, self._draw()
        share = (self.step % HOLD_STEPS + 1) / HOLD_STEPS
        self.step += 1
        return (self.before + share * (self.after - self.before)).astype(np.float32)

    def _draw(self) -> NDArray[np.float64]:
        return np.asarray(self.random.uniform(self.low, self.high))


def make_policy(path: str | None, env: gymnasium.Env[Any, Any]) -> Policy:
    """The policy at `module:Class`; None is the environment's own, or else evenly random."""
    if path is None:
        default = getattr(env.unwrapped, "default_policy", None)
        policy: Policy = default() if default is not None else RandomPolicy(env)
        return policy
    module, _, name = path.partition(":")
    try:
        made: Policy = getattr(importlib.import_module(module), name)(env)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"--policy takes module:Class of a policy that takes the environment, got {path!r} "
            f"({error})."
        ) from None
    return made


def _unbounded(space: gymnasium.spaces.Box) -> bool:
    return not (np.isfinite(space.low).all() and np.isfinite(space.high).all())
