"""What a model is told besides frames: the action, and the robot's state where it is used.

Shape letters: B batch (any leading dimensions), A action, S state, N condition.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from framecast.clip import ClipSpec, VectorSpec
from framecast.errors import UserError
from framecast.mirror import Mirror
from framecast.models.config import Condition
from framecast.models.state_predictor import CHANGE_SCALE, StatePredictor, step_before


class Standardise(nn.Module):
    """Numbers in their own units -> zero mean and unit variance over the training split."""

    mean: Tensor
    std: Tensor

    def __init__(self, vector: VectorSpec) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(vector.mean), persistent=False)
        self.register_buffer("std", torch.tensor(vector.std), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        return (values.to(self.mean.dtype) - self.mean) / self.std

    def flipped(self, signs: Tensor) -> tuple[Tensor, Tensor]:
        """What makes of standardised numbers those of others that differ by these signs."""
        return signs, (signs - 1) * self.mean / self.std


class Conditioner(nn.Module):
    """Actions and states in their own units -> the condition (B, N) of the frame predictor.

    A model that conditions on states also predicts them, so that it can roll out where future
    states are unknown.

    Args:
        foresees: where there are states, their predicted change is part of the condition.
        recalls: where there are states, they are predicted from the step before too.

    Attributes:
        size: N; 0 when the model is told nothing.

    Raises UserError when the data has no states and the condition needs them.
    """

    def __init__(
        self,
        condition: Condition,
        spec: ClipSpec,
        foresees: bool = False,
        recalls: bool = False,
    ) -> None:
        super().__init__()
        self.foresees = foresees
        self.recalls = recalls and condition == "action+state"
        self.tells_nothing = condition == "none"
        self.action = Standardise(spec.action)
        self.state: Standardise | None = None
        self.size = 0 if self.tells_nothing else spec.action.size
        if condition == "action+state":
            if spec.state is None:
                raise UserError(
                    "The recipe conditions on action+state, but the data has no states. "
                    "Set model.condition to action."
                )
            self.state = Standardise(spec.state)
            self.size += spec.state.size * (2 if foresees else 1)
            self.state_predictor = StatePredictor(spec.action, spec.state, recalls)

    def standard_states(self, states: Tensor | None) -> Tensor | None:
        """Standardised states, or None for a model that uses none."""
        if self.state is None:
            return None
        if states is None:
            raise UserError(
                "This model conditions on action+state, so it needs the states of the context."
            )
        standard: Tensor = self.state(states)
        return standard

    def forward(
        self, action: Tensor, standard_state: Tensor | None, before: Tensor | None = None
    ) -> Tensor:
        """The condition (B, N) from an action (B, A), a standardised state (B, S) and, where the
        step before is recalled, that (B, R): see `recall`."""
        standard: Tensor = self.action(action)
        if self.tells_nothing:
            return standard[..., :0]
        if standard_state is None:
            return standard
        parts = [standard, standard_state]
        if self.foresees:
            change = self.next_state(standard_state, action, before) - standard_state
            parts.append(CHANGE_SCALE * change)
        return torch.cat(parts, dim=-1)

    def conditions(self, actions: Tensor, states: Tensor | None) -> Tensor:
        """Of a sequence (T, B, A) and its standardised states (T + 1, B, S): (T, B, N)."""
        known = self._recalled(actions, states)
        conditions: Tensor = self(actions, None if states is None else states[:-1], known)
        return conditions

    def next_states(self, actions: Tensor, states: Tensor) -> Tensor:
        """Predicted for every step of a sequence (T, B, S); arguments as of `conditions`."""
        return self.next_state(states[:-1], actions, self._recalled(actions, states))

    def state_after(
        self,
        standard: Tensor | None,
        action: Tensor,
        given: Tensor | None,
        before: Tensor | None,
    ) -> Tensor | None:
        """The standardised state (B, S) after an action: the given one, else as predicted."""
        if standard is None:
            return None
        if given is not None:
            return self.standard_states(given)
        return self.next_state(standard, action, before)

    def _recalled(self, actions: Tensor, states: Tensor | None) -> Tensor | None:
        before = self.recall_all(actions, states)
        return None if before is None else before[:-1]

    def in_a_mirror(self, mirror: Mirror) -> tuple[Tensor, Tensor]:
        """Signs and offsets, (N,) both, that make a condition that of the mirror image.

        The predicted change of a state is taken to be mirrored as the state is.
        """
        parts = [] if self.tells_nothing else [self.action.flipped(mirror.of_action)]
        if self.state is not None:
            parts.append(self.state.flipped(mirror.of_state))
            if self.foresees:
                parts.append((mirror.of_state, torch.zeros_like(mirror.of_state)))
        signs, offsets = zip(*parts, strict=True) if parts else ((), ())
        nothing = torch.zeros(0)
        return torch.cat([nothing, *signs]), torch.cat([nothing, *offsets])

    def recall(self, action: Tensor, standard_state: Tensor | None) -> Tensor | None:
        """What is recalled (B, R) of this step at the next; None where nothing is."""
        if not self.recalls or standard_state is None:
            return None
        return step_before(self.action(action), standard_state)

    def recall_all(self, actions: Tensor, standard_states: Tensor | None) -> Tensor | None:
        """What is recalled (T + 1, B, R) at every frame of a sequence (T, B, A), (T + 1, B, S)."""
        if not self.recalls or standard_states is None:
            return None
        steps = step_before(self.action(actions), standard_states[:-1])
        return torch.cat([steps.new_zeros(1, *steps.shape[1:]), steps])

    def next_state(
        self, standard_state: Tensor, action: Tensor, before: Tensor | None = None
    ) -> Tensor:
        """The predicted standardised state (B, S) after this action."""
        with torch.autocast(standard_state.device.type, enabled=False):
            predicted: Tensor = self.state_predictor(self.action(action), standard_state, before)
        return predicted
