"""What a plan should bring about: goals as costs of imagined futures.

A cost sees `Futures` and hands back one number a future, smaller is better. Costs are added with
weights; mind their units: metres, pixels, or the squared error of pixel values. A cost of your own
is any callable `cost(futures) -> (B,)` by its import path.

Shape letters: P predicted frames, B futures, C H W image, N candidates, H steps, A action.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from framecast.clip import ClipSpec
from framecast.errors import UserError
from framecast.planning import geometry
from framecast.planning.futures import Futures, Present
from framecast.planning.handmap import HandMap
from framecast.planning.paths import Heights, push_waypoints, walk
from framecast.planning.robot import Displacements
from framecast.planning.tracking import Mark

SCALES = (1, 2, 4, 8)
AIM_SPREAD = 0.012  # metres
TURN_SPREAD = 0.35  # radians
STANDOFFS = (0.045, 0.085)
SUGGESTED_STEPS = 30
PUSH_SPEEDS = (0.4, 0.9)  # of the largest recorded step


class Cost:
    """A cost of imagined futures.

    Attributes:
        marks: the designated things that have to be followed for it, in the order of
            `Futures.tracks`.
        done: `remaining` below this counts as reached; 0 for a cost that never does.
        sees_frames: whether it looks at `Futures.frames`, which else need not be kept.
    """

    marks: Sequence[Mark] = ()
    done: float = 0.0
    sees_frames: bool = True

    def __call__(self, futures: Futures) -> Tensor:
        """(B,), smaller is better."""
        raise NotImplementedError

    def suggest(self, present: Present, count: int, random: torch.Generator) -> Tensor | None:
        """Candidates (N, H, A) of any length that look promising, or None."""
        return None

    def remaining(self, present: Present) -> float:
        """How far the present is from the goal, in the cost's own unit."""
        return float("inf")


class GoalImage(Cost):
    """The picture should become this one.

        mean over s in 1, 2, 4, 8 of |pool_s(x_P) - pool_s(g)|^2, plus half of its mean over t

    with pool_s the average over blocks of s x s: the plain squared error (s = 1) does not fall
    before things overlap, the blurred ones do.

    Args:
        image: (C, H, W) in [0, 1]

    Raises UserError when its size is not that of the model's frames.
    """

    def __init__(self, image: Tensor, spec: ClipSpec) -> None:
        expected = (spec.channels, spec.height, spec.width)
        if tuple(image.shape) != expected:
            channels, height, width = image.shape
            raise UserError(
                f"The goal image is {width}x{height} with {channels} channels, but the model "
                f"predicts {spec.width}x{spec.height} with {spec.channels}. Resize it."
            )
        self.image = image

    def __call__(self, futures: Futures) -> Tensor:
        error = self._error(futures.frames)
        return error[-1] + geometry.ALONG * error.mean(dim=0)

    def remaining(self, present: Present) -> float:
        return float(self._error(present.frames[-1][None, None])[0, 0])

    def _error(self, frames: Tensor) -> Tensor:
        """(P, B, C, H, W) -> (P, B)."""
        gap = (frames - self.image.to(frames.device)).flatten(0, 1)
        errors = [functional.avg_pool2d(gap, scale).square().mean((1, 2, 3)) for scale in SCALES]
        return torch.stack(errors).mean(dim=0).view(frames.shape[:2])


