"""Laws of the planners, on costs that are known functions of the actions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from framecast.errors import UserError
from framecast.planning.actions import ActionBox
from framecast.planning.planners import PLANNERS, Planner, PlannerConfig, coloured_noise
from tests.planning.world import spec

HORIZON = 6
TARGET = torch.tensor([1.2, -0.7])


def bowl(commands: Tensor) -> Tensor:
    """Smallest, 0, where every action is TARGET."""
    return (commands - TARGET).square().sum(dim=2).mean(dim=1)


def planner(name: str, seed: int = 0, **changes: object) -> Planner:
    settings = {"horizon": HORIZON, "candidates": 64, "rounds": 4} | changes
    config = PlannerConfig(name=name, **settings)
    return Planner(config, ActionBox.of(spec(), config.repeat), seed)


@pytest.mark.parametrize("name", PLANNERS)
def test_a_planner_finds_what_it_is_rewarded_for(name: str):
    resting = float(bowl(torch.zeros(1, HORIZON, 2)))
    costs = [planner(name, seed).plan(bowl).cost for seed in range(5)]
    assert max(costs) < resting
    if name in ("cem", "icem"):
        assert max(costs) < 0.4 * resting


@pytest.mark.parametrize("name", PLANNERS)
def test_the_plan_costs_what_it_says_and_is_the_best_that_was_evaluated(name: str):
    seen: list[Tensor] = []

    def watched(commands: Tensor) -> Tensor:
        seen.append(bowl(commands))
        return seen[-1]

    plan = planner(name).plan(watched)
    assert plan.cost == pytest.approx(float(bowl(plan.commands[None])), abs=1e-6)
    assert plan.cost == pytest.approx(float(torch.cat(seen).min()), abs=1e-6)
    assert sum(len(costs) for costs in seen) == 64 * 4, "every planner has the same budget"


@pytest.mark.parametrize("name", PLANNERS)
def test_the_seed_decides_and_decisions_differ(name: str):
    plans = [planner(name, seed).plan(bowl).commands for seed in (3, 3, 4)]
    torch.testing.assert_close(plans[0], plans[1], rtol=0, atol=0)
    assert (plans[0] != plans[2]).any()


@pytest.mark.parametrize("name", PLANNERS)
def test_more_candidates_are_no_worse_on_average(name: str):
    means = []
    for candidates in (8, 32, 128):
        costs = [planner(name, seed, candidates=candidates).plan(bowl).cost for seed in range(24)]
        means.append(sum(costs) / len(costs))
    assert means[0] > means[1] > means[2]


@pytest.mark.parametrize("name", PLANNERS)
def test_no_command_leaves_what_was_recorded(name: str):
    def far(commands: Tensor) -> Tensor:
        assert (commands.abs() <= 2).all()
        return -commands.sum(dim=(1, 2))

    plan = planner(name, spread=5.0).plan(far)
    assert (plan.commands.abs() <= 2).all()
    assert plan.commands.mean() > 1


def test_repeated_actions_last_and_fixed_ones_stay():
    box = ActionBox.of(spec(), repeat=2, fixed={"down": 0.5})
    config = PlannerConfig(horizon=5, candidates=16, rounds=2, repeat=2)
    commands = Planner(config, box).plan(bowl).commands
    assert commands.shape == (5, 2)
    torch.testing.assert_close(commands[0], commands[1], rtol=0, atol=0)
    torch.testing.assert_close(commands[2], commands[3], rtol=0, atol=0)
    assert (commands[:, 1] == 0.5).all()
    numbers = box.numbers(commands[None])
    torch.testing.assert_close(box.commands(numbers, 5)[0], commands)


def test_smoothness_makes_plans_smoother():
    def zigzag(commands: Tensor) -> Tensor:
        signs = torch.tensor([1.0, -1.0]).repeat(HORIZON // 2)[:, None]
        return (commands - signs).square().sum(dim=(1, 2))

    rough = [
        planner("cem", smoothness=weight).plan(zigzag).commands.diff(dim=0).square().sum()
        for weight in (0.0, 10.0)
    ]
    assert rough[1] < 0.5 * rough[0]


def test_the_last_plan_moves_on_and_helps_the_next_decision():
    warm, cold = planner("icem", candidates=16, rounds=1), planner("icem", candidates=16, rounds=1)
    first = warm.plan(bowl)
    warm.executed(2)
    expected = torch.cat([first.commands[2:], first.commands[-1:].expand(2, -1)])
    torch.testing.assert_close(warm.box.commands(warm.last[None], HORIZON)[0], expected)
    later = [warm.plan(bowl).cost for _ in range(10)]
    assert later == sorted(later, reverse=True), "what is kept is evaluated again"
    assert later[-1] < cold.plan(bowl).cost
    warm.forget()
    torch.testing.assert_close(warm.plan(bowl).commands, first.commands, rtol=0, atol=0)


@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize("candidates", [2, 3, 5])
def test_few_candidates_are_never_exceeded(name: str, candidates: int):
    small = planner(name, candidates=candidates, rounds=2)
    counts: list[int] = []

    def counted(commands: Tensor) -> Tensor:
        counts.append(len(commands))
        return bowl(commands)

    for _ in range(3):
        small.plan(counted, TARGET.expand(4, HORIZON, 2))
        small.executed(1)
    assert sum(counts) == 3 * 2 * candidates


def test_a_suggestion_is_taken_when_it_is_better_and_ignored_when_it_is_not():
    perfect = TARGET.expand(1, HORIZON, 2)
    assert planner("icem").plan(bowl, perfect).cost == pytest.approx(0, abs=1e-9)
    nonsense = torch.full((8, HORIZON, 2), -2.0)
    assert planner("icem").plan(bowl, nonsense).cost < float(bowl(nonsense)[0])


def test_a_future_without_a_cost_is_never_chosen():
    def sometimes(commands: Tensor) -> Tensor:
        costs = bowl(commands)
        costs[::2] = float("nan")
        return costs

    for name in PLANNERS:
        plan = planner(name).plan(sometimes)
        assert plan.cost == pytest.approx(float(bowl(plan.commands[None])), abs=1e-6)


@pytest.mark.parametrize("steps", [2, 5, 10])
def test_coloured_noise_has_unit_variance_at_every_step_and_colour_makes_it_slow(steps: int):
    roughness = []
    for colour in (0.0, 1.0, 3.0):
        noise = coloured_noise((8000, steps, 1), colour, torch.Generator().manual_seed(0))
        torch.testing.assert_close(noise.std(dim=0), torch.ones(steps, 1), rtol=0.05, atol=0)
        roughness.append(float(noise.diff(dim=1).square().mean()))
    if steps > 2:
        assert roughness == sorted(roughness, reverse=True)


@pytest.mark.parametrize(
    ("setting", "value"), [("candidates", 1), ("horizon", 0), ("repeat", 7), ("name", "newton")]
)
def test_settings_out_of_range_are_refused_by_name(setting: str, value: object):
    with pytest.raises(UserError, match="planners" if setting == "name" else setting):
        PlannerConfig(**{"horizon": HORIZON} | {setting: value})
