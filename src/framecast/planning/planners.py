"""Planners: which actions to take, given what each candidate is imagined to cost.

A planner knows nothing of pictures or models. It proposes candidates, is told their costs, and
proposes better ones. All of them work on free numbers (see actions.py), in which 1 is a standard
deviation of the recorded actions:

    shooting  draws once and takes the best (random shooting)
    cem       refits a Gaussian to the elites, again and again (cross-entropy method; Rubinstein
              1999, used for visual foresight by Finn and Levine 2017)
    icem      cem with coloured noise and with elites kept between rounds and decisions
              (Pinneri 2020)
    mppi      moves the mean by the candidates' exponential weights (Williams 2017)

Every planner hands back the best candidate it has seen evaluated, so that a plan is never worse
than what it started from. `seed` and the costs decide everything.

Shape letters: N candidates, H steps, A action, K decisions, D free dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor

from framecast.errors import UserError
from framecast.planning.actions import ActionBox

PlannerName = Literal["shooting", "cem", "icem", "mppi"]
PLANNERS: tuple[PlannerName, ...] = get_args(PlannerName)
Evaluate = Callable[[Tensor], Tensor]  # commands (N, H, A) -> costs (N,)
Decided = TypeVar("Decided")
Proposals = Generator[Tensor, Tensor, Decided]  # yields commands, is sent costs, returns an outcome
MIN_SPREAD = 0.05


@dataclass(frozen=True)
class PlannerConfig:
    """
    Args:
        name: shooting, cem, icem or mppi.
        horizon: steps ahead.
        candidates: action sequences evaluated a round.
        rounds: how often the planner proposes; shooting draws all of them at once.
        elites: share of the candidates that the next round is fitted to.
        kept: share of the elites that enter the next round as they are (icem).
        momentum: share of the old mean and spread that stays in a refit.
        colour: exponent of the noise's spectrum over time, 0 white, 2 red (icem).
        spread: first standard deviation, in those of the recorded actions.
        temperature: of mppi's weights, in standard deviations of the costs.
        smoothness: cost of a squared change of a free number from one decision to the next.
        suggested: share of the first round taken from what the cost suggests, if it does.
        repeat: steps that a planned action lasts.
    """

    name: PlannerName = "icem"
    horizon: int = 8
    candidates: int = 64
    rounds: int = 3
    elites: float = 0.12
    kept: float = 0.3
    momentum: float = 0.1
    colour: float = 2.0
    spread: float = 1.0
    temperature: float = 0.3
    smoothness: float = 0.0
    suggested: float = 1.0
    repeat: int = 1

    def __post_init__(self) -> None:
        if self.name not in PLANNERS:
            raise UserError(f"The planners are {', '.join(PLANNERS)}; got {self.name!r}.")
        for name, low, high in (
            ("horizon", 1, 1000),
            ("candidates", 2, 1_000_000),
            ("rounds", 1, 1000),
            ("elites", 1e-6, 1),
            ("kept", 0, 1),
            ("momentum", 0, 0.99),
            ("colour", 0, 10),
            ("spread", 1e-3, 100),
            ("temperature", 1e-3, 1e3),
            ("smoothness", 0, 1e6),
            ("suggested", 0, 1),
            ("repeat", 1, self.horizon),
        ):
            if not low <= getattr(self, name) <= high:
                value = getattr(self, name)
                raise UserError(f"{name} should be between {low} and {high}, got {value}.")

    @property
    def num_elites(self) -> int:
        return max(2, round(self.elites * self.candidates))

    @property
    def num_kept(self) -> int:
        return max(1, round(self.kept * self.num_elites))

    @property
    def num_evaluations(self) -> int:
        """Action sequences evaluated a decision; the same for every planner."""
        return self.candidates * self.rounds


@dataclass(frozen=True)
class Plan:
    """What a planner decided.

    Attributes:
        commands: (H, A) of the best candidate.
        cost: its cost, smoothness left out.
        runners_up: (R, H, A) commands of the next best, different candidates.
        best_by_round, mean_by_round: costs while the candidates narrow.
    """

    commands: Tensor
    cost: float
    runners_up: Tensor
    best_by_round: list[float]
    mean_by_round: list[float]


@dataclass
class Planner:
    """One planner of one robot; keeps its last plan to start from (`forget` drops it).

    Args:
        seed: of all random numbers; a decision's depend on it and on how many came before.
    """

    config: PlannerConfig
    box: ActionBox
    seed: int = 0
    decisions: int = field(default=0, init=False)
    last: Tensor | None = field(default=None, init=False)  # (K, D) free numbers of the last plan
    kept: Tensor | None = field(default=None, init=False)  # (E, K, D) elites of the last decision

    def forget(self) -> None:
        """Start the next decision afresh, as after a change of goal."""
        self.last = self.kept = None
        self.decisions = 0

    def plan(self, evaluate: Evaluate, suggestions: Tensor | None = None) -> Plan:
        """Decide. `suggestions` (N, H, A) are commands worth a look, such as a cost's own."""
        return answered(self.proposals(suggestions), evaluate)

    def proposals(self, suggestions: Tensor | None = None) -> Proposals[Plan]:
        """Decide, one round at a time."""
        config = self.config
        random = torch.Generator().manual_seed(self.seed * 1_000_003 + self.decisions)
        search = _Search(self, random)
        at_once = config.name == "shooting"
        count = config.num_evaluations if at_once else config.candidates
        numbers = search.bounded(search.first(count, suggestions))
        search.learn(numbers, (yield self.box.commands(numbers, config.horizon)))
        for _ in range(0 if at_once else config.rounds - 1):
            numbers = search.bounded(search.refined())
            search.learn(numbers, (yield self.box.commands(numbers, config.horizon)))
        self.decisions += 1
        self.last, self.kept = search.best, search.elites
        return search.outcome()

    def executed(self, num_steps: int) -> None:
        """Move the last plan on by what was executed of it, for a warm start."""
        passed = min(num_steps // self.config.repeat, self.box.num_decisions(self.config.horizon))
        self.last = None if self.last is None else _shifted(self.last, passed)
        self.kept = None if self.kept is None else _shifted(self.kept, passed)


def answered(proposals: Proposals[Decided], evaluate: Evaluate) -> Decided:
    """What comes of proposals that are evaluated as they come."""
    try:
        commands = next(proposals)
        while True:
            commands = proposals.send(evaluate(commands))
    except StopIteration as end:
        decided: Decided = end.value
        return decided


class _Search:
    """One decision: what is proposed next, given what the last candidates cost."""

    def __init__(self, planner: Planner, random: torch.Generator) -> None:
        self.config, self.box, self.random = planner.config, planner.box, random
        self.warm, self.warm_elites = planner.last, planner.kept
        self.num_decisions = self.box.num_decisions(self.config.horizon)
        self.low, self.high = self.box.limits()
        shape = (self.num_decisions, self.box.num_free)
        self.mean = self.warm if self.warm is not None else self._resting(shape)
        self.spread = torch.full(shape, self.config.spread)
        self.best = self.mean
        self.best_cost = float("inf")
        self.elites = self.mean[None]
        self.best_by_round: list[float] = []
        self.mean_by_round: list[float] = []
        self.ranked = self.mean[None]

    def first(self, count: int, suggestions: Tensor | None) -> Tensor:
        """The first round: the last plan and elites, suggestions, and noise around the mean."""
        parts = [self.mean[None]]
        if self.config.name == "icem" and self.warm_elites is not None:
            parts.append(self.warm_elites[: self.config.num_kept])
        if suggestions is not None and len(suggestions):
            numbers = self.box.numbers(suggestions)
            parts.append(numbers[: round(self.config.suggested * count)])
        known = torch.cat(parts)[:count]
        return torch.cat([known, self._noisy(count - len(known))])

    def refined(self) -> Tensor:
        """The next round: noise around the mean, the mean, and for icem the elites kept."""
        parts = [self.mean[None]]
        if self.config.name == "icem":
            parts.append(self.elites[: self.config.num_kept])
        known = torch.cat(parts)[: self.config.candidates]
        return torch.cat([known, self._noisy(self.config.candidates - len(known))])

    def bounded(self, numbers: Tensor) -> Tensor:
        return torch.maximum(torch.minimum(numbers, self.high), self.low)

    def learn(self, numbers: Tensor, costs: Tensor) -> None:
        """Take in what candidates cost."""
        costs = torch.nan_to_num(costs.float().cpu(), nan=float("inf"))
        rough = (numbers[:, 1:] - numbers[:, :-1]).square().sum(dim=(1, 2))
        total = costs + self.config.smoothness * rough
        order = total.argsort(stable=True)
        self.best_by_round.append(float(costs.min()))
        self.mean_by_round.append(float(costs[costs.isfinite()].mean()))
        self.elites = numbers[order[: self.config.num_elites]]
        if float(total[order[0]]) < self.best_cost:
            self.best_cost = float(total[order[0]])
            self.best, self.cost = numbers[order[0]], float(costs[order[0]])
            self.ranked = self.elites
        if self.config.name == "mppi":
            self._reweigh(numbers, total)
        else:
            self._refit()

    def outcome(self) -> Plan:
        horizon = self.config.horizon
        return Plan(
            commands=self.box.commands(self.best[None], horizon)[0],
            cost=self.cost,
            runners_up=self.box.commands(self.ranked[1:3], horizon),
            best_by_round=self.best_by_round,
            mean_by_round=self.mean_by_round,
        )

    def _refit(self) -> None:
        momentum = self.config.momentum
        self.mean = momentum * self.mean + (1 - momentum) * self.elites.mean(dim=0)
        spread = self.elites.std(dim=0, correction=0).clamp(min=MIN_SPREAD)
        self.spread = momentum * self.spread + (1 - momentum) * spread

    def _reweigh(self, numbers: Tensor, costs: Tensor) -> None:
        finite = costs[costs.isfinite()]
        scale = self.config.temperature * finite.std(correction=0).clamp(min=1e-9)
        weights = torch.softmax(-(costs - finite.min()) / scale, dim=0)
        self.mean = (weights[:, None, None] * numbers).sum(dim=0)
        self.spread = self.spread * 0.7

    def _noisy(self, count: int) -> Tensor:
        colour = self.config.colour if self.config.name == "icem" else 0.0
        shape = (max(0, count), self.num_decisions, self.box.num_free)
        return self.mean + self.spread * coloured_noise(shape, colour, self.random)

    def _resting(self, shape: tuple[int, int]) -> Tensor:
        """The command nearest to 0: displacements of none, or the middle of what was recorded."""
        zero = self.box.numbers(torch.zeros(1, 1, self.box.spec.size))[0]
        resting = torch.maximum(torch.minimum(zero, self.high), self.low)
        return resting.expand(shape).clone()


def coloured_noise(shape: tuple[int, int, int], colour: float, random: torch.Generator) -> Tensor:
    """Noise (N, K, D) of unit variance whose power falls as frequency**-colour along K.

    (Timmer and Koenig 1995.) The lowest frequency stands in for 0, which is a constant.
    """
    count, steps, size = shape
    if colour == 0 or steps == 1 or count == 0:
        return torch.randn(shape, generator=random)
    frequency = torch.fft.rfftfreq(steps)
    frequency[0] = frequency[1]
    amplitude = frequency ** (-colour / 2)
    drawn = torch.randn(2, count, size, len(frequency), generator=random)
    drawn[1, ..., 0] = 0
    if steps % 2 == 0:
        drawn[1, ..., -1] = 0
    edge = torch.full_like(amplitude, 2.0)
    edge[0] = 1
    if steps % 2 == 0:
        edge[-1] = 1
    # Real and imaginary parts share a frequency's power; the edges have a real part only.
    variance = (edge * amplitude**2 * torch.where(edge == 1, 1.0, 2.0)).sum() / steps**2
    spectrum = torch.complex(drawn[0], drawn[1]) * amplitude / variance.sqrt()
    noise: Tensor = torch.fft.irfft(spectrum, n=steps)
    return noise.transpose(1, 2)


def _shifted(numbers: Tensor, passed: int) -> Tensor:
    """Drop the first decisions; the last one stands in for those that follow."""
    if passed == 0:
        return numbers
    last = numbers[..., -1:, :]
    tail = last.expand(*numbers.shape[:-2], passed, numbers.shape[-1])
    return torch.cat([numbers[..., passed:, :], tail], dim=-2)
