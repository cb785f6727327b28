"""What a model is told besides frames."""

from __future__ import annotations

import pytest
import torch

from framecast.clip import ClipSpec
from framecast.mirror import Mirror
from framecast.models.conditioning import Conditioner
from framecast.models.config import Condition


@pytest.mark.parametrize("condition", ["none", "action", "action+state"])
@torch.no_grad()
def test_a_condition_is_turned_into_that_of_the_mirror_image(condition: Condition, spec: ClipSpec):
    conditioner, mirror = Conditioner(condition, spec), Mirror("dx,x", spec)
    actions, states = torch.randn(4, 2), torch.randn(4, 2)
    signs, offsets = conditioner.in_a_mirror(mirror)
    assert len(signs) == len(offsets) == conditioner.size
    there = conditioner(mirror.action(actions), conditioner.standard_states(mirror.state(states)))
    here = conditioner(actions, conditioner.standard_states(states))
    torch.testing.assert_close(here * signs + offsets, there)


@torch.no_grad()
def test_the_change_that_is_foreseen_is_mirrored_too(spec: ClipSpec):
    conditioner = Conditioner("action+state", spec, foresees=True)
    mirror = Mirror("dx,x", spec)
    rule = conditioner.state_predictor.change
    rule.weight.copy_(torch.tensor([[0.3, 0.0, -0.1, 0.0], [0.0, 0.2, 0.0, -0.1]]))
    # Symmetric: in recorded units it has no constant part.
    action, state = conditioner.action, conditioner.state
    assert state is not None
    rest = torch.cat([action.mean / action.std, state.mean / state.std])
    rule.bias.copy_(rule.weight @ rest)
    actions, states = 0.1 * torch.randn(4, 2), 0.1 * torch.randn(4, 2)
    signs, offsets = conditioner.in_a_mirror(mirror)
    there = conditioner(mirror.action(actions), conditioner.standard_states(mirror.state(states)))
    here = conditioner(actions, conditioner.standard_states(states))
    torch.testing.assert_close(here * signs + offsets, there)
