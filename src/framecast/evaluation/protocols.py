"""Protocols: everything that decides a score, written beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from framecast.data.episodes import Split
from framecast.errors import UserError

StateUse = Literal["given", "predicted"]
WindowChoice = Literal["all", "first"]
Prior = Literal["sampled", "mean"]
Precision = Literal["float32", "bfloat16"]
BEST_BY = ("psnr", "ssim", "psnr_pooled", "ssim_svg", "mse", "mae")


@dataclass(frozen=True)
class Protocol:
    """How a model is scored. Raises UserError for a field that makes no sense.

    Args:
        name: names the file of scores.
        context: true frames given.
        horizon: frames predicted and scored.
        windows: all (the windows that tile every episode from its start) or first (the first
            frames of every episode, as published for BAIR).
        split: train, validation or test.
        states: whether a model that conditions on states is given the true future ones.
        num_samples: sampled futures a clip, each from its own noise.
        seed: names the noise and the bootstrap's draws.
        best_by: the metric by whose mean over the future the best and the worst sample of a clip
            are chosen.
        prior: latents are sampled from the prior, or its mean is taken.
        max_clips: score this many clips, spread evenly over all; 0 scores all.
        precision: of the networks' arithmetic; bfloat16 is automatic mixed precision.
    """

    name: str
    context: int
    horizon: int
    windows: WindowChoice = "all"
    split: Split = "test"
    states: StateUse = "given"
    num_samples: int = 1
    seed: int = 0
    best_by: str = "psnr"
    prior: Prior = "sampled"
    max_clips: int = 0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        for field, least in (("context", 1), ("horizon", 1), ("num_samples", 1), ("max_clips", 0)):
            value = getattr(self, field)
            if value < least:
                raise UserError(f"A protocol's {field} should be at least {least}, got {value}.")
        if self.best_by not in BEST_BY:
            raise UserError(f"best_by should be one of {', '.join(BEST_BY)}; got {self.best_by!r}.")
        if self.prior == "mean" and self.num_samples > 1:
            raise UserError(
                "The prior's mean gives one future, so num_samples has to be 1, "
                f"got {self.num_samples}."
            )

    @property
    def num_frames(self) -> int:
        return self.context + self.horizon

    def to_dict(self) -> dict[str, str | int]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Protocol:
        """The protocol among the entries of a file of scores; others are left alone."""
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in fields.items() if name in known})


COURSE = Protocol(name="course", context=2, horizon=10)
SVG = Protocol(
    name="svg", context=2, horizon=28, windows="first", num_samples=100, best_by="ssim_svg"
)
FVD = Protocol(name="fvd", context=2, horizon=14, windows="first")
TOKEN = Protocol(name="token", context=1, horizon=15, windows="first")
PRESETS = {preset.name: preset for preset in (COURSE, SVG, FVD, TOKEN)}
PRESET_SOURCES = {
    "course": "the course task: 2 frames in, 10 out, one sample",
    "svg": "Denton and Fergus 2018 and after: 2 in, 28 out, best of 100 by SSIM",
    "fvd": "Unterthiner 2018, MCVD: 2 in, 14 out",
    "token": "VideoGPT, MaskViT, FitVid, iVideoGPT: 1 in, 15 out",
}
