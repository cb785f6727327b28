"""Making an environment, and finding the state among its observations."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from framecast.errors import UserError, did_you_mean

USUAL_STATES = ("state", "agent_pos", "observation", "proprio")


def make_environment(
    env_id: str, size: int, options: Mapping[str, Any], by_rays: bool = False
) -> gymnasium.Env[Any, Any]:
    """By id; `module:id` imports the module first. Raises UserError when it cannot be made."""
    import framecast.pusher  # noqa: F401  registers the built-in world

    module, _, name = env_id.rpartition(":")
    given: dict[str, Any] = {"render_mode": "rgb_array"}
    if env_id.startswith("framecast/"):
        given = {"image_size": size}
    try:
        if module:
            importlib.import_module(module)
        env = gymnasium.make(name, disable_env_checker=True, **(given | dict(options)))
    except (gymnasium.error.Error, ImportError, TypeError, ValueError) as error:
        hint = did_you_mean(name, list(gymnasium.registry))
        reason = " ".join(str(error).split())
        raise UserError(f"Cannot make the environment {env_id!r}: {reason}.{hint}") from None
    if not by_rays:
        return env
    from framecast.recording.rays import RayCast

    return RayCast(env)


class StateFinder:
    """Finds the state in an observation: by a key, or where it usually is.

    Args:
        key: in a dict observation, `a/b` for a nested one; `info/a` looks into the info.
        part: (first, last) of the numbers to keep.

    Attributes:
        where: what was found, for people; set by the first look.
    """

    def __init__(self, key: str | None, part: tuple[int, int] | None) -> None:
        self.key = key
        self.part = part
        self.where = "nothing"

    def __call__(self, observation: Any, info: Mapping[str, Any]) -> NDArray[np.float32] | None:
        """The state (S,), or None where there is none. Raises UserError for a key that misses."""
        found = self._found(observation, info)
        if found is None:
            return None
        state = np.asarray(found, np.float32).reshape(-1)
        if self.part is None:
            return state
        first, last = self.part
        if last > len(state):
            raise UserError(f"--state-slice {first}:{last} is beyond a state of {len(state)}.")
        return state[first:last]

    def _found(self, observation: Any, info: Mapping[str, Any]) -> Any:
        if self.key is not None:
            self.where = self.key
            return _look_up(self.key, observation, info)
        if isinstance(observation, Mapping):
            for key in USUAL_STATES:
                if _is_vector(observation.get(key)):
                    self.where = f"observation[{key!r}]"
                    return observation[key]
            return None
        if not _is_vector(observation):
            return None
        self.where = "the observation"
        return observation


def parse_slice(text: str) -> tuple[int, int]:
    """`0:3` -> (0, 3)."""
    try:
        first, last = (int(part) for part in text.split(":"))
    except ValueError:
        first = last = -1
    if not 0 <= first < last:
        raise UserError(f"--state-slice takes first:last, such as 0:3; got {text!r}.")
    return first, last


def _look_up(key: str, observation: Any, info: Mapping[str, Any]) -> Any:
    place: Any = observation
    parts = key.split("/")
    if parts[0] == "info":
        place, parts = info, parts[1:]
    for part in parts:
        if not isinstance(place, Mapping) or part not in place:
            there = ", ".join(map(str, place)) if isinstance(place, Mapping) else "no names"
            raise UserError(f"There is no state {key!r}: where {part!r} should be is {there}.")
        place = place[part]
    return place


def _is_vector(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "fiu"
