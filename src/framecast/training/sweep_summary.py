"""What a sweep found: a row a trial, the spread over seeds, and how much each factor matters."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from pathlib import Path
from statistics import fmean, stdev

import optuna
from matplotlib.figure import Figure
from optuna.trial import TrialState

from framecast.training.sweep import Sweep
from framecast.training.sweep_spec import SEED

SCORE = "best_validation_psnr"


def rows(sweep: Sweep) -> list[dict[str, str]]:
    """One a trial that has ended, best first; a failed one has no score."""
    found = []
    for trial in sorted(sweep.ended(), key=lambda trial: -(trial.value or 0.0)):
        score = "" if trial.value is None else f"{trial.value:.3f}"
        chosen = {name: str(trial.params[name]) for name in sweep.spec.search}
        found.append({"trial": str(trial.number)} | chosen | {SCORE: score})
    return found


def by_level(sweep: Sweep) -> dict[str, dict[str, tuple[float, float, int]]]:
    """Of every factor's levels: mean score, its standard deviation, and number of trials."""
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for trial in sweep.ended():
        if trial.state == TrialState.COMPLETE and trial.value is not None:
            for name, level in trial.params.items():
                scores[name][str(level)].append(trial.value)
    return {
        name: {
            level: (fmean(values), stdev(values) if len(values) > 1 else 0.0, len(values))
            for level, values in levels.items()
        }
        for name, levels in scores.items()
    }


def seed_spread(sweep: Sweep) -> float | None:
    """Standard deviation over seeds of trials that differ in nothing else, pooled."""
    groups: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for trial in sweep.ended():
        if trial.value is not None:
            others = (f"{k}={v}" for k, v in sorted(trial.params.items()) if k != SEED)
            groups[tuple(others)].append(trial.value)
    deviations = [value - fmean(group) for group in groups.values() for value in group]
    freedom = len(deviations) - len(groups)
    return (sum(d * d for d in deviations) / freedom) ** 0.5 if freedom > 0 else None


def importances(sweep: Sweep) -> dict[str, float]:
    """How much of the scores' variance each factor decides.

    Of a grid, the share that its levels' means explain; where ranges are searched, Optuna's
    PED-ANOVA (Watanabe 2023). Empty before two trials have scores that differ.
    """
    scores = [trial.value for trial in sweep.ended() if trial.value is not None]
    total = sum((score - fmean(scores)) ** 2 for score in scores) if scores else 0.0
    if not total:
        return {}
    if not sweep.spec.is_grid:
        return optuna.importance.get_param_importances(sweep.study)
    mean = fmean(scores)
    return {
        name: sum(count * (level - mean) ** 2 for level, _, count in levels.values()) / total
        for name, levels in by_level(sweep).items()
    }


def write_summary(sweep: Sweep) -> tuple[Path, Path | None]:
    """table.csv and, once there is something to compare, importance.png in the sweep folder."""
    table, found = sweep.folder / "table.csv", rows(sweep)
    partial = table.with_name(f".{table.name}.partial")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["trial", *sweep.spec.search, SCORE])
        writer.writeheader()
        writer.writerows(found)
    os.replace(partial, table)
    if not importances(sweep):
        return table, None
    plot = sweep.folder / "importance.png"
    _plot(sweep).savefig(plot, dpi=120)
    return table, plot


def _plot(sweep: Sweep) -> Figure:
    shares, levels = importances(sweep), by_level(sweep)
    figure = Figure(figsize=(9, 1.2 + 2.2 * len(levels)), layout="constrained")
    axes = figure.subplots(len(levels) + 1, 1, squeeze=False)[:, 0]
    names = sorted(shares, key=lambda name: shares[name])
    axes[0].barh(names, [shares[name] for name in names], color="#2f7fd1")
    axes[0].set_title("share of the scores' variance that a factor decides", loc="left")
    for axis, name in zip(axes[1:], levels, strict=True):
        found = levels[name]
        means, spreads = ([entry[i] for entry in found.values()] for i in (0, 1))
        axis.errorbar(list(found), means, yerr=spreads, fmt="o", capsize=4, color="#2f7fd1")
        axis.set_title(f"{name}: PSNR (dB), mean and standard deviation of its trials", loc="left")
    return figure
