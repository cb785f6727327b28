"""What a planner sees of a session: true frames while they obey the commands, else imagined ones.

Shape letters: K context frames, H W C image, A action, S state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from framecast.models.base import VideoModel
from framecast.planning.costs import image_tensor
from framecast.planning.futures import Present
from framecast.steering.drag import DragMap, Floats
from framecast.steering.moments import Action, Moment
from framecast.steering.starts import Beginning


@dataclass(frozen=True)
class Sight:
    """Sees the moments that follow one beginning.

    Attributes:
        future: the one looked at where the truth is not known.
    """

    beginning: Beginning
    model: VideoModel[Any]
    future: int

    def present(self, moment: Moment, places: Tensor) -> Present:
        """The latest K frames, all of them true or, context aside, all imagined."""
        count, true = self.model.num_context, obeys(moment)
        path = moment.path()[-count:]
        frames = [*self.beginning.frames, *(self._picture(each, true) for each in path)]
        states = self._states(path, true)
        actions = self.actions(moment)
        recent = actions[len(actions) - count + 1 :]
        none = np.zeros((0, self.model.spec.action.size), np.float32)
        return Present(
            torch.stack([image_tensor(frame) for frame in frames[-count:]]),
            torch.from_numpy(np.stack(recent) if recent else none),
            None if states is None else torch.from_numpy(np.stack(states[-count:])),
            places,
        )

    def actions(self, moment: Moment) -> list[Action]:
        """All that led here."""
        steps = [each.step.action for each in moment.path() if each.step is not None]
        return [*self.beginning.actions, *steps]

    def picture(self, moment: Moment) -> NDArray[np.uint8]:
        """(H, W, C)"""
        return self._picture(moment, obeys(moment))

    def position(self, moment: Moment, drag: DragMap) -> Floats:
        """Of the end effector."""
        truth = moment.truth
        if truth is not None and truth.commanded and truth.state is not None:
            return drag.locate(truth.frame[None], truth.state)
        return moment.positions[min(self.future, len(moment.positions) - 1)]

    def _picture(self, moment: Moment, true: bool) -> NDArray[np.uint8]:
        if true and moment.truth is not None:
            return moment.truth.frame
        future = min(self.future, len(moment.frames) - 1)
        picture: NDArray[np.uint8] = moment.frames[future, ..., : self.model.spec.channels]
        return picture

    def _states(self, path: list[Moment], true: bool) -> list[NDArray[np.float32]] | None:
        if self.beginning.states is None:
            return None
        states = list(self.beginning.states)
        for moment in path:
            state = self._state(moment, true)
            if state is None:
                return None
            states.append(state)
        return states

    def _state(self, moment: Moment, true: bool) -> NDArray[np.float32] | None:
        if true and moment.truth is not None:
            return moment.truth.state
        if moment.states is None:
            return None
        state: NDArray[np.float32] = moment.states[min(self.future, len(moment.states) - 1)]
        return state


def obeys(moment: Moment) -> bool:
    """Whether what really happens here is known, and was led to by the same commands."""
    return moment.truth is not None and moment.truth.commanded
