"""The ceiling: the same planners and costs, with the simulator itself in the model's place.

It knows where everything is and every mass and friction, but not the noise to come, which it
leaves out. What it reaches is what is left to gain for a model.

Shape letters: N candidates, H steps, A action, T things.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from framecast.planning import geometry
from framecast.planning.actions import ActionBox
from framecast.planning.costs import SUGGESTED_STEPS, suggest_pushes
from framecast.planning.paths import walk
from framecast.planning.planners import Planner, PlannerConfig
from framecast.planning.robot import Displacements
from framecast.planning.tasks import Task
from framecast.pusher.env import PusherEnv

CONTACT_HEIGHT = 0.03


class SimulatorAgent:
    """Plans by trying candidates out in a copy of the simulator.

    Args:
        execute: how many actions of a plan are carried out before the next one.
    """

    def __init__(
        self, config: PlannerConfig, box: ActionBox, robot: Displacements, execute: int
    ) -> None:
        self.config, self.box, self.robot, self.execute = config, box, robot, execute
        self.num_decisions = 0

    def begin(self, env: PusherEnv, task: Task, observation: Any, seed: int) -> None:
        self.task, self.seed = task, seed
        self.planner = Planner(self.config, self.box, seed)
        self.queue: list[Tensor] = []

    def act(self, env: PusherEnv, observation: Any, info: dict[str, Any]) -> NDArray[np.float32]:
        if not self.queue:
            tip = torch.from_numpy(env.end_effector()).float()
            things = geometry.as_tensor(info["object_positions"])[:, :2]
            random = torch.Generator().manual_seed(self.seed * 7919 + self.planner.decisions)
            ideas = self._suggest(tip, things, random)[:, : self.config.horizon]
            plan = self.planner.plan(lambda commands: self._costs(env, commands), ideas)
            self.planner.executed(self.execute)
            self.queue = list(plan.commands[: self.execute])
            self.num_decisions += 1
        action: NDArray[np.float32] = self.queue.pop(0).numpy().astype(np.float32)
        return action

    def is_done(self, env: PusherEnv, info: dict[str, Any]) -> bool:
        limit = {"push": 1.0, "reach": 0.5, "match": 0.7}[self.task.kind]
        return self.task.distance_cm(env.end_effector(), info["object_positions"]) < limit

    def _costs(self, env: PusherEnv, commands: Tensor) -> Tensor:
        """Costs (N,) of commands (N, H, A)."""
        start = env.snapshot()
        tips, things = [], []
        for candidate in commands.numpy().astype(np.float32):
            env.restore(start)
            for action in candidate:
                things.append(env.try_out(action))
                tips.append(env.end_effector())
        env.restore(start)
        shape = commands.shape[:2]
        tip = torch.from_numpy(np.array(tips)).float().view(*shape, 3).transpose(0, 1)
        places = torch.from_numpy(np.array(things)[..., :2]).float()
        return self._cost(tip, places.view(*shape, -1, 2).transpose(0, 1))

    def _cost(self, tip: Tensor, things: Tensor) -> Tensor:
        """Tips (H, N, 3) and things (H, N, T, 2) -> costs (N,), by the formulas of the models."""
        task = self.task
        if task.thing is not None:
            goal = geometry.as_tensor(task.places[task.thing])
            return geometry.push_cost(things[:, :, task.thing], goal, tip, CONTACT_HEIGHT)
        goal = geometry.as_tensor(task.tip)
        if task.kind == "reach":
            return geometry.reach_cost(tip, goal)
        return geometry.arrangement_cost(things, geometry.as_tensor(task.places), tip, goal)

    def _suggest(self, tip: Tensor, things: Tensor, random: torch.Generator) -> Tensor:
        """What the models' costs suggest, from true places."""
        task, count = self.task, self.config.candidates
        thing, goals = task.thing, geometry.as_tensor(task.places)
        if task.kind == "match":
            gaps = (things - goals).norm(dim=1)
            thing = int(gaps.argmax()) if float(gaps.max()) > 0.02 else None
        if thing is not None:
            return suggest_pushes(
                self.robot, tip, things[thing], goals[thing], CONTACT_HEIGHT, count, random
            )
        aim = geometry.as_tensor(task.tip) + 0.005 * torch.randn(count, 1, 3, generator=random)
        return self.robot.commands(walk(tip, aim, 0.95 * self.robot.max_step, SUGGESTED_STEPS))
