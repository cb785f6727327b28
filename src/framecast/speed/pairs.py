"""Two ways to do the same, timed in turn in one process: only their ratio is worth printing.

A shared machine drifts by tens of percent within minutes, so absolute times say little; two runs
that follow each other see nearly the same machine. The plain way runs with the C library's own
setting of the allocator, framecast's with the one its commands make.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from framecast.allocator import keep_freed_memory, return_freed_memory

Work = Callable[[], object]
PEAK_CHANNELS, PEAK_SIZE, PEAK_BATCH, PEAK_REPEATS = 256, 16, 32, 5


@dataclass(frozen=True)
class Benchmark:
    """Something to time.

    Attributes:
        name: in the table and the JSON file.
        title: in words, shown while it is timed.
        goal: the ratio it should reach.
        plain: the plain way; None where the ratio is a rate, in `unit`.
        ours: framecast's way.
        share: how much of `ours`'s work `plain` does, where it does a part to save time.
        rate: what `ours` does, in units of the rate; without a plain way.
        unit: of the ratio.
        flops: floating point operations of `ours`, to print how near it comes to the processor's
            peak; 0 where that would mean nothing.
    """

    name: str
    title: str
    goal: float
    ours: Work
    plain: Work | None = None
    share: float = 1.0
    rate: float = 1.0
    unit: str = "x"
    flops: float = 0.0


@dataclass(frozen=True)
class Timing:
    """What was measured.

    Attributes:
        ratio: median of the pairs' ratios (or of the rates).
        low, high: the smallest and the largest of them.
        seconds: median of framecast's own times.
        plain_seconds: median of the plain times, for all of the work; None without a plain way.
        peak: operations a second that a convolution reaches at best on this machine, bfloat16.
    """

    benchmark: Benchmark
    ratio: float
    low: float
    high: float
    seconds: float
    plain_seconds: float | None
    peak: float

    @property
    def operations(self) -> float | None:
        """Operations a second."""
        return self.benchmark.flops / self.seconds if self.benchmark.flops else None

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.benchmark.name,
            "ratio": round(self.ratio, 3),
            "spread": round(self.high - self.low, 3),
            "goal": self.benchmark.goal,
            "unit": self.benchmark.unit,
            "seconds": self.seconds,
            "plain_seconds": self.plain_seconds,
            "gflops": None if self.operations is None else round(self.operations / 1e9, 1),
            "conv_peak_gflops": round(self.peak / 1e9, 1) if self.peak else None,
        }


def measure(benchmark: Benchmark, pairs: int, advance: Callable[[], None]) -> Timing:
    """Time it `pairs` times, after one turn of each that does not count."""
    ratios, ours, plain, peaks = [], [], [], [0.0]
    for turn in range(pairs + 1):
        own = _seconds(benchmark.ours)
        other = None if benchmark.plain is None else _plain_seconds(benchmark)
        if turn:
            ratios.append(benchmark.rate / own if other is None else other / own)
            ours.append(own)
            plain.append(other)
            if benchmark.flops:
                peaks.append(convolution_peak())
        advance()
    known = [seconds for seconds in plain if seconds is not None]
    return Timing(
        benchmark,
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        statistics.median(ours),
        statistics.median(known) if known else None,
        max(peaks),
    )


def _plain_seconds(benchmark: Benchmark) -> float:
    assert benchmark.plain is not None
    return_freed_memory()
    seconds = _seconds(benchmark.plain) / benchmark.share
    keep_freed_memory()
    return seconds


def _seconds(work: Work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@torch.no_grad()
def convolution_peak() -> float:
    """Operations a second of a large convolution in bfloat16, which is as fast as they get."""
    shape = (PEAK_BATCH, PEAK_CHANNELS, PEAK_SIZE, PEAK_SIZE)
    layout = torch.channels_last
    images = torch.ones(shape, dtype=torch.bfloat16).contiguous(memory_format=layout)
    weight = torch.ones(PEAK_CHANNELS, PEAK_CHANNELS, 3, 3, dtype=torch.bfloat16)
    weight = weight.contiguous(memory_format=layout)
    best = min(
        _seconds(lambda: functional.conv2d(images, weight, padding=1)) for _ in range(PEAK_REPEATS)
    )
    return 2 * PEAK_BATCH * PEAK_SIZE**2 * PEAK_CHANNELS**2 * 9 / best
