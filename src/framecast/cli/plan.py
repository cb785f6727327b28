"""`framecast plan`: act toward a goal by imagining futures."""

from __future__ import annotations

import argparse
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framecast.cli.console import command_parser, console, progress_bar
from framecast.errors import UserError

if TYPE_CHECKING:
    from framecast.planning.actions import ActionBox
    from framecast.planning.control import Controller
    from framecast.planning.costs import Cost
    from framecast.planning.session import Outcome

PUSHER = "framecast/Pusher-v0"
EXAMPLES = """  framecast plan runs/warp --env framecast/Pusher-v0 --task push --seed 3 --out plans/a
  framecast plan runs/warp --env framecast/Pusher-v0 --goal reach=0.10,-0.05,0.06 --out plans/reach
  framecast plan runs/warp --env framecast/Pusher-v0 --seed 3 --goal pixel=21,40:30,33 \\
      --planner cem --candidates 200 --samples 3 --out plans/click
  framecast plan runs/warp --clip 12 --goal image=+10 --out plans/clip   # no simulator

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

        from framecast.training.runs import Run
    run = Run.open(options.run)
    model = run.load_model(options.checkpoint or run.default_checkpoint())
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    plan = _in_environment if options.env else _on_a_clip
    outcome = plan(options, run, model)
    film, document = outcome.write(options.out)
    done = outcome.document
    console.print(_summary(done))
    console.print(f"Written to {film} and {document}.", soft_wrap=True)


def planner_options(parser: argparse.ArgumentParser) -> None:
    """The options that plan and plan-bench share."""
    group = parser.add_argument_group("planner")
    group.add_argument("--planner", choices=("shooting", "cem", "icem", "mppi"), default="icem")
    group.add_argument("--horizon", type=int, default=10, help="steps imagined ahead (10)")
    group.add_argument("--candidates", type=int, default=32, help="action sequences a round (32)")
    group.add_argument("--rounds", type=int, default=3, help="rounds of refinement (3)")
    group.add_argument("--samples", type=int, default=1, help="latent samples a candidate (1)")
    group.add_argument(
        "--aggregate",
        choices=("mean", "worst", "best"),
        default="mean",
        help="a candidate's cost from those of its samples (mean)",
    )
    group.add_argument("--execute", type=int, default=2, help="actions carried out a plan (2)")
    group.add_argument("--repeat", type=int, default=1, help="steps a planned action lasts (1)")
    group.add_argument("--smoothness", type=float, default=0.0, help="cost of jerky plans (0)")
    group.add_argument(
        "--suggested",
        type=float,
        default=0.5,
        help="share of the first round from what the goal suggests (0.5); 0 searches from noise",
    )
    group.add_argument(
        "--fix",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="hold an action fixed, such as gripper=1",
    )
    group.add_argument("--memory", type=float, default=256, help="megabytes for futures (256)")
    group.add_argument(
        "--precision", choices=("bf16", "32"), default="bf16", help="of convolutions (bf16)"
    )
    group.add_argument(
        "--checkpoint", choices=("best", "last"), help="default: best if there is one"
    )


def planning_of(options: Namespace, spec: Any) -> tuple[Any, Any, ActionBox]:
    """Planner, imagination and action box from the shared options."""
    from framecast.planning.actions import ActionBox
    from framecast.planning.imagination import ImaginationConfig
    from framecast.planning.planners import PlannerConfig

    planner = PlannerConfig(
        name=options.planner,
        horizon=options.horizon,
        candidates=options.candidates,
        rounds=options.rounds,
        smoothness=options.smoothness,
        suggested=options.suggested,
        repeat=options.repeat,
    )
    imagination = ImaginationConfig(
        samples=options.samples,
        aggregate=options.aggregate,
        memory_mb=options.memory,
        bfloat16=options.precision == "bf16",
    )
    return planner, imagination, ActionBox.of(spec, options.repeat, fixed_actions(options.fix))


def fixed_actions(given: list[str]) -> dict[str, float]:
    """`NAME=VALUE` texts as numbers. Raises UserError for another form."""
    fixed = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            fixed[name] = float(value)
        except ValueError:
            raise UserError(f"--fix takes NAME=VALUE with a number, got {text!r}.") from None
    return fixed


def _options(argv: list[str]) -> Namespace:
    parser = command_parser(
        "plan", "Act toward a goal: imagine futures, take the best actions, look again.", EXAMPLES
    )
    parser.add_argument("run", type=Path, help="run folder made by train")
    parser.add_argument("--env", help="Gymnasium id to act in; without it, plan on a --clip")
    parser.add_argument("--goal", action="append", default=[], help="see below; may be repeated")
    parser.add_argument(
        "--task", choices=("reach", "push", "match"), help="a seeded task of the built-in pusher"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for plan.gif and plan.json")
    parser.add_argument("--steps", type=int, help="actions at most (30, or the task's)")
    parser.add_argument("--seed", type=int, default=0, help="of the scene and of the planner")
    parser.add_argument("--clip", type=int, default=0, help="episode to plan on (0)")
    parser.add_argument("--split", choices=("train", "validation", "test"), default="test")
    parser.add_argument("--data", type=Path, help="another dataset than the run was trained on")
    planner_options(parser)
    options = parser.parse_args(argv)
    if bool(options.goal) == bool(options.task):
        raise UserError("Say what to plan for: --goal GOAL, or --task with the built-in pusher.")
    if options.task and options.env != PUSHER:
        raise UserError(f"--task is for --env {PUSHER}; elsewhere, say --goal.")
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
        hand_eye = _hand_eye(options, run)
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
    steps = options.steps or (task.max_steps if task else 30)
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
    store = EpisodeStore.open(options.data or run.dataset(), options.split)
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
    later, goals = _own_frame(goals, episode.frames, context - 1)
    hand_eye = _hand_eye(options, run) if any(goal.kind == "pixel" for goal in goals) else None
    picture = later if later is not None else goal_picture(goals, spec)
    cost = cost_of(goals, image_tensor(present), spec, hand_eye) if goals else None
    if later is not None:
        cost = _with_own_frame(cost, later, spec)
    assert cost is not None
    controller: Controller = Controller(
        model, cost, box, planner, imagination, options.seed, options.execute
    )
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


def _own_frame(goals: list[Any], frames: Any, present: int) -> tuple[Any, list[Any]]:
    """The clip's own later frame that an `image=+N` asks for, and the other goals."""
    own = [goal for goal in goals if goal.kind == "image" and goal.text.startswith("+")]
    others = [goal for goal in goals if goal not in own]
    if not own:
        return None, others
    if others or len(own) > 1:
        raise UserError("image=+N stands alone: give no other goal beside it.")
    steps = own[0].text[1:]
    last = len(frames) - 1 - present
    if not steps.isdigit() or not 1 <= int(steps) <= last:
        raise UserError(f"image=+N takes 1 to {last} steps on this clip, got image=+{steps}.")
    return frames[present + int(steps)], others


def _with_own_frame(cost: Cost | None, frame: Any, spec: Any) -> Cost:
    from framecast.planning.costs import GoalImage, image_tensor

    assert cost is None
    return GoalImage(image_tensor(frame), spec)


def _hand_eye(options: Namespace, run: Any) -> Any:
    """The hand's way into the picture; None, with a word, where it cannot be learned."""
    from framecast.planning.agents import hand_eye_of

    with console.status("Finding the robot's hand in the recordings (once) ..."):
        try:
            return hand_eye_of(run, options.data or run.dataset())
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
    return {"run": str(options.run), **goal, "settings": chosen, **document}


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
