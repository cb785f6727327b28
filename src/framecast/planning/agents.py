"""Who can be given a task in the pusher world: the planners and the policies they are measured by.

Agents are told the task once and asked for one action after another. The model's agent sees
pixels and the robot's state only: the task's object and goal are named to it as pixels, as a
person would click them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from framecast.clip import ClipSpec
from framecast.models.base import VideoModel
from framecast.planning.actions import ActionBox
from framecast.planning.control import Controller
from framecast.planning.costs import Cost, DesignatedPixel, EndEffector, GoalImage, image_tensor
from framecast.planning.handmap import HandMap
from framecast.planning.imagination import ImaginationConfig
from framecast.planning.planners import PlannerConfig
from framecast.planning.tasks import Task, seen_at
from framecast.pusher.env import PusherEnv


class Agent(Protocol):
    """Acts toward a task; `begin` comes first."""

    def begin(self, env: PusherEnv, task: Task, observation: Any, seed: int) -> None: ...

    def act(
        self, env: PusherEnv, observation: Any, info: dict[str, Any]
    ) -> NDArray[np.float32]: ...

    def is_done(self, env: PusherEnv, info: dict[str, Any]) -> bool: ...

    @property
    def num_decisions(self) -> int: ...


@dataclass(frozen=True)
class Budget:
    """What planners may use, the same for the model and the simulator."""

    planner: PlannerConfig
    imagination: ImaginationConfig
    execute: int


class ModelAgent:
    """Plans with a video model."""

    def __init__(
        self, model: VideoModel[Any], box: ActionBox, budget: Budget, hand_eye: HandMap | None
    ) -> None:
        self.model, self.box, self.budget, self.hand_eye = model, box, budget, hand_eye
        self.num_decisions = 0

    def begin(self, env: PusherEnv, task: Task, observation: Any, seed: int) -> None:
        cost = task_cost(env, task, observation["pixels"], self.model.spec, self.hand_eye)
        budget = self.budget
        self.controller = Controller(
            self.model, cost, self.box, budget.planner, budget.imagination, seed, budget.execute
        )
        self.controller.start(observation["pixels"], observation["state"])

    def act(self, env: PusherEnv, observation: Any, info: dict[str, Any]) -> NDArray[np.float32]:
        before = len(self.controller.decisions)
        action = self.controller.act()
        self.num_decisions += len(self.controller.decisions) - before
        return action

    def observe(self, action: NDArray[np.float32], observation: Any) -> None:
        """What the action led to."""
        self.controller.observe(action, observation["pixels"], observation["state"])

    def is_done(self, env: PusherEnv, info: dict[str, Any]) -> bool:
        return self.controller.is_done()


def task_cost(
    env: PusherEnv,
    task: Task,
    picture: NDArray[np.uint8],
    spec: ClipSpec,
    hand_eye: HandMap | None,
) -> Cost:
    """A task as a planner is told it: a state, a goal image, or two clicks."""
    if task.kind == "reach":
        assert task.tip is not None
        return EndEffector(task.tip.tolist(), spec)
    if task.image is not None:
        return GoalImage(image_tensor(task.image), spec)
    pixel, goal = clicks(env, task)
    return DesignatedPixel(image_tensor(picture), pixel, goal, spec, hand_eye)


def clicks(env: PusherEnv, task: Task) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where a person would click for a push: on the object, and where that should go."""
    assert task.thing is not None
    pixel = seen_at(env, task.thing)
    assert pixel is not None, "an object to push is seen"
    start = env.data.xpos[env.model.body(f"thing_{task.thing}").id]
    places = (start[:2], task.places[task.thing])
    first, second = (
        env.camera.project(np.array([*place, start[2]]), env.image_size) for place in places
    )
    across, down = second - first
    return pixel, (pixel[0] + float(across), pixel[1] + float(down))
