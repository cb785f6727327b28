"""Puts the parts of the report together."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from framecast import __version__
from framecast.evaluation.clips import ProtocolClips
from framecast.evaluation.documents import read_scores
from framecast.evaluation.protocols import Protocol
from framecast.evaluation.report import figures
from framecast.evaluation.report.films import NUM_SAMPLES, ClipPictures, picture_clips
from framecast.evaluation.results import true_futures_grid
from framecast.evaluation.summary import row_label
from framecast.evaluation.tables import Grid
from framecast.training.callbacks import read_metrics
from framecast.training.runs import Run


def write_report(
    run: Run,
    dataset: Path | None,
    protocol_name: str,
    stage: Callable[[str], None],
    films: Path | None = None,
) -> Path:
    """Write `report.html` into the run folder; `report-<protocol>.html` for another than course.

    Args:
        dataset: where the clips are; None for the dataset of the run.
        stage: told what is being done.
        films: a folder that gets the report's films and strips as files of their own, too.

    Raises UserError when the run was not evaluated by this protocol yet.
    """
    document = read_scores(run, protocol_name)
    protocol = Protocol.from_dict(document["protocol"])
    stage("imagining futures")
    model = run.load_model(document["protocol"]["checkpoint"])
    clips = ProtocolClips.of(dataset or run.dataset(), protocol)
    pictured = picture_clips(model, clips, protocol, run.recipe().training.film_frames)
    if films is not None:
        films.mkdir(parents=True, exist_ok=True)
        for clip in pictured:
            (films / f"clip_{clip.number}.gif").write_bytes(clip.film)
            (films / f"clip_{clip.number}.png").write_bytes(clip.strip)
    stage("drawing curves")
    environment = Environment(
        loader=PackageLoader("framecast.evaluation.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("template.html").render(
        title=run.folder.resolve().name,
        source=model.spec.source,
        document=document,
        protocol=document["protocol"],
        summary=_summary(document["scores"]),
        scores=_table(document),
        clips=[_embedded(clip) for clip in pictured],
        num_samples=min(NUM_SAMPLES, pictured[0].num_samples),
        fps=model.spec.fps,
        figures=_figures(document, run),
        true_futures=_true_futures(document.get("world")),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        uses_states=model.uses_states,
        recipe=run.recipe_file.read_text(encoding="utf-8"),
        version=__version__,
    )
    name = "report" if protocol_name == "course" else f"report-{protocol_name}"
    path = run.folder / f"{name}.html"
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(page, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _summary(scores: dict[str, dict[str, Any]]) -> dict[str, float]:
    model, floor, shuffled = (
        scores[row]["psnr"] for row in ("model", "copy_last", "shuffled_actions")
    )
    return {"psnr": model, "gain": model - floor, "action_gain": model - shuffled}


def _table(document: dict[str, Any]) -> list[dict[str, Any]]:
    floor = document["scores"]["copy_last"]["psnr"]
    return [
        {
            "label": row_label(row, document["protocol"]),
            "gain": score["psnr"] - floor,
            "floor": row == "copy_last",
            **score,
        }
        for row, score in document["scores"].items()
    ]


def _figures(document: dict[str, Any], run: Run) -> dict[str, str]:
    labels = {row: row_label(row, document["protocol"]) for row in document["scores"]}
    drawn = {
        "steps": figures.scores_per_step(document["scores"], labels),
        "training": figures.training_curves(read_metrics(run)),
    }
    if "over_samples" in document:
        drawn["samples"] = figures.over_samples(document["over_samples"])
    if "calibration" in document:
        drawn["calibration"] = figures.calibration(document["calibration"])
    return drawn


def _true_futures(measured: dict[str, Any] | None) -> Grid | None:
    return None if measured is None else true_futures_grid({"the model": measured})


def _embedded(clip: ClipPictures) -> dict[str, Any]:
    return {
        "number": clip.number,
        "num_frames": clip.num_frames,
        "num_samples": clip.num_samples,
        "film": _data("image/gif", clip.film),
        "strip": _data("image/png", clip.strip),
        "sheet": _data("image/webp" if clip.sheet.startswith(b"RIFF") else "image/png", clip.sheet),
    }


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
