"""Our models under stable-worldmodel's solvers, by its protocol (version 0.1.1).

The package itself needs another torch than ours; its solvers only ever call `get_cost(info,
candidates)` with what `solve` below builds.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from framecast.errors import UserError
from framecast.planning.costs import EndEffector
from framecast.planning.imagination import ImaginationConfig
from framecast.planning.solver_adapter import SolverModel
from tests.planning.world import Squares, picture, spec, step

HANDS = torch.tensor([[8.0, 8.0], [24.0, 20.0]])
THINGS = torch.tensor([[26.0, 26.0], [6.0, 26.0]])
GOAL = torch.tensor([16.0, 14.0])


def adapted(model: Squares | None = None, **changes: bool) -> SolverModel:
    config = ImaginationConfig(bfloat16=False)
    return SolverModel(model or Squares(), EndEffector(GOAL.tolist(), spec()), config, **changes)


def info() -> dict[str, Tensor]:
    frames = (picture(HANDS, THINGS) * 255).round().byte().permute(0, 2, 3, 1)
    return {"pixels": frames[:, None], "state": HANDS[:, None], "id": torch.arange(2)}


def solve(model: SolverModel, start: dict[str, Tensor], horizon: int, block: int) -> Tensor:
    """A cross-entropy method as stable-worldmodel writes it: (environments, horizon, actions)."""
    random = torch.Generator().manual_seed(0)
    mean = torch.zeros(2, horizon, 2 * block)
    spread = torch.ones_like(mean)
    for _ in range(6):
        noise = torch.randn(2, 60, horizon, 2 * block, generator=random)
        candidates = noise * spread[:, None] + mean[:, None]
        candidates[:, 0] = mean
        repeated = {
            name: value[:, None].expand(2, 60, *value.shape[1:]) for name, value in start.items()
        }
        costs = model.get_cost(repeated, candidates)
        assert costs.shape == (2, 60)
        elite = costs.topk(8, dim=1, largest=False).indices
        best = torch.stack([candidates[row, elite[row]] for row in range(2)])
        mean, spread = best.mean(dim=1), best.std(dim=1)
    return mean


@pytest.mark.parametrize("block", [1, 2])
def test_a_solver_reaches_the_goal_in_every_environment(block: int):
    actions = solve(adapted(), info(), 10 // block, block).reshape(2, 10, 2)
    hand, thing = HANDS, THINGS
    for index in range(10):
        hand, thing = step(hand, thing, actions[:, index].clamp(-2, 2))
    before = (HANDS - GOAL).norm(dim=1)
    assert ((hand - GOAL).norm(dim=1) < 0.25 * before).all()


def test_environments_do_not_mix_and_the_context_is_encoded_once_each():
    model = Squares()
    candidates = torch.randn(2, 5, 4, 2, generator=torch.Generator().manual_seed(0))
    both = adapted(model).get_cost(info(), candidates)
    assert model.observed == 2
    alone = {name: value[1:] for name, value in info().items()}
    torch.testing.assert_close(adapted().get_cost(alone, candidates[1:]), both[1:])


def test_candidates_in_the_datas_units_and_in_standard_deviations_agree():
    candidates = torch.randn(2, 5, 4, 2, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values) for values in (spec().action.mean, spec().action.std))
    standard = adapted().get_cost(info(), (candidates - mean) / std)
    torch.testing.assert_close(adapted(standardised=False).get_cost(info(), candidates), standard)


def test_what_does_not_fit_is_refused_by_name():
    with pytest.raises(UserError, match=r"2 actions .* candidates of 3"):
        adapted().get_cost(info(), torch.zeros(2, 5, 4, 3))
    with pytest.raises(UserError, match="info needs 'pixels'"):
        adapted().get_cost({"state": HANDS[:, None]}, torch.zeros(2, 5, 4, 2))