class EndEffector(Cost):
    """The robot's state should become this: `geometry.reach_cost` of the predicted states.

    Args:
        goal: (n,) the first n numbers of the state, in its own units.

    Raises UserError for a model that predicts no states, and for a goal out of reach.
    """

    sees_frames = False

    def __init__(self, goal: Sequence[float], spec: ClipSpec, done: float = 0.005) -> None:
        if spec.state is None:
            raise UserError(
                "A goal for the end effector needs recorded states, and this model's data has none."
            )
        if not 0 < len(goal) <= spec.state.size:
            raise UserError(
                f"The state has {spec.state.size} numbers ({', '.join(spec.state.names)}); "
                f"got a goal of {len(goal)}."
            )
        for value, name, low, high in zip(
            goal, spec.state.names, spec.state.low, spec.state.high, strict=False
        ):
            if not low <= value <= high:
                raise UserError(
                    f"The goal {name}={value:g} is out of reach: the recordings have {name} "
                    f"between {low:g} and {high:g}."
                )
        self.goal = torch.tensor(goal, dtype=torch.float32)
        self.robot = Displacements.of(spec) if len(goal) == 3 else None
        self.done = done

    def __call__(self, futures: Futures) -> Tensor:
        if futures.states is None:
            raise UserError(
                "A goal for the end effector needs a model that predicts states. "
                "Train one with --model.condition action+state."
            )
        return geometry.reach_cost(futures.states[..., : len(self.goal)], self.goal)

    def suggest(self, present: Present, count: int, random: torch.Generator) -> Tensor | None:
        """Straight to the goal, at various speeds."""
        if self.robot is None or present.states is None:
            return None
        tip = present.states[-1, self.robot.position]
        aim = self.goal + 0.005 * torch.randn(count, 1, 3, generator=random)
        aim[:1] = self.goal
        return self.robot.commands(walk(tip, aim, 0.95 * self.robot.max_step, SUGGESTED_STEPS))

    def remaining(self, present: Present) -> float:
        assert present.states is not None
        return float((present.states[-1, : len(self.goal)] - self.goal).norm())


class DesignatedPixel(Cost):
    """What is at one pixel should go to another (Finn and Levine 2017).

    In pixels, `geometry.push_cost` without its last term: |o_P - g| + 0.5 mean_t |o_t - g|, where
    o_t is where the thing is expected in frame t (tracking.py, or the model's own flow).

    With a `hand_eye` and a robot moved by displacements the same is counted in metres on the
    table, the term that shows the way to an untouched thing is added, and paths that go behind
    the thing and push are suggested.

    Raises UserError for pixels outside the picture, and for a goal that the hand cannot get to.
    """

    sees_frames = False

    def __init__(
        self,
        frame: Tensor,
        pixel: tuple[float, float],
        goal: tuple[float, float],
        spec: ClipSpec,
        hand_eye: HandMap | None = None,
    ) -> None:
        if not (0 <= goal[0] < spec.width and 0 <= goal[1] < spec.height):
            raise UserError(
                f"The goal {goal[0]:g},{goal[1]:g} is outside the {spec.width}x{spec.height} "
                "picture."
            )
        mark = Mark.at(frame, pixel)
        self.marks = (mark,)
        # The click may be off the thing's middle; the middle should move as the click should.
        self.goal = mark.place + torch.tensor(goal) - torch.tensor(pixel)
        self.robot = Displacements.of(spec)
        self.hand_eye = hand_eye if self.robot is not None else None
        self.done = 1.0
        if self.hand_eye is not None and self.robot is not None:
            self.done = 0.01
            self.place_goal = self._places(self.goal)
            self._require_reachable(self.robot, goal)

    def __call__(self, futures: Futures) -> Tensor:
        track = futures.tracks[:, :, 0]
        if self.hand_eye is None or self.robot is None:
            return geometry.push_cost(track, self.goal, None, 0.0)
        tip = None if futures.states is None else futures.states[..., self.robot.position]
        height = self.hand_eye.contact_height
        return geometry.push_cost(self._places(track), self.place_goal, tip, height)

    def suggest(self, present: Present, count: int, random: torch.Generator) -> Tensor | None:
        """Paths that go behind the thing and push it, spread over what is not known exactly."""
        if self.robot is None or self.hand_eye is None or present.states is None:
            return None
        return suggest_pushes(
            self.robot,
            present.states[-1, self.robot.position],
            self._places(present.places[0]),
            self.place_goal,
            self.hand_eye.contact_height,
            count,
            random,
        )

    def remaining(self, present: Present) -> float:
        place = present.places[0]
        if self.hand_eye is None:
            return float((place - self.goal).norm())
        return float((self._places(place) - self.place_goal).norm())

    def _places(self, pixels: Tensor) -> Tensor:
        assert self.hand_eye is not None
        places = self.hand_eye.places(pixels.reshape(-1, 2).double().cpu().numpy())
        return torch.from_numpy(places).to(pixels).view(pixels.shape)

    def _require_reachable(self, robot: Displacements, goal: tuple[float, float]) -> None:
        low, high = robot.lowest[:2], robot.highest[:2]
        if bool((self.place_goal < low).any() or (self.place_goal > high).any()):
            x, y = self.place_goal.tolist()
            raise UserError(
                f"The goal pixel {goal[0]:g},{goal[1]:g} is out of reach: it lies near x={x:.2f}, "
                f"y={y:.2f} m, and the recordings reach from {low[0]:.2f}, {low[1]:.2f} to "
                f"{high[0]:.2f}, {high[1]:.2f}."
            )


