"""From the scores of every clip to the numbers that are written.

Rows:
    model             the mean over the N sampled futures of a clip (one sample: that one)
    best, worst       the sample of each clip that is best, or worst, by the protocol's metric
    average           the N sampled futures averaged, frame by frame, and scored as one
    prior_mean        the model with the mean of its prior instead of a sample
    twin              a deterministic model, where one was given
    shipped           one sample of the model that comes with framecast, where it was asked for
    world             the mean over true futures simulated anew, scored as if a model had made them
    copy_last         the last context frame, repeated
    linear_motion     what moved between the last two context frames goes on moving
    shuffled_actions  the first sample's noise and the same context, told another clip's future
                      actions (and states): how much the actions matter
    zero_actions      the same, told actions of zero and the last state

Shape letters: M metrics, S samples, P predicted frames, N clips.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from framecast.evaluation import calibration, true_futures
from framecast.evaluation.frechet import frechet_distance_of
from framecast.evaluation.groups import GroupScores
from framecast.evaluation.protocols import Protocol
from framecast.evaluation.statistics import Bootstrap, expected_best
from framecast.metrics import METRICS

Floats = NDArray[np.float64]
ROWS = {
    "model": "one sample",
    "best": "best of N",
    "worst": "worst of N",
    "average": "average frame of N",
    "prior_mean": "mean of the prior",
    "twin": "deterministic twin",
    "shipped": "the shipped model",
    "world": "true futures",
    "copy_last": "copy the last frame",
    "linear_motion": "linear motion",
    "shuffled_actions": "shuffled actions",
    "zero_actions": "zero actions",
}
NEED_NO_MODEL = ("world", "copy_last", "linear_motion")


def row_label(row: str, protocol: Mapping[str, Any]) -> str:
    """How a row is called where N is known."""
    num_samples = int(protocol["num_samples"])
    if row == "model" and protocol.get("prior") == "mean":
        return ROWS["prior_mean"]
    if row == "model" and num_samples > 1:
        return f"mean of {num_samples}"
    return ROWS[row].replace("of N", f"of {num_samples}")


def better(metric: str) -> int:
    """+1 where more of a metric is better; distances of networks are better small."""
    return METRICS[metric].better if metric in METRICS else -1


class Summary:
    """The scores of all clips together.

    Args:
        groups: the scores of every group of clips, in order.
        bootstrap: over the same clips.
    """

    def __init__(self, groups: list[GroupScores], protocol: Protocol, bootstrap: Bootstrap) -> None:
        self.groups, self.protocol, self.bootstrap = groups, protocol, bootstrap
        self.metrics = groups[0].metrics
        self.values = {
            row: np.concatenate([group.rows[row] for group in groups], axis=-1).astype(np.float64)
            for row in groups[0].rows
        }  # (M, S, P, N)

    def scores(self) -> dict[str, dict[str, Any]]:
        """Every row, in the order of ROWS."""
        rows = {row: self._row(values.mean(axis=1)) for row, values in self.values.items()}
        if self.protocol.num_samples > 1:
            for row, sign in (("best", 1), ("worst", -1)):
                rows[row] = self._row(self._chosen(sign))
        frechet = self._frechet()
        for name, distance in frechet.items():
            rows["model"][name] = distance
        return {row: rows[row] for row in ROWS if row in rows}

    def over_samples(self) -> dict[str, list[float]]:
        """The mean best of k of the N samples, each metric by itself, for k = 1 .. N."""
        per_clip = self.values["model"].mean(axis=2)  # (M, S, N)
        curves = {}
        for name, values in zip(self.metrics, per_clip, strict=True):
            sign = better(name)
            curves[name] = (sign * expected_best(sign * values.T)).tolist()
        return curves

    def calibration(self) -> dict[str, Any] | None:
        """None for a single sample."""
        parts = [group.calibration for group in self.groups if group.calibration is not None]
        return calibration.summary(parts) if parts else None

    def world(self) -> dict[str, Any] | None:
        """None where no true futures were simulated."""
        measured = [clip for group in self.groups for clip in group.world]
        return true_futures.summary(measured) if measured else None

    def _row(self, values: Floats) -> dict[str, Any]:
        """(M, P, N) -> what is written of a row."""
        row: dict[str, Any] = {"num_clips": values.shape[-1], "interval": {}, "per_clip": {}}
        for name, frames in zip(self.metrics, values, strict=True):
            per_clip = frames.mean(axis=0)
            row[name] = float(frames.mean())
            row[f"{name}_per_step"] = frames.mean(axis=1).tolist()
            row["interval"][name] = self.bootstrap.interval(per_clip)
            row["per_clip"][name] = per_clip.tolist()
        return row

    def _chosen(self, sign: int) -> Floats:
        """(M, P, N) of the sample of each clip that is best (sign 1) or worst (-1)."""
        values = self.values["model"]
        name = self.protocol.best_by
        quality = sign * better(name) * values[self.metrics.index(name)].mean(axis=1)  # (S, N)
        chosen = quality.argmax(axis=0)
        return values[:, chosen, :, np.arange(values.shape[-1])].transpose(1, 2, 0)

    def _frechet(self) -> dict[str, float]:
        names = [name for name in self.groups[0].features if name != "true"]
        if not names:
            return {}
        true = np.concatenate([group.features["true"] for group in self.groups])
        return {
            name: frechet_distance_of(
                np.concatenate([group.features[name] for group in self.groups]), true
            )
            for name in names
        }
