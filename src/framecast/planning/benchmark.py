"""Planning measured: seeded tasks, scored by the simulator's true state.

Every agent gets the same tasks, the same number of steps, and the planners the same number of
candidates. An agent that believes it is done stops; the others use up their steps. Decisions are
timed; for policies that do not plan, every action is one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from framecast.planning.agents import Agent, ModelAgent
from framecast.planning.tasks import Kind, Task, sample_task
from framecast.pusher.env import PusherEnv

BLIND_SIZE = 16  # pixels a side for agents that do not look; pictures are most of a step's time
Progress = Callable[[int, str], None]


@dataclass(frozen=True)
class Attempt:
    """How one agent fared at one task.

    Attributes:
        start_cm, end_cm: distance from the goal before and after.
        steps: actions carried out.
        seconds: spent deciding.
    """

    start_cm: float
    end_cm: float
    success: bool
    steps: int
    decisions: int
    seconds: float


def run_benchmark(
    agents: Mapping[str, Agent],
    kinds: Sequence[Kind],
    num_episodes: int,
    seed: int,
    image_size: int,
    progress: Progress,
) -> dict[str, dict[str, list[Attempt]]]:
    """Attempts by task and agent."""
    seeing, blind = PusherEnv(image_size), PusherEnv(BLIND_SIZE)
    results: dict[str, dict[str, list[Attempt]]] = {}
    for kind in kinds:
        results[kind] = {name: [] for name in agents}
        for index in range(num_episodes):
            task_seed = seed * 100_000 + index
            task = sample_task(seeing if kind == "match" else blind, kind, task_seed)
            for name, agent in agents.items():
                attempts = results[kind][name]
                env = seeing if isinstance(agent, ModelAgent) else blind
                attempts.append(attempt(env, agent, task, task_seed))
                successes = sum(one.success for one in attempts)
                progress(1, f"{kind}, {name}: {successes} of {len(attempts)}")
    return results


def attempt(env: PusherEnv, agent: Agent, task: Task, seed: int) -> Attempt:
    """One agent at one task. A simulation that diverges counts as a failure."""
    observation, info = env.reset(seed=task.seed)
    agent.begin(env, task, observation, seed)
    start = task.distance_cm(env.end_effector(), info["object_positions"])
    before, seconds, steps = agent.num_decisions, 0.0, 0
    while steps < task.max_steps and not agent.is_done(env, info):
        begin = time.perf_counter()
        action = agent.act(env, observation, info)
        seconds += time.perf_counter() - begin
        try:
            observation, _, _, _, info = env.step(action)
        except RuntimeError:
            return Attempt(start, float("inf"), False, steps, 1, seconds)
        if isinstance(agent, ModelAgent):
            agent.observe(action, observation)
        steps += 1
    end = task.distance_cm(env.end_effector(), info["object_positions"])
    decisions = agent.num_decisions - before
    return Attempt(start, end, task.succeeded(end), steps, decisions, seconds)


def summary(results: Mapping[str, Mapping[str, Sequence[Attempt]]]) -> dict[str, dict[str, Any]]:
    """`{TASK: {PLANNER: {"success", "distance_cm", "seconds_per_decision", "episodes"}}}`.

    `success` is a share of the episodes, `distance_cm` the mean final distance.
    """
    return {
        kind: {name: _scores(attempts) for name, attempts in by_agent.items()}
        for kind, by_agent in results.items()
    }


def _scores(attempts: Sequence[Attempt]) -> dict[str, Any]:
    ends = np.array([one.end_cm for one in attempts])
    decisions = max(1, sum(one.decisions for one in attempts))
    return {
        "success": float(np.mean([one.success for one in attempts])),
        "distance_cm": round(float(ends[np.isfinite(ends)].mean()), 3),
        "seconds_per_decision": round(sum(one.seconds for one in attempts) / decisions, 5),
        "episodes": len(attempts),
        "start_distance_cm": round(float(np.mean([one.start_cm for one in attempts])), 3),
        "median_distance_cm": round(float(np.median(ends)), 3),
        "steps": round(float(np.mean([one.steps for one in attempts])), 2),
    }
