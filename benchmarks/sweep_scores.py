"""What the trials of a sweep are worth on test clips: 10 and 28 frames ahead, here and elsewhere.

A sweep compares by validation clips of the dataset it trains with, 10 frames ahead. This scores
its trials by the course's and SVG's protocols (one sample a clip, states given) on the test split
of any number of datasets, and prints a line for every combination of levels: the mean over seeds
and, after +-, the sample standard deviation over them.

    python benchmarks/sweep_scores.py sweeps/causes --data data/pusher data/pusher_shifted
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import torch
from rich.progress import track
from torch import Tensor

from framecast.evaluation.baselines import copy_last
from framecast.evaluation.clips import ProtocolClips
from framecast.evaluation.protocols import PRESETS, Protocol
from framecast.evaluation.sampling import sample_futures, sampler_of
from framecast.metrics import psnr
from framecast.training.runs import Run
from framecast.training.sweep_spec import SEED
from framecast.training.sweep_summary import SCORE

TOGETHER = 32  # clips


def scores(run: Path | None, clips: ProtocolClips, protocol: Protocol) -> float:
    """Mean PSNR in dB of one future a clip, of a run or of copying the last frame."""
    sampler = None
    if run is not None:
        opened = Run.open(run)
        sampler = sampler_of(opened.load_model(opened.default_checkpoint()), protocol)
    found: list[Tensor] = []
    for first in range(0, len(clips), TOGETHER):
        places = range(first, min(first + TOGETHER, len(clips)))
        clip = clips.batch(slice(places.start, places.stop))
        if sampler is None:
            future = copy_last(clip, protocol.context)
        else:
            future = sample_futures(sampler, clip, protocol, places, range(1))[:, :, 0]
        found.append(psnr(future, clip.float_frames(torch.float32)[protocol.context :]))
    return float(torch.cat(found, dim=1).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweep", type=Path, help="a sweep folder that framecast sweep has ended")
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    options = parser.parse_args()
    with (options.sweep / "table.csv").open(newline="") as file:
        trials = [row for row in csv.DictReader(file) if row[SCORE]]
    protocols = [replace(PRESETS[name], num_samples=1) for name in ("course", "svg")]
    cases = [(data, protocol) for data in options.data for protocol in protocols]
    clips = [ProtocolClips.of(*case) for case in cases]
    by_levels: dict[tuple[str, ...], list[list[float]]] = defaultdict(list)
    factors = [name for name in trials[0] if name not in ("trial", SEED, SCORE)]
    for trial in track(trials, "trials"):
        run = options.sweep / f"trial_{int(trial['trial']):04d}"
        row = [scores(run, some, case[1]) for some, case in zip(clips, cases, strict=True)]
        levels = tuple(trial[name] for name in factors)
        by_levels[levels].append([float(trial[SCORE]), *row])
    headings = [f"{data.name} 2 -> {protocol.horizon}" for data, protocol in cases]
    print(f"| {' | '.join([*factors, 'validation', *headings])} |")
    print("|---" * (len(factors) + 1 + len(cases)) + "|")
    for levels, rows in sorted(by_levels.items(), key=lambda item: -fmean(r[1] for r in item[1])):
        print(f"| {' | '.join([*levels, *map(_with_spread, zip(*rows, strict=True))])} |")
    copying = [scores(None, some, case[1]) for some, case in zip(clips, cases, strict=True)]
    empty = [""] * (len(factors) - 1)
    print(f"| {' | '.join(['copying', *empty, '', *(f'{score:.2f}' for score in copying)])} |")


def _with_spread(values: tuple[float, ...]) -> str:
    mean = f"{fmean(values):.2f}"
    return f"{mean} +-{stdev(values):.2f}" if len(values) > 1 else mean


if __name__ == "__main__":
    main()
