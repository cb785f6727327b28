"""Model-predictive control: plan, act, look again.

Shape letters: H W C image, K context frames, A action, S state, P predicted frames.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from framecast.errors import UserError
from framecast.models.base import VideoModel
from framecast.planning.actions import ActionBox
from framecast.planning.costs import Cost, image_tensor
from framecast.planning.futures import Futures, Present
from framecast.planning.imagination import Imagination, ImaginationConfig
from framecast.planning.planners import Plan, Planner, PlannerConfig, Proposals, answered


@dataclass(frozen=True)
class Decision:
    """One decision and what was imagined of it.

    Attributes:
        step: frames seen before it, less 1.
        plan: the commands and their costs.
        imagined: (P, C, H, W) the best plan's future, under the first latent sample.
        places: (M, 2) pixels where the cost's marks were.
        remaining: distance to the goal in the cost's unit.
        seconds: how long it took.
    """

    step: int
    plan: Plan
    imagined: Tensor
    places: Tensor
    remaining: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON; numbers rounded to what is meaningful."""
        return {
            "step": self.step,
            "remaining": _rounded(self.remaining),
            "places": _rounded(self.places.tolist()),
            "cost": _rounded(self.plan.cost),
            "best_by_round": _rounded(self.plan.best_by_round),
            "mean_by_round": _rounded(self.plan.mean_by_round),
            "plan": _rounded(self.plan.commands.tolist()),
            "seconds": round(self.seconds, 3),
        }


@dataclass
class Memory:
    """The frames, actions and states so far, as far back as the model's context goes.

    Before anything was done, the first frame stands for a world at rest.
    """

    num_context: int
    frames: list[Tensor] = field(default_factory=list)
    actions: list[Tensor] = field(default_factory=list)
    states: list[Tensor] = field(default_factory=list)

    def start(self, frame: Tensor, state: Tensor | None, resting: Tensor) -> None:
        self.resting = resting
        self.frames = [frame] * self.num_context
        self.actions = [resting] * (self.num_context - 1)
        self.states = [] if state is None else [state] * self.num_context

    def add(self, action: Tensor, frame: Tensor, state: Tensor | None) -> None:
        self.frames = [*self.frames, frame][-self.num_context :]
        self.actions = [*self.actions[1:], action] if self.actions else []
        if state is not None:
            self.states = [*self.states, state][-self.num_context :]

    def present(self, places: Tensor) -> Present:
        actions = torch.stack([self.resting, *self.actions])[1:]
        states = torch.stack(self.states) if self.states else None
        return Present(torch.stack(self.frames), actions, states, places)


class Controller:
    """Plans toward a cost with a model; fed every observation, asked for actions.

    Args:
        execute: how many actions of a plan are carried out before the next one.
    """

    def __init__(
        self,
        model: VideoModel[Any],
        cost: Cost,
        box: ActionBox,
        planner: PlannerConfig,
        imagination: ImaginationConfig,
        seed: int,
        execute: int = 1,
    ) -> None:
        if not 1 <= execute <= planner.horizon:
            raise UserError(
                f"A plan of {planner.horizon} steps can be executed for 1 to {planner.horizon} "
                f"of them before the next, got {execute}."
            )
        self.model, self.cost, self.box, self.seed = model, cost, box, seed
        self.execute, self.imagination = execute, imagination
        self.planner = Planner(planner, box, seed)
        self.memory = Memory(model.num_context)
        self.queue: list[Tensor] = []
        self.decisions: list[Decision] = []
        self.places = torch.zeros(0, 2)
        self.steps = 0

    def start(self, frame: NDArray[np.uint8], state: NDArray[np.float32] | None) -> None:
        """Begin with the first observation: a frame (H, W, C) and a state (S,)."""
        resting = self.box.commands(self.box.numbers(torch.zeros(1, 1, self.box.spec.size)), 1)
        picture = image_tensor(frame)
        self.memory.start(picture, _state(state), resting[0, 0])
        marks = self.cost.marks
        self.places = torch.stack([mark.place for mark in marks]) if marks else torch.zeros(0, 2)
        self.steps = 0

    def observe(self, action: NDArray[np.float32], frame: NDArray[np.uint8], state: Any) -> None:
        """Take in what an action led to; the marks are followed to the new frame."""
        picture = image_tensor(frame)
        self.memory.add(torch.from_numpy(np.asarray(action)), picture, _state(state))
        found = [
            mark.find(picture[None], place[None])[0][0]
            for mark, place in zip(self.cost.marks, self.places, strict=True)
        ]
        self.places = torch.stack(found) if found else self.places
        self.steps += 1

    def mark_again(self) -> None:
        """The cost's marks were designated in the latest frame, not in the first."""
        if self.cost.marks:
            self.places = torch.stack([mark.place for mark in self.cost.marks])

    @property
    def present(self) -> Present:
        return self.memory.present(self.places)

    def is_done(self) -> bool:
        """Whether the goal is reached, as far as can be seen."""
        return self.cost.remaining(self.present) < self.cost.done

    def act(self) -> NDArray[np.float32]:
        """The next action (A,), from the running plan or from a new decision."""
        if not self.queue:
            self.adopt(self.decide())
        action: NDArray[np.float32] = self.queue.pop(0).numpy().astype(np.float32)
        return action

    def adopt(self, decision: Decision) -> None:
        """Let the first actions of a decision be the next ones."""
        self.queue = list(decision.plan.commands[: self.execute])
        self.planner.executed(self.execute)

    def decide(self) -> Decision:
        """Plan from the present."""
        return answered(self.proposals(self.present), lambda commands: self.seen(commands))

    def proposals(self, present: Present) -> Proposals[Decision]:
        """Plan from this present, one round at a time; `seen` imagines what is proposed."""
        begin = time.perf_counter()
        config = self.planner.config
        self.seen = self._imagination(present)
        random = torch.Generator().manual_seed(self._decision_seed() + 1)
        count = config.candidates
        suggested = self.cost.suggest(present, count, random) if config.suggested > 0 else None
        if suggested is not None:
            suggested = _of_length(suggested, config.horizon)
        plan = yield from self.planner.proposals(suggested)
        futures = self.seen.futures(plan.commands[None], torch.zeros(1, dtype=torch.long))
        remaining = self.cost.remaining(present)
        seconds = time.perf_counter() - begin
        places, imagined = present.places, futures.frames[:, 0]
        decision = Decision(self.steps, plan, imagined, places, remaining, seconds)
        self.decisions.append(decision)
        return decision

    def imagine(self, commands: Tensor, chosen: Tensor | None = None) -> Futures:
        """Futures of other commands (N, P, A) from the present of the last decision."""
        return self.seen.futures(commands, chosen)

    def _imagination(self, present: Present) -> Imagination:
        horizon, seed = self.planner.config.horizon, self._decision_seed()
        return Imagination(self.model, present, self.cost, horizon, self.imagination, seed)

    def _decision_seed(self) -> int:
        return self.seed * 7919 + self.planner.decisions


def _of_length(commands: Tensor, horizon: int) -> Tensor:
    """Commands (N, H, A) cut off, or gone on with their last, to a horizon."""
    short = horizon - commands.shape[1]
    if short > 0:
        commands = torch.cat([commands, commands[:, -1:].expand(-1, short, -1)], dim=1)
    return commands[:, :horizon]


def _state(state: Any) -> Tensor | None:
    return None if state is None else torch.from_numpy(np.asarray(state, np.float32))


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return float(f"{value:.6g}") if np.isfinite(value) else None
