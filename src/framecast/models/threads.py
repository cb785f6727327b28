"""Parts of a batch, each on a core of its own.

Small convolutions gain little from several threads at once, while two halves of a batch know
nothing of each other; and parts that fit the cache are faster than one batch that does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import torch

MOST_ENTRIES = 32  # of a part on a processor: what a network makes of them stays in the cache

Block = tuple[range, range]
Part = TypeVar("Part")
Result = TypeVar("Result")


def even_parts(count: int, most: int, device: torch.device) -> list[range]:
    """0 ... count - 1 in even parts, of which those worked on at once have at most `most`."""
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    rounds = math.ceil(count / most)
    if device.type == "cpu":
        rounds = max(rounds, math.ceil(count / (threads * MOST_ENTRIES)))
    return evenly(count, rounds * threads)


def evenly(count: int, number: int) -> list[range]:
    """0 ... count - 1 in this number of even parts, or in parts of one."""
    number = min(count, number)
    ends = [count * index // number for index in range(number + 1)]
    return [range(first, last) for first, last in pairwise(ends)]


def even_blocks(rows: int, columns: int, most: int, device: torch.device) -> list[Block]:
    """A table in blocks, of which those worked on at once have at most `most` entries in all.

    A row is cut only where it is too long, or threads would have nothing to do.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    most = max(1, min(most // threads, math.ceil(rows * columns / threads)))
    across = evenly(columns, math.ceil(columns / most))
    down = evenly(rows, math.ceil(rows / max(1, most // len(across[-1]))))
    return [(some, part) for some in down for part in across]


def in_threads(
    function: Callable[[Part], Result], parts: Sequence[Part], device: torch.device
) -> list[Result]:
    """`function` of every part, in order; on a processor as many at a time as PyTorch has threads.

    Gradients and autocast are a thread's own affair: `function` has to turn them on or off itself.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or min(threads, len(parts)) == 1:
        return [function(part) for part in parts]
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        results = list(pool.map(function, parts))
    torch.set_num_threads(threads)  # the workers have changed it for threads yet to come
    return results
