"""The options that `framecast plan` and `framecast plan-bench` share."""

from __future__ import annotations

import argparse
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framecast.errors import UserError

if TYPE_CHECKING:
    from framecast.clip import ClipSpec
    from framecast.models.base import VideoModel
    from framecast.planning.actions import ActionBox
    from framecast.planning.handmap import HandMap
    from framecast.planning.imagination import ImaginationConfig
    from framecast.planning.planners import PlannerConfig
    from framecast.training.runs import Run


def planner_options(parser: argparse.ArgumentParser) -> None:
    """Add them to a command's parser."""
    parser.add_argument(
        "run", type=Path, nargs="?", help="run folder made by train (the shipped pusher model)"
    )
    parser.add_argument("--data", type=Path, help="another dataset than the run was trained on")
    group = parser.add_argument_group("planner")
    group.add_argument("--planner", choices=("shooting", "cem", "icem", "mppi"), default="icem")
    group.add_argument("--horizon", type=int, default=8, help="steps imagined ahead (8)")
    group.add_argument("--candidates", type=int, default=32, help="action sequences a round (32)")
    group.add_argument("--rounds", type=int, default=2, help="rounds of refinement (2)")
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
        default=1.0,
        help="share of the first round from what the goal suggests (1); 0 searches from noise",
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


def opened(options: Namespace) -> tuple[Run | None, VideoModel[Any]]:
    """The run and its model; without a run, the model that comes with framecast."""
    from framecast.training.packages import Package
    from framecast.training.runs import Run

    if options.run is None:
        if options.checkpoint is not None:
            raise UserError("--checkpoint chooses among those of a run: name one.")
        return None, Package.shipped().load_model()
    run = Run.open(options.run)
    return run, run.load_model(options.checkpoint or run.default_checkpoint())


def dataset_of(options: Namespace, run: Run | None) -> Path:
    """--data, or what the run was trained on. Raises UserError where there is neither."""
    if options.data is not None:
        return Path(options.data)
    if run is None:
        raise UserError("The recordings of the shipped model do not come with it: add --data.")
    return run.dataset()


def hand_map_of(options: Namespace, run: Run | None, spec: ClipSpec) -> HandMap:
    """Where the hand is in the picture: learned once a run; known for the shipped model.

    Raises UserError where it cannot be learned.
    """
    from framecast.planning.handeye import saved_hand_eye
    from framecast.planning.handmap import KnownCamera

    if run is None:
        return KnownCamera(spec.height)
    return saved_hand_eye(run.folder / "planning" / "hand_eye.json", dataset_of(options, run))


def planning_of(
    options: Namespace, spec: ClipSpec
) -> tuple[PlannerConfig, ImaginationConfig, ActionBox]:
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
