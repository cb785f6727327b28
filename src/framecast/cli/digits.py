"""`framecast digits`: the stochastic moving digits of the SVG paper, made here."""

from __future__ import annotations

from pathlib import Path

from framecast.cli.console import command_parser, console, progress_bar
from framecast.data.digits import Digits, mnist_digits, scikit_digits
from framecast.data.episodes import SPLITS
from framecast.data.splits import DEFAULT_SPLIT, assign_splits, parse_fractions
from framecast.data.writer import DatasetWriter
from framecast.errors import UserError

EXAMPLES = """  framecast digits --episodes 2000 --out data/digits
  framecast digits --images train-images-idx3-ubyte.gz --episodes 10000 --out data/smmnist"""


def main(argv: list[str]) -> None:
    parser = command_parser(
        "digits",
        "Make a dataset of digits that bounce off the walls with a random new speed; no actions.",
        EXAMPLES,
    )
    parser.add_argument("--out", type=Path, required=True, help="dataset folder to make")
    parser.add_argument("--episodes", type=int, default=2000)
    parser.add_argument("--frames", type=int, default=30, help="frames an episode (30)")
    parser.add_argument("--size", type=int, default=64, help="pixels a side (64)")
    parser.add_argument("--digits", type=int, default=2, help="digits a frame (2)")
    parser.add_argument("--seed", type=int, default=0, help="names the dataset")
    parser.add_argument("--images", type=Path, help="file of MNIST images; default: scikit-learn's")
    parser.add_argument(
        "--split", default=DEFAULT_SPLIT, help=f"fractions of episodes ({DEFAULT_SPLIT})"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing dataset")
    given = parser.parse_args(argv)
    for name, least in (("episodes", 1), ("frames", 2), ("size", 32), ("digits", 1)):
        if getattr(given, name) < least:
            raise UserError(f"--{name} should be at least {least}, got {getattr(given, name)}.")
    side = given.size // 2
    images = scikit_digits(side) if given.images is None else mnist_digits(given.images, side)
    source = "scikit-learn" if given.images is None else "MNIST"
    digits = Digits(images, source, given.size, given.digits, given.frames)
    splits = assign_splits(given.episodes, parse_fractions(given.split), given.seed)
    with (
        DatasetWriter(given.out, digits.header(), given.overwrite) as writer,
        progress_bar("drawing", given.episodes) as advance,
    ):
        for index, split in enumerate(splits):
            writer.add(split, digits.episode(given.seed, index))
            advance()
    counts = ", ".join(f"{splits.count(split)} {split}" for split in SPLITS if split in splits)
    console.print(f"{given.out}: {counts} episodes of {given.frames} frames.")
