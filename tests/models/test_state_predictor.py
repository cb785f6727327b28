"""The robot's next state."""

from __future__ import annotations

import torch

from framecast.clip import VectorSpec
from framecast.models.state_predictor import StatePredictor

UNIT = VectorSpec(("x", "y"), ("m", "m"), (0.0, 0.0), (1.0, 1.0), (-1.0, -1.0), (1.0, 1.0))


def test_it_stands_still_until_it_is_fitted():
    action, state = torch.randn(5, 2), torch.rand(5, 2)
    torch.testing.assert_close(StatePredictor(UNIT, UNIT)(action, state), state)


def test_an_arm_that_is_blocked_now_and_then_still_rests_where_it_is_told_nothing():
    """It goes where it is told, but not beyond 1, where least squares would see it drift."""
    random = torch.Generator().manual_seed(0)
    action = 0.3 * torch.randn(4000, 2, generator=random)
    state = torch.rand(4000, 2, generator=random) * 2 - 1
    following = (state + action).clamp(-1, 1)
    predictor = StatePredictor(UNIT, UNIT)
    predictor.fit(action, state, following)
    assert (predictor(action, state) - following).abs().max() < 0.02
    rest = torch.zeros_like(action)
    assert (predictor(rest, state) - state).abs().max() < 0.01
    inputs = torch.cat([action, state], dim=1)
    squares = torch.linalg.lstsq(inputs, following).solution
    assert (torch.cat([rest, state], dim=1) @ squares - state).abs().max() > 0.05
    assert not any(weight.requires_grad for weight in predictor.parameters())
