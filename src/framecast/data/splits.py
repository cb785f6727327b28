"""Which episode trains, validates or tests. A split never cuts through an episode."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from framecast.data.episodes import SPLITS, Split
from framecast.errors import UserError

DEFAULT_SPLIT = "0.8,0.1,0.1"
SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "validate": "validation",
    "validation": "validation",
    "val": "validation",
    "test": "test",
}


def split_of(path: Path) -> Split | None:
    """The split that a folder on the path is named after."""
    return next((SPLIT_NAMES[part] for part in path.parts[:-1] if part in SPLIT_NAMES), None)


def complete(splits: list[Split | None]) -> list[Split] | None:
    """A source's own splits: where every episode has one, and not all of them train."""
    known = [split for split in splits if split is not None]
    return known if len(known) == len(splits) and {"train"} < set(known) else None


def parse_fractions(text: str) -> tuple[float, float, float]:
    """`0.8,0.1,0.1` -> fractions of train, validation and test, which add up to 1."""
    try:
        train, validation, test = (float(part) for part in text.split(","))
    except ValueError:
        train = validation = test = -1.0
    if min(train, validation, test) < 0 or abs(train + validation + test - 1) > 1e-6 or not train:
        raise UserError(
            "--split takes three fractions that add up to 1 (train, validation, test), "
            f"such as {DEFAULT_SPLIT}; got {text!r}."
        )
    return train, validation, test


def assign_splits(
    num_episodes: int, fractions: tuple[float, float, float], seed: int
) -> list[Split]:
    """A split for every episode, in an order shuffled by `seed`.

    Every fraction above zero gets at least one episode; where there are too few episodes for
    that, all of them train.
    """
    counts = [round(fraction * num_episodes) for fraction in fractions]
    wanted = [fraction > 0 for fraction in fractions]
    if num_episodes < sum(wanted):
        return ["train"] * num_episodes
    counts = [max(count, 1) if want else 0 for count, want in zip(counts, wanted, strict=True)]
    counts[0] = num_episodes - counts[1] - counts[2]
    while counts[0] < 1:
        largest = 1 if counts[1] >= counts[2] else 2
        counts[largest] -= 1
        counts[0] += 1
    order = np.random.default_rng(seed).permutation(num_episodes)
    splits: list[Split] = ["train"] * num_episodes
    position = 0
    for split, count in zip(SPLITS, counts, strict=True):
        for episode in order[position : position + count]:
            splits[int(episode)] = split
        position += count
    return splits