def suggest_pushes(
    robot: Displacements,
    tip: Tensor,
    thing: Tensor,
    goal: Tensor,
    contact_height: float,
    count: int,
    random: torch.Generator,
) -> Tensor:
    """Commands (N, H, A): behind a thing (2,) and through it to its goal (2,), in metres.

    The first is by the book; the others vary side, distance, aim and speed.
    """

    def spread(size: tuple[int, ...], by: float) -> Tensor:
        noise = by * torch.randn(size, generator=random)
        noise[:1] = 0
        return noise

    def between(bounds: tuple[float, float]) -> Tensor:
        share = torch.rand(count, generator=random)
        share[:1] = 0.5
        return bounds[0] + (bounds[1] - bounds[0]) * share

    waypoints = push_waypoints(
        tip,
        thing + spread((count, 2), AIM_SPREAD),
        goal + spread((count, 2), AIM_SPREAD),
        between(STANDOFFS),
        spread((count,), TURN_SPREAD),
        Heights(contact=contact_height),
    )
    max_step = 0.95 * robot.max_step.repeat(*waypoints.shape[:2], 1)
    max_step[:, -1] *= between(PUSH_SPEEDS)[:, None]
    return robot.commands(walk(tip, waypoints, max_step, SUGGESTED_STEPS))


class Custom(Cost):
    """Your own cost: `cost(futures) -> (B,)`."""

    def __init__(self, function: Callable[[Futures], Tensor], name: str) -> None:
        self.function, self.name = function, name

    @classmethod
    def of(cls, path: str) -> Custom:
        """From `module:function`. Raises UserError when there is none."""
        module, _, name = path.partition(":")
        try:
            function: Any = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise UserError(
                f"A cost of your own is named module:function, got {path!r} ({error})."
            ) from None
        return cls(function, path)

    def __call__(self, futures: Futures) -> Tensor:
        costs = self.function(futures)
        count = futures.actions.shape[1]
        if not isinstance(costs, Tensor) or costs.shape != (count,):
            shape = tuple(costs.shape) if isinstance(costs, Tensor) else type(costs).__name__
            raise UserError(f"{self.name} should give one cost a future, ({count},); got {shape}.")
        return costs


class WeightedSum(Cost):
    """w_1 c_1 + w_2 c_2 + ...; suggestions are shared out between those that have any."""

    def __init__(self, costs: Sequence[Cost], weights: Sequence[float]) -> None:
        self.costs, self.weights = list(costs), list(weights)
        self.marks = tuple(mark for cost in costs for mark in cost.marks)
        self.sees_frames = any(cost.sees_frames for cost in costs)

    def __call__(self, futures: Futures) -> Tensor:
        total = futures.actions.new_zeros(futures.actions.shape[1])
        for cost, weight, part in self._parts():
            tracks = futures.tracks[:, :, part]
            seen = Futures(futures.frames, futures.actions, futures.states, tracks)
            total = total + weight * cost(seen)
        return total

    def suggest(self, present: Present, count: int, random: torch.Generator) -> Tensor | None:
        ideas = []
        for cost, _, part in self._parts():
            seen = Present(present.frames, present.actions, present.states, present.places[part])
            suggested = cost.suggest(seen, count, random)
            ideas += [] if suggested is None else [suggested]
        if not ideas:
            return None
        mixed = torch.stack([idea[: -(-count // len(ideas))] for idea in ideas], dim=1)
        return mixed.flatten(0, 1)[:count]

    def remaining(self, present: Present) -> float:
        total = 0.0
        for cost, weight, part in self._parts():
            seen = Present(present.frames, present.actions, present.states, present.places[part])
            total += weight * cost.remaining(seen)
        return total

    def _parts(self) -> list[tuple[Cost, float, slice]]:
        parts, first = [], 0
        for cost, weight in zip(self.costs, self.weights, strict=True):
            parts.append((cost, weight, slice(first, first + len(cost.marks))))
            first += len(cost.marks)
        return parts


def image_tensor(picture: np.ndarray[Any, Any]) -> Tensor:
    """(H, W, C) bytes -> (C, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
