"""The nodes of a session's tree: a frame of every future, the truth, and the way they were reached.

Shape letters: N futures, H W C image, A action.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from framecast.metrics import psnr
from framecast.models.base import RolloutState
from framecast.steering.drag import Floats
from framecast.steering.truth import TrueMoment

Action = NDArray[np.float32]


@dataclass(frozen=True)
class Step:
    """How a moment was reached.

    Attributes:
        seed: names the first future, seed + 1 the second, ...; None is the prior's mean.
    """

    action: Action
    seed: int | None

    def same_as(self, other: Step | None) -> bool:
        if other is None:
            return False
        return self.seed == other.seed and np.array_equal(self.action, other.action)


class Seen(NamedTuple):
    """What a step of the model shows: frames, positions and states as a Moment has them."""

    frames: NDArray[np.uint8]
    positions: list[Floats]
    states: NDArray[np.float32] | None


@dataclass
class Moment:
    """One node of the tree.

    Attributes:
        number: its name; 0 is the last context frame.
        depth: steps since the context.
        frames: (N, H, W, 3) uint8, one a future.
        positions: of the end effector, one a future; empty where no drag is offered.
        states: (N, S) the robot's state in every future, in the recording's units, or None.
        truth: what really happened, or None where that is not known.
    """

    number: int
    parent: Moment | None
    step: Step | None
    frames: NDArray[np.uint8]
    positions: list[Floats]
    states: NDArray[np.float32] | None
    truth: TrueMoment | None
    children: list[Moment] = field(default_factory=list)
    psnr: list[float] = field(init=False)  # dB against the truth, one a future

    def __post_init__(self) -> None:
        self.depth: int = 0 if self.parent is None else self.parent.depth + 1
        self.score()

    def show(self, seen: Seen) -> None:
        """Put these futures in the place of fewer."""
        self.frames, self.positions, self.states = seen
        self.score()

    def score(self) -> None:
        if self.truth is None:
            self.psnr = []
            return
        predicted = torch.from_numpy(self.frames).movedim(-1, -3).float() / 255
        true = torch.from_numpy(self.truth.picture).movedim(-1, -3).float() / 255
        self.psnr = psnr(predicted, true.expand_as(predicted)).tolist()

    def path(self) -> list[Moment]:
        """From the root, which is left out, to here."""
        moments: list[Moment] = []
        moment: Moment = self
        while moment.parent is not None:
            moments.append(moment)
            moment = moment.parent
        return moments[::-1]

    def child_by(self, step: Step) -> Moment | None:
        return next((child for child in self.children if step.same_as(child.step)), None)


class StateCache:
    """The model's states at the moments used last, within a budget of bytes."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.states: OrderedDict[int, RolloutState] = OrderedDict()

    def futures_at(self, number: int) -> int:
        """For how many futures the state of this moment is here."""
        state = self.states.get(number)
        return 0 if state is None else len(next(_tensors(state)))

    def get(self, number: int, futures: int) -> RolloutState:
        """The state for the first futures of a moment that has at least as many."""
        state = self.states[number]
        self.states.move_to_end(number)
        if self.futures_at(number) == futures:
            return state
        return state.take(torch.arange(futures, device=next(_tensors(state)).device))

    def keep(self, number: int, state: RolloutState) -> None:
        self.states.pop(number, None)
        self.states[number] = state
        while len(self.states) > 1 and self.bytes() > self.budget:
            self.states.popitem(last=False)

    def bytes(self) -> int:
        """What the states take; a tensor that several of them share counts once."""
        storages = {}
        for state in self.states.values():
            for tensor in _tensors(state):
                storage = tensor.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
        return sum(storages.values())


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from _tensors(getattr(value, name))
