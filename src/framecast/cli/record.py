"""`framecast record`: episodes from a Gymnasium environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

from framecast.cli.console import command_parser, console, progress_bar
from framecast.data.geometry import Fit, Flip, parse_box
from framecast.data.splits import DEFAULT_SPLIT, parse_fractions
from framecast.errors import UserError
from framecast.recording import Recording, record
from framecast.recording.environments import parse_slice

EXAMPLES = """  framecast record framecast/Pusher-v0 --episodes 600 --workers 2 --out data/pusher
  framecast record Pusher-v5 --render rays --state-slice 14:17 --episodes 50 --out data/pusher5
  framecast record gym_pusht:gym_pusht/PushT-v0 --env obs_type=pixels_agent_pos \\
      --policy framecast.recording:HeldPolicy --episodes 200 --out data/pusht
  framecast record my_package:MyArm-v0 --policy my_package:Pusher --episodes 200 --out data/mine"""

LEAST = (
    *(("episodes", 1), ("frames", 2), ("size", 16), ("workers", 1)),
    *(("action_repeat", 1), ("execution_noise", 0)),
)


def main(argv: list[str]) -> None:
    parser = command_parser(
        "record", "Record episodes of frames, actions and states into a dataset.", EXAMPLES
    )
    parser.add_argument("env", help="Gymnasium id; module:id imports the module first")
    parser.add_argument("--out", type=Path, required=True, help="dataset folder to make")
    parser.add_argument("--episodes", type=int, default=600)
    parser.add_argument("--frames", type=int, default=30, help="frames an episode (30)")
    parser.add_argument("--size", type=int, default=64, help="pixels a side (64)")
    parser.add_argument("--seed", type=int, default=0, help="names the recording")
    parser.add_argument("--workers", type=int, default=1, help="processes (1)")
    parser.add_argument("--policy", help="module:Class; default: the environment's own, or random")
    parser.add_argument(
        "--env",
        dest="env_options",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="keyword argument for the environment; may be repeated",
    )
    parser.add_argument(
        "--render",
        choices=("own", "rays"),
        default="own",
        help="draw by the environment itself, or a MuJoCo one by rays, without OpenGL",
    )
    parser.add_argument("--state-key", help="where the state is: a/b in the observation, or info/a")
    parser.add_argument("--state-slice", metavar="FIRST:LAST", help="numbers of the state to keep")
    parser.add_argument("--fit", choices=get_args(Fit), default="crop", help="as in import (crop)")
    parser.add_argument("--crop", metavar="LEFT,TOP,WIDTH,HEIGHT", help="first cut out this box")
    parser.add_argument("--flip", choices=get_args(Flip), default="none")
    parser.add_argument(
        "--action-repeat", type=int, default=1, help="steps of the environment a command (1)"
    )
    parser.add_argument(
        "--execution-noise",
        type=float,
        default=0.0,
        help="hidden noise on what is executed, as a share of half the action's range (0)",
    )
    parser.add_argument(
        "--split",
        default=DEFAULT_SPLIT,
        help=f"fractions of episodes to train, validate and test ({DEFAULT_SPLIT})",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing dataset")
    options = parser.parse_args(argv)
    for name, least in LEAST:
        if getattr(options, name) < least:
            given = getattr(options, name)
            raise UserError(f"--{name.replace('_', '-')} should be at least {least}, got {given}.")
    recording = Recording(
        env_id=options.env,
        num_episodes=options.episodes,
        num_frames=options.frames,
        seed=options.seed,
        size=options.size,
        policy=options.policy,
        fit=options.fit,
        box=None if options.crop is None else parse_box(options.crop),
        flip=options.flip,
        state_key=options.state_key,
        state_slice=None if options.state_slice is None else parse_slice(options.state_slice),
        action_repeat=options.action_repeat,
        execution_noise=options.execution_noise,
        by_rays=options.render == "rays",
        env_options=dict(_option(text) for text in options.env_options),
    )
    fractions = parse_fractions(options.split)
    with progress_bar("recording", options.episodes) as advance:
        counts = record(
            recording, options.out, fractions, options.workers, options.overwrite, advance
        )
    episodes = ", ".join(f"{count} {split}" for split, count in counts.items())
    console.print(f"{options.out}: {episodes} episodes of up to {options.frames} frames.")


def _option(text: str) -> tuple[str, Any]:
    """`name=value`: the value as JSON where it is some, else as text."""
    name, equals, value = text.partition("=")
    if not (equals and name.isidentifier()):
        raise UserError(f"--env takes name=value, got {text!r}.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
