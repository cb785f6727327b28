"""`framecast plan-bench`: how well planning with a model works, beside what it could reach."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from framecast.cli.console import command_parser, console, progress_bar, write_json
from framecast.cli.planner_options import hand_map_of, opened, planner_options, planning_of
from framecast.errors import UserError

if TYPE_CHECKING:
    from framecast.planning.agents import Agent

AGENTS = {
    "random": "random policy",
    "scripted": "scripted pusher (knows the true state)",
    "simulator": "planner in the simulator (ceiling)",
    "model": "planner with the model",
}
EXAMPLES = """  framecast plan-bench --tasks push --json push.json   # the shipped model
  framecast plan-bench runs/warp --episodes 50 --json bench.json
  framecast plan-bench runs/warp --tasks push --episodes 20 --candidates 64 --rounds 2
  framecast plan-bench runs/warp --tasks push --suggested 0   # the search alone"""


def main(argv: list[str]) -> None:
    options = _options(argv)
    with console.status("Loading PyTorch ..."):
        from framecast.planning.benchmark import run_benchmark, summary
    run, model = opened(options)
    agents = _agents(options, run, model)
    total = len(options.tasks) * options.episodes * len(agents)
    with progress_bar("planning", total) as advance:
        results = run_benchmark(
            agents, options.tasks, options.episodes, options.seed, model.spec.height, advance
        )
    scores = summary(results)
    if options.json:
        write_json(options.json, scores)
    console.print(_table(options, scores))
    if options.json:
        console.print(f"Written to {options.json}.", soft_wrap=True)


def _options(argv: list[str]) -> Namespace:
    parser = command_parser(
        "plan-bench",
        "Measure planning in the built-in pusher: seeded tasks, scored by the true state.",
        EXAMPLES,
    )
    parser.add_argument("--tasks", default="reach,push,match", help="which (reach,push,match)")
    parser.add_argument("--episodes", type=int, default=50, help="tasks of each kind (50)")
    parser.add_argument("--seed", type=int, default=0, help="names the tasks")
    parser.add_argument("--agents", default=",".join(AGENTS), help=f"which ({','.join(AGENTS)})")
    parser.add_argument("--json", type=Path, help="write the scores here")
    planner_options(parser)
    parser.set_defaults(fix=["gripper=1"])
    options = parser.parse_args(argv)
    options.tasks = _chosen("--tasks", options.tasks, ("reach", "push", "match"))
    options.agents = _chosen("--agents", options.agents, tuple(AGENTS))
    if options.episodes < 1:
        raise UserError(f"--episodes should be at least 1, got {options.episodes}.")
    if options.json and not options.json.parent.is_dir():
        raise UserError(f"There is no folder {options.json.parent} to write {options.json} into.")
    return options


def _chosen(option: str, text: str, known: tuple[str, ...]) -> list[str]:
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise UserError(f"{option} takes some of {', '.join(known)}, got {text!r}.")
    return names


def _agents(options: Namespace, run: Any, model: Any) -> dict[str, Agent]:
    from framecast.planning.agents import Budget, ModelAgent
    from framecast.planning.robot import Displacements
    from framecast.planning.scripted import RandomAgent, ScriptedAgent
    from framecast.planning.simulator import SimulatorAgent
    from framecast.pusher.env import PusherEnv

    robot = Displacements.of(model.spec)
    if robot is None or not model.uses_states:
        raise UserError(
            "plan-bench needs a model that conditions on the pusher's actions and states. "
            "Train one with --model.condition action+state."
        )
    planner, imagination, box = planning_of(options, model.spec)
    space: Any = PusherEnv().action_space
    box.require_same_bounds(space.low, space.high, "the pusher")
    hand_eye = None
    if "push" in options.tasks and "model" in options.agents:
        with console.status("Finding the robot's hand in the recordings (once) ..."):
            hand_eye = hand_map_of(options, run, model.spec)
    budget = Budget(planner, imagination, options.execute)
    makers: dict[str, Callable[[], Agent]] = {
        "random": RandomAgent,
        "scripted": ScriptedAgent,
        "simulator": lambda: SimulatorAgent(planner, box, robot, options.execute),
        "model": lambda: ModelAgent(model, box, budget, hand_eye),
    }
    return {name: makers[name]() for name in options.agents}


def _table(options: Namespace, scores: dict[str, dict[str, Any]]) -> Table:
    evaluations = options.candidates * options.rounds
    title = (
        f"{options.episodes} tasks each, seed {options.seed}; planners: {evaluations} candidates "
        f"of {options.horizon} steps a decision, {options.execute} actions carried out"
    )
    table = Table(title=title, title_justify="left")
    for heading in ("task", "", "success", "distance cm", "before", "steps", "s a decision"):
        table.add_column(heading, justify="left" if heading in ("task", "") else "right")
    for task, rows in scores.items():
        for name, score in rows.items():
            table.add_row(
                task,
                AGENTS[name],
                f"{100 * score['success']:.0f}%",
                f"{score['distance_cm']:.1f}",
                f"{score['start_distance_cm']:.1f}",
                f"{score['steps']:.1f}",
                f"{score['seconds_per_decision']:.3f}",
            )
    return table
