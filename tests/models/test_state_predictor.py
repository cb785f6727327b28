"""The robot's next state."""

from __future__ import annotations

import torch

from framecast.clip import VectorSpec
from framecast.models.state_predictor import StatePredictor, step_before

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


def lagging(num_steps: int, num_robots: int, noise: float = 0.0) -> tuple[torch.Tensor, ...]:
    """Robots that go half of the way to a target, which saves up the commands within their reach.

    Actions, states and the states after them (T, B, 2).
    """
    random = torch.Generator().manual_seed(0)
    actions = 0.3 * torch.randn(num_steps, num_robots, 2, generator=random)
    state = target = torch.rand(num_robots, 2, generator=random) * 2 - 1
    states = [state]
    for action in actions:
        target = (target + action).clamp(-1, 1)
        state = state + (target - state) / 2 + noise * torch.randn(state.shape, generator=random)
        states.append(state)
    stacked = torch.stack(states)
    return actions, stacked[:-1], stacked[1:]


def fitted(actions: torch.Tensor, states: torch.Tensor, following: torch.Tensor) -> StatePredictor:
    torch.manual_seed(0)
    predictor = StatePredictor(UNIT, UNIT, history=True)
    predictor.fit(actions[1:].flatten(0, 1), states[1:].flatten(0, 1), following[1:].flatten(0, 1))
    before = step_before(actions[:-1], states[:-1])
    known = (actions[1:], states[1:], before, following[1:])
    predictor.fit_correction(*(part.flatten(0, 1) for part in known), held_out=400)
    return predictor


def test_with_the_step_before_it_knows_a_robot_that_lags():
    actions, states, following = lagging(num_steps=20, num_robots=400)
    predictor = fitted(actions, states, following)
    before = step_before(actions[:-1], states[:-1])
    wrong = [
        (predictor(actions[1:], states[1:], given) - following[1:]).square().mean()
        for given in (None, torch.zeros_like(before), before)
    ]
    assert wrong[1] < wrong[0]
    assert wrong[2] < wrong[0] / 4
    assert not any(weight.requires_grad for weight in predictor.parameters())


def test_a_correction_that_is_of_no_use_to_what_was_held_out_is_dropped():
    random = torch.Generator().manual_seed(0)
    states = torch.rand(3, 300, 2, generator=random)  # of no rule whatever
    predictor = fitted(torch.zeros_like(states[1:]), states[:-1], states[1:])
    assert predictor.correction is not None
    assert not predictor.correction[-1].weight.any()
