"""Files of scores: the numbers, and everything that decided them.

Two evaluations by one protocol write the same bytes but for `written`, the time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from framecast import __version__
from framecast.errors import UserError
from framecast.evaluation.calibration import CALIBRATION_TEXT
from framecast.evaluation.evaluate import Evaluator
from framecast.evaluation.networks import (
    FVD_VARIANT,
    LPIPS_VARIANT,
    refuse_borrowed_names,
)
from framecast.evaluation.protocols import Protocol
from framecast.evaluation.statistics import INTERVAL_TEXT
from framecast.metrics import METRICS
from framecast.training.runs import Run

# What may differ between two runs that are compared; every other field has to be the same.
OF_THE_RUN = ("weights_sha256", "checkpoint", "twin", "shipped", "uses_states")


def describe(
    evaluator: Evaluator, weights: Path, beside: Mapping[str, Path] | None = None
) -> dict[str, Any]:
    """Everything that decides the scores, but for the clips' checksum: plain data.

    Args:
        beside: weights of the other models, by row.
    """
    others = {row: _sha256(path) for row, path in (beside or {}).items()}
    protocol = evaluator.protocol
    variants = {name: metric.variant for name, metric in METRICS.items()}
    for network in evaluator.networks:
        variants[network.name] = LPIPS_VARIANT if network.kind == "lpips" else FVD_VARIANT
    return (
        protocol.to_dict()
        | variants
        | {
            "latent": _latent_text(protocol),
            "model_row": _model_row_text(protocol),
            "shuffled_actions": "future actions and states of the clip half the list further",
            "zero_actions": "future actions of zero, states held at the last of the context",
            "intervals": INTERVAL_TEXT,
            "calibration": CALIBRATION_TEXT,
            "data": evaluator.clips.windows.store.spec.source,
            "num_clips": len(evaluator.clips),
            "clip_order": "as stored",
            "uses_states": evaluator.model.uses_states,
            "checkpoint": weights.stem,
            "weights_sha256": _sha256(weights),
            "twin": others.get("twin"),
            "shipped": others.get("shipped"),
            "networks": {network.kind: network.sha256 for network in evaluator.networks},
            "true_futures": None if evaluator.world is None else evaluator.world.describe(),
            "rollouts_a_batch": evaluator.entries,
            "device": evaluator.device.type,
            "framecast": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
        }
    )


def write_scores(
    run: Run, protocol: Mapping[str, Any], episodes: list[int], parts: Mapping[str, Any]
) -> Path:
    """`evaluation/<protocol>.json` in the run folder; nothing half-written is left.

    Args:
        protocol: from `describe`.
        episodes: the episode of every clip, in the order of the scores.
        parts: `scores` and whatever else was measured; None leaves a part out.
    """
    path = scores_path(run, str(protocol["name"]))
    refuse_borrowed_names(parts["scores"], protocol["networks"], str(path))
    document = {
        "protocol": dict(protocol),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "episodes": episodes,
        **{name: part for name, part in parts.items() if part is not None},
    }
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(json.dumps(document, indent=1) + "\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def scores_path(run: Run, protocol_name: str) -> Path:
    return run.folder / "evaluation" / f"{protocol_name}.json"


def read_scores(run: Run, protocol_name: str) -> dict[str, Any]:
    """The whole document. Raises UserError when the run was not evaluated yet."""
    path = scores_path(run, protocol_name)
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _ = document["scores"]["model"]["per_clip"], document["scores"]["copy_last"]["interval"]
        networks = document["protocol"]["networks"]
        _ = [int(episode) for episode in document["episodes"]]
        Protocol.from_dict(document["protocol"])
    except FileNotFoundError:
        preset = "" if protocol_name == "course" else f" --protocol {protocol_name}"
        raise UserError(
            f"{run.folder} has no scores by the protocol {protocol_name} yet. "
            f"Run `framecast evaluate {run.folder}{preset}` first."
        ) from None
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{path} does not hold scores of this version. Evaluate the run again."
        ) from None
    refuse_borrowed_names(document["scores"], networks, str(path))
    return document


def require_same_protocol(documents: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises UserError naming the first field in which two documents' protocols differ."""
    (first, reference), *others = documents.items()
    for name, document in others:
        mine, theirs = reference["protocol"], document["protocol"]
        for field in sorted(set(mine) | set(theirs)):
            if field not in OF_THE_RUN and mine.get(field) != theirs.get(field):
                raise UserError(
                    f"These runs cannot be compared: {field} is {_brief(mine.get(field))} for "
                    f"{first} and {_brief(theirs.get(field))} for {name}. Evaluate them by the "
                    "same protocol."
                )


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _latent_text(protocol: Protocol) -> str:
    if protocol.prior == "mean":
        return "the mean of the prior"
    count = "one sample" if protocol.num_samples == 1 else f"{protocol.num_samples} samples"
    return f"{count} of the prior a clip, named by seed, sample and clip"


def _model_row_text(protocol: Protocol) -> str:
    if protocol.num_samples == 1:
        return "one sample a clip"
    return (
        f"mean over {protocol.num_samples} samples; best and worst: chosen for each clip by "
        f"{protocol.best_by}, mean over its predicted frames"
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
