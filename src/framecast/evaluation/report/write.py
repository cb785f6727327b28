"""Puts the parts of the report together."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from framecast import __version__
from framecast.evaluation.evaluate import ROWS, ProtocolClips, read_scores
from framecast.evaluation.protocols import Protocol
from framecast.evaluation.report import figures
from framecast.evaluation.report.films import NUM_SAMPLES, ClipPictures, picture_clips
from framecast.training.callbacks import read_metrics
from framecast.training.runs import Run

PROTOCOL_FIELDS = tuple(Protocol.__dataclass_fields__)


def write_report(run: Run, dataset: Path | None, stage: Callable[[str], None]) -> Path:
    """Write `report.html` into the run folder.

    Args:
        dataset: where the clips are; None for the dataset of the run.
        stage: told what is being done.

    Raises UserError when the run was not evaluated yet.
    """
    document = read_scores(run, "course")
    protocol = Protocol(**{name: document["protocol"][name] for name in PROTOCOL_FIELDS})
    recipe = run.recipe()
    stage("imagining futures")
    model = run.load_model(run.default_checkpoint())
    clips = ProtocolClips.of(dataset or run.dataset(), protocol)
    pictured = picture_clips(model, clips, protocol, recipe.training.film_frames)
    stage("drawing curves")
    environment = Environment(
        loader=PackageLoader("framecast.evaluation.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
    )
    page = environment.get_template("template.html").render(
        title=run.folder.resolve().name,
        source=model.spec.source,
        summary=_summary(document["scores"]),
        protocol=document["protocol"],
        scores=_table(document["scores"]),
        clips=[_embedded(clip) for clip in pictured],
        num_samples=NUM_SAMPLES,
        steps_figure=figures.scores_per_step(document["scores"], ROWS),
        training_figure=figures.training_curves(read_metrics(run)),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        uses_states=model.uses_states,
        recipe=run.recipe_file.read_text(encoding="utf-8"),
        version=__version__,
    )
    path = run.folder / "report.html"
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(page, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _summary(scores: dict[str, dict[str, Any]]) -> dict[str, float]:
    model, floor, shuffled = (scores[row]["psnr"] for row in ROWS)
    return {"psnr": model, "gain": model - floor, "action_gain": model - shuffled}


def _table(scores: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    floor = scores["copy_last"]["psnr"]
    return [
        {"label": ROWS[row], "gain": score["psnr"] - floor, "floor": row == "copy_last", **score}
        for row, score in scores.items()
    ]


def _embedded(clip: ClipPictures) -> dict[str, Any]:
    return {
        "number": clip.number,
        "film": "data:image/gif;base64," + base64.b64encode(clip.film).decode(),
        "strip": "data:image/png;base64," + base64.b64encode(clip.strip).decode(),
    }
