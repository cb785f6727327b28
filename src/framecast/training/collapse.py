"""Whether the latent carries anything, said in words."""

from __future__ import annotations

from collections import deque
from typing import Any

from lightning.pytorch import Trainer

from framecast.training import schedules
from framecast.training.callbacks import StepCallback
from framecast.training.module import TrainingModule

WINDOW = 100  # steps
COLLAPSED_NATS = 0.05  # a frame, over all dimensions
QUIET_SIGMA = 0.08


class CollapseWatch(StepCallback):
    """Keeps an eye on the KL of the latest steps.

    Attributes:
        warning: what to tell the person who trains, once the run has ended; empty when all is well.
    """

    def __init__(self) -> None:
        self.latest: deque[float] = deque(maxlen=WINDOW)
        self.warning = ""

    def on_step(self, trainer: Trainer, module: TrainingModule) -> None:
        self.latest.append(module.measured["kl"])

    def on_fit_end(self, trainer: Trainer, module: Any) -> None:
        watched = len(module.kl_per_dimension) and len(self.latest) == WINDOW
        nats = sum(self.latest) / max(1, len(self.latest))
        if watched and module.measured["beta"] > 0 and nats < COLLAPSED_NATS:
            self.warning = _words(module, nats)


def _words(module: TrainingModule, nats: float) -> str:
    spec, beta = module.model.spec, module.measured["beta"]
    num_pixels = spec.channels * spec.height * spec.width
    sigma = schedules.implied_pixel_sigma(beta, num_pixels)
    quiet = 2 * QUIET_SIGMA**2 / num_pixels
    active = schedules.active_dimensions(module.kl_per_dimension)
    return (
        f"The posterior has collapsed: its KL was {nats:.3f} nats a frame over the last {WINDOW} "
        f"steps, and {active} of {module.model.latent_dim} latent dimensions carry more than "
        f"{schedules.ACTIVE_NATS:g}, so all samples of a clip are alike. A KL weight of {beta:.2g} "
        f"implies a pixel noise of {sigma:.2f} on a scale of 0 to 1: a difference quieter than "
        f"that is not worth a nat. Lower kl.beta ({quiet:.1g} implies {QUIET_SIGMA:g}), or set "
        "kl.free_bits, or kl.annealing to dynamic with a kl.target_rate."
    )
