"""`framecast record`: episodes from a Gymnasium environment."""

from __future__ import annotations

from pathlib import Path

from framecast.cli.console import command_parser, console, progress_bar
from framecast.data.splits import DEFAULT_SPLIT, parse_fractions
from framecast.errors import UserError
from framecast.recording import Recording, record

EXAMPLES = """  framecast record framecast/Pusher-v0 --episodes 600 --workers 2 --out data/pusher
  framecast record Pusher-v5 --episodes 50 --frames 60 --out data/pusher5
  framecast record my_package:MyArm-v0 --policy my_package:Pusher --episodes 200 --out data/mine"""


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
        "--split",
        default=DEFAULT_SPLIT,
        help=f"fractions of episodes to train, validate and test ({DEFAULT_SPLIT})",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing dataset")
    options = parser.parse_args(argv)
    for name, least in (("episodes", 1), ("frames", 2), ("size", 16), ("workers", 1)):
        if getattr(options, name) < least:
            raise UserError(f"--{name} should be at least {least}, got {getattr(options, name)}.")
    recording = Recording(
        env_id=options.env,
        num_episodes=options.episodes,
        num_frames=options.frames,
        seed=options.seed,
        size=options.size,
        policy=options.policy,
    )
    fractions = parse_fractions(options.split)
    with progress_bar("recording", options.episodes) as advance:
        counts = record(
            recording, options.out, fractions, options.workers, options.overwrite, advance
        )
    episodes = ", ".join(f"{count} {split}" for split, count in counts.items())
    console.print(f"{options.out}: {episodes} episodes of up to {options.frames} frames.")
