"""Runs side by side on the same clips: differences clip by clip, with intervals.

A difference of two runs on the same clips varies far less than either score, which is why the
intervals are of the differences. The first run is what the others are compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from framecast.errors import UserError
from framecast.evaluation.documents import read_scores, require_same_protocol
from framecast.evaluation.statistics import Bootstrap
from framecast.evaluation.tables import Grid, metrics_of, number, title_of, with_interval
from framecast.training.runs import Run

Documents = Mapping[str, Mapping[str, Any]]
DEFAULT_METRICS = ("psnr", "ssim")
COMPARED_ROWS = ("model", "best")


def read_runs(folders: Sequence[Path], protocol: str) -> dict[str, dict[str, Any]]:
    """Documents of scores by the runs' names.

    Raises UserError for fewer than two runs, a run not evaluated, or protocols that differ.
    """
    if len(folders) < 2:
        raise UserError(f"A comparison needs at least 2 runs, got {len(folders)}.")
    documents = {
        name: read_scores(Run.open(folder), protocol) for name, folder in named(folders).items()
    }
    require_same_protocol(documents)
    return documents


def named(folders: Sequence[Path]) -> dict[str, Path]:
    """Runs by the name of their folder, or by the whole path where names occur twice."""
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    if len(set(names)) < len(names):
        raise UserError("The same run is named twice.")
    return dict(zip(names, folders, strict=True))


def difference(
    document: Mapping[str, Any], reference: Mapping[str, Any], row: str, metric: str
) -> tuple[float, list[float]]:
    """How much more than the reference a run scores, and the interval of that: paired by clip."""
    ours, theirs = (
        np.array(scores["scores"][row]["per_clip"][metric]) for scores in (document, reference)
    )
    bootstrap = Bootstrap(
        np.array(reference["episodes"], np.int64), int(reference["protocol"]["seed"])
    )
    return float((ours - theirs).mean()), bootstrap.interval(ours - theirs)


def comparison(documents: Documents, metrics: Sequence[str] = DEFAULT_METRICS) -> Grid:
    """A row a run: every metric, and its difference from the first run.

    Raises UserError for a metric that was not measured.
    """
    (first, reference), *_ = documents.items()
    known = metrics_of(reference)
    for metric in metrics:
        if metric not in known:
            raise UserError(f"{metric!r} was not measured; these were: {', '.join(known)}.")
    rows = [row for row in COMPARED_ROWS if row in reference["scores"]]
    headings = ["run"]
    for row in rows:
        for metric in metrics:
            title = title_of(metric) if row == "model" else f"{title_of(metric)}, {row}"
            headings += [title, f"minus {first}"]
    lines = []
    for name, document in documents.items():
        cells = [name]
        for row in rows:
            for metric in metrics:
                score = document["scores"][row]
                cells.append(with_interval(metric, score[metric], score["interval"][metric]))
                gap = difference(document, reference, row, metric)
                cells.append("" if name == first else with_interval(metric, *gap, signed=True))
        lines.append(tuple(cells))
    floor = reference["scores"]["copy_last"]
    cells = ["copy the last frame"]
    for _ in rows:
        for metric in metrics:
            cells += [with_interval(metric, floor[metric], floor["interval"][metric]), ""]
    return Grid(tuple(headings), (*lines, tuple(cells)))


def differences_per_step(documents: Documents, metric: str) -> dict[str, list[float]]:
    """The score of every run at every predicted frame."""
    return {
        name: list(document["scores"]["model"][f"{metric}_per_step"])
        for name, document in documents.items()
    }


def verdicts(documents: Documents, metric: str) -> list[str]:
    """A sentence for every run but the first: better, worse, or not told apart."""
    (first, reference), *others = documents.items()
    sentences = []
    for name, document in others:
        gap, (low, high) = difference(document, reference, "model", metric)
        told_apart = low > 0 or high < 0
        text = "differs from" if told_apart else "cannot be told apart from"
        sentences.append(
            f"{name} {text} {first} in {title_of(metric)}: "
            f"{number(metric, gap, signed=True)} "
            f"[{number(metric, low, True)}, {number(metric, high, True)}]"
        )
    return sentences
