"""What `framecast compare --out` writes: tables, plots, and films on the same clips."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from framecast import pictures
from framecast.evaluation.clips import ProtocolClips
from framecast.evaluation.compare import differences_per_step, named
from framecast.evaluation.protocols import Protocol
from framecast.evaluation.report import figures
from framecast.evaluation.report.films import imagined, spread
from framecast.evaluation.tables import Grid, title_of
from framecast.training.runs import Run

PLOTTED = ("psnr", "ssim")


def write_comparison(
    folders: Sequence[Path],
    documents: Mapping[str, Mapping[str, Any]],
    grid: Grid,
    out: Path,
    dataset: Path | None,
) -> list[Path]:
    """Write all files into `out`; returns them. Each is whole or not there."""
    files: dict[str, bytes] = {
        "comparison.md": grid.markdown().encode(),
        "comparison.tex": grid.latex().encode(),
        "comparison.csv": grid.csv().encode(),
    }
    for metric in PLOTTED:
        curves = differences_per_step(documents, metric)
        files[f"{metric}.svg"] = figures.runs_per_step(curves, title_of(metric)).encode()
    for number, film in _films(folders, documents, dataset).items():
        files[f"clip_{number}.gif"] = film
    out.mkdir(parents=True, exist_ok=True)
    return [_write(out / name, content) for name, content in files.items()]


def _films(
    folders: Sequence[Path], documents: Mapping[str, Mapping[str, Any]], dataset: Path | None
) -> dict[int, bytes]:
    """The truth beside the first sample of every run, for a few clips: GIFs by clip."""
    columns: dict[int, dict[str, pictures.Frames]] = {}
    for name, folder in named(folders).items():
        run = Run.open(folder)
        protocol = Protocol.from_dict(documents[name]["protocol"])
        model = run.load_model(documents[name]["protocol"]["checkpoint"])
        clips = ProtocolClips.of(dataset or run.dataset(), protocol)
        for number in spread(len(clips)):
            truth, futures = imagined(model, clips, protocol, 0, number, 1)
            columns.setdefault(number, {"truth": truth})[name] = futures[0]
        fps, context = model.spec.fps, protocol.context
    return {number: pictures.film(films, context, fps) for number, films in columns.items()}


def _write(path: Path, content: bytes) -> Path:
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path
