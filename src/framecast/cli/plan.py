"""`framecast plan`: act toward a goal by imagining futures."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framecast.cli.console import command_parser, console, progress_bar
from framecast.cli.planner_options import (
    dataset_of,
    hand_map_of,
    opened,
    planner_options,
    planning_of,
)
from framecast.errors import UserError

if TYPE_CHECKING:
    from framecast.planning.costs import Cost
    from framecast.planning.session import Outcome

PUSHER = "framecast/Pusher-v0"
EXAMPLES = """  framecast plan --env framecast/Pusher-v0 --task push --seed 3 --out push
  framecast plan runs/warp --env framecast/Pusher-v0 --goal reach=0.10,-0.05,0.06 --out reach
  framecast plan runs/warp --env framecast/Pusher-v0 --seed 3 --goal pixel=21,40:30,33 \\
      --planner cem --candidates 200 --samples 3 --out click
  framecast plan runs/warp --clip 12 --goal image=+10 --out clip   # no simulator

goals (add several; the costs are summed with the weights behind an @):
  reach=X,Y,Z      the robot's state should become this, in its own units
  pixel=C,R:C,R    what is at the first pixel (column, row) should go to the second
  image=FILE       the picture should become this one; with --clip, image=+10 is the clip's own
                   frame 10 steps on
  module:function  your own cost: given imagined futures, one number each"""


def main(argv: list[str]) -> None:
    options = _options(argv)
    with console.status("Loading PyTorch ..."):
        import torch
    run, model = opened(options)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    plan = _in_environment if options.env else _on_a_clip
    outcome = plan(options, run, model)
    film, document = outcome.write(options.out)
    done = outcome.document
    console.print(_summary(done))
    console.print(f"Written to {film} and {document}.", soft_wrap=True)


def _options(argv: list[str]) -> Namespace:
    parser = command_parser(
        "plan", "Act toward a goal: imagine futures, take the best actions, look again.", EXAMPLES
    )
    parser.add_argument("--env", help="Gymnasium id to act in; without it, plan on a --clip")
    parser.add_argument("--goal", action="append", default=[], help="see below; may be repeated")
    parser.add_argument(
        "--task", choices=("reach", "push", "match"), help="a seeded task of the built-in pusher"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for plan.gif and plan.json")
    parser.add_argument("--steps", type=int, help="actions at most (50, or the task's)")
    parser.add_argument("--seed", type=int, default=0, help="of the scene and of the planner")
    parser.add_argument("--clip", type=int, default=0, help="episode to plan on (0)")
    parser.add_argument("--split", choices=("train", "validation", "test"), default="test")
    planner_options(parser)
    options = parser.parse_args(argv)
    if bool(options.goal) == bool(options.task):
        raise UserError("Say what to plan for: --goal GOAL, or --task with the built-in pusher.")
    if options.task and options.env != PUSHER:
        raise UserError(f"--task is for --env {PUSHER}; elsewhere, say --goal.")
    if options.task and not options.fix:
        options.fix = ["gripper=1"]  # as plan-bench does
    if options.steps is not None and options.steps < 1:
        raise UserError(f"--steps should be at least 1, got {options.steps}.")
    return options


def _in_environment(options: Namespace, run: Any, model: Any) -> Outcome:
    from framecast.planning.agents import task_cost
    from framecast.planning.control import Controller
    from framecast.planning.costs import image_tensor
    from framecast.planning.goals import cost_of, goal_picture, parse_goal
    from framecast.planning.imagination import require_actions
    from framecast.planning.session import control
    from framecast.planning.tasks import sample_task
    from framecast.recording import Recorder, Recording

    spec = model.spec
    planner, imagination, box = planning_of(options, spec)
    recorder = Recorder(Recording(options.env, 1, size=spec.height))
    space: Any = recorder.env.action_space
    box.require_same_bounds(space.low, space.high, options.env)
    goals = [parse_goal(text) for text in options.goal]
    hand_eye = None
    if options.task == "push" or any(goal.kind == "pixel" for goal in goals):
        hand_eye = _hand_eye(options, run, spec)
    env: Any = recorder.env.unwrapped
    task = sample_task(env, options.task, options.seed) if options.task else None
    observation, info = recorder.env.reset(seed=task.seed if task else options.seed)
    frame, _ = recorder.look(observation, info)
    picture = goal_picture(goals, spec)
    cost: Cost
    if task:
        cost, picture = task_cost(env, task, frame, spec, hand_eye), task.image
    else:
        cost = cost_of(goals, image_tensor(frame), spec, hand_eye)
    controller = Controller(model, cost, box, planner, imagination, options.seed, options.execute)
    controller.start(*recorder.look(observation, info))
    require_actions(model, controller.present)
    steps = options.steps or (task.max_steps if task else 50)
    with progress_bar("planning", steps) as advance:
        outcome = control(controller, recorder, observation, info, steps, picture, advance)
    document = _described(options, outcome.document)
    if task:
        info = env._info()
        distance = task.distance_cm(env.end_effector(), info["object_positions"])
        document["task"] = {
            "kind": task.kind,
            "distance_cm": round(distance, 3),
            "success": task.succeeded(distance),
        }
    return type(outcome)(document, outcome.film)


def _on_a_clip(options: Namespace, run: Any, model: Any) -> Outcome:
    from framecast.data.episodes import EpisodeStore
    from framecast.planning.control import Controller
    from framecast.planning.costs import image_tensor
    from framecast.planning.goals import cost_of, goal_picture, parse_goal
    from framecast.planning.imagination import require_actions
    from framecast.planning.session import plan_once

    spec = model.spec
    planner, imagination, box = planning_of(options, spec)
    store = EpisodeStore.open(dataset_of(options, run), options.split)
    spec.require_same_signals(store.spec, whose=str(store.path))
    if not 0 <= options.clip < store.num_episodes:
        raise UserError(
            f"The {options.split} split has episodes 0 to {store.num_episodes - 1}; "
            f"there is no clip {options.clip}."
        )
    episode = store.episode(options.clip)
    context = model.num_context
    if len(episode.frames) <= context:
        raise UserError(f"Clip {options.clip} has no more frames than the model's context.")
    goals = [parse_goal(text) for text in options.goal]
    present = episode.frames[context - 1]
    later = episode.frames[context:]
    hand_eye = (
        _hand_eye(options, run, spec) if any(goal.kind == "pixel" for goal in goals) else None
    )
    picture = goal_picture(goals, spec, later)
    cost = cost_of(goals, image_tensor(present), spec, hand_eye, later)
    controller = Controller(model, cost, box, planner, imagination, options.seed, options.execute)
    states = episode.states
    controller.start(episode.frames[0], None if states is None else states[0])
    for step in range(context - 1):
        state = None if states is None else states[step + 1]
        controller.observe(episode.actions[step], episode.frames[step + 1], state)
    controller.mark_again()
    require_actions(model, controller.present)
    with console.status("Planning ..."):
        outcome = plan_once(controller, episode.frames[context - 1 :], picture)
    return type(outcome)(_described(options, outcome.document), outcome.film)


def _hand_eye(options: Namespace, run: Any, spec: Any) -> Any:
    """The hand's way into the picture; None, with a word, where it cannot be learned."""
    with console.status("Finding the robot's hand in the recordings (once) ..."):
        try:
            return hand_map_of(options, run, spec)
        except UserError as error:
            console.print(f"Planning in pixels: {error}", soft_wrap=True)
            return None


def _described(options: Namespace, document: dict[str, Any]) -> dict[str, Any]:
    chosen = {
        name: getattr(options, name)
        for name in (
            *("planner", "horizon", "candidates", "rounds", "samples", "aggregate", "execute"),
            *("repeat", "smoothness", "suggested", "fix", "precision", "seed", "env"),
        )
    }
    goal = {"task": options.task} if options.task else {"goals": options.goal}
    return {"run": str(options.run or "shipped"), **goal, "settings": chosen, **document}


def _summary(document: dict[str, Any]) -> str:
    task = document.get("task")
    seconds = f"{document['seconds_per_decision']:.2f} s a decision"
    if isinstance(task, dict):
        verdict = "reached" if task["success"] else "not reached"
        return (
            f"{task['kind']}: {verdict} after {document['steps']} steps, "
            f"{task['distance_cm']:.1f} cm from the goal; {seconds}."
        )
    left = document["remaining"]
    to_go = "" if left is None else f", {left:.3g} to go (in the goal's unit)"
    return f"{document['steps']} steps, {len(document['decisions'])} decisions{to_go}; {seconds}."
