"""The whole family at equal training time: every recipe trained, scored 10 and 28 frames ahead.

Each model trains on one thread for the same minutes, as many at once as there are workers. A
schedule over the run (cosine, teacher forcing, growing clips) is stretched to the steps that fit,
which a short run measures first. What is there already is not done again, so an interrupted run
goes on. Prints nothing new: `framecast results` makes the page from the folders.

    python benchmarks/family.py --data data/pusher --minutes 30 --out runs/family --workers 2
    python benchmarks/family.py --data data/g1 --minutes 30 --out runs/family_g1 --workers 2 \
        --every --clips.shift 5 --clips.brightness 0.15 --clips.state_shift 1
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from framecast.training.runs import Run
from framecast.training.tables import read_table

EPOCH = 100  # steps, about: as long as makes the run fill its minutes
MEASURED = 12  # steps of the short run, the first two left out
PROTOCOLS = (("--protocol", "course"), ("--protocol", "svg", "--samples", "1"))


@dataclass(frozen=True)
class Member:
    """
    Attributes:
        of_full_cost: mean cost of a step over the run, of one with whole clips.
    """

    name: str
    recipe: str
    options: tuple[str, ...] = ()
    of_full_cost: float = 1.0


HELD = ("--kl.annealing", "dynamic", "--kl.beta", "1e-4", "--kl.target_rate", "4")
FAMILY = (
    Member("svg_fp", "svg_fp", ("--model.image_network", "dcgan")),
    Member("svg_lp", "svg_lp", ("--model.image_network", "dcgan")),
    Member("svg_lp_vgg", "svg_lp"),
    Member("svg_lp_actions", "svg_lp_actions"),
    Member("svg_deterministic", "svg_lp_actions", ("--model.latent_dim", "0")),
    Member("course", "course"),
    Member("course_hybrid", "course_hybrid"),
    Member("course_learned_prior", "course_learned_prior"),
    Member("course_convolution", "course_convolution"),
    Member("course_hierarchical", "course_hierarchical"),
    Member("course_deterministic", "course_deterministic"),
    Member("spatial", "spatial"),
    Member("spatial_deterministic", "spatial", ("--model.latent_dim", "0")),
    Member("warp", "warp", of_full_cost=0.76),
    Member("warp_narrow", "demo", of_full_cost=0.76),
    Member(
        "warp_narrow_mirror",
        "demo",
        ("--model.mirror", "dx,x", "--clips.mirror", "dx,x"),
        of_full_cost=0.76,
    ),
    Member(
        "warp_narrow_latent", "demo", ("--model.latent_channels", "4", *HELD), of_full_cost=0.76
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True, help="of training, each")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run folders")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some members of the family")
    parser.add_argument("--every", nargs=argparse.REMAINDER, default=[], help="options of training")
    options = parser.parse_args()
    chosen = [member for member in FAMILY if not options.only or member.name in options.only]
    with ThreadPoolExecutor(options.workers) as pool:
        for line in pool.map(lambda member: make(member, options), chosen):
            print(line, flush=True)


def make(member: Member, options: argparse.Namespace) -> str:
    """Train and score one; returns a line about it."""
    run, told = options.out / member.name, (*member.options, *options.every)
    train = ("train", member.recipe, "--data", options.data, "--out")
    begun = (run / "recipe.yaml").exists()
    epochs, size = _length_of(run) if begun else _length_for(member, options, told)
    length = ("--training.epochs", epochs, "--training.epoch_size", size)
    limit = ("--training.max_minutes", options.minutes)
    if not any((run / "evaluation").glob("*.json")):
        _framecast(*train, run, *told, *length, *limit, *(["--resume"] if begun else []))
    for protocol in PROTOCOLS:
        if not (run / "evaluation" / f"{protocol[1]}.json").exists():
            _framecast("evaluate", run, *protocol)
    last = read_table(Run.open(run).metrics_file)[-1]
    return f"{member.name}: {last['step']} steps in {float(last['minutes']):.1f} minutes"


def _length_of(run: Path) -> tuple[int, int]:
    training = Run.open(run).recipe().training
    return training.epochs, training.epoch_size


def _length_for(
    member: Member, options: argparse.Namespace, told: Sequence[str]
) -> tuple[int, int]:
    """Epochs, and steps of one, that fit into the time by the cost of some with whole clips."""
    short = ("--training.epochs", 1, "--training.epoch_size", MEASURED, "--training.log_every", 1)
    whole = ("--training.validation_clips", 2, "--clips.first_horizon", 0)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / member.name
        train = ("train", member.recipe, "--data", options.data, "--out", run)
        _framecast(*train, *told, *short, *whole)
        rows = [row for row in read_table(Run.open(run).metrics_file) if row["loss"]]
    cost = (float(rows[-1]["minutes"]) - float(rows[1]["minutes"])) / (MEASURED - 2)
    steps = float(options.minutes) / (cost * member.of_full_cost)
    epochs = max(1, round(steps / EPOCH))
    return epochs, max(1, round(steps / epochs))


def _framecast(*arguments: object) -> None:
    command: Sequence[str] = [sys.executable, "-m", "framecast", *map(str, arguments)]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")


if __name__ == "__main__":
    main()
