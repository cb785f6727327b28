"""A KL weight that holds a rate: the Lagrange multiplier of `KL = target_rate`."""

from __future__ import annotations

import math

from framecast.training.settings import KLConfig


class DynamicWeight:
    """The weight rises while the KL is above the target and falls while it is below.

    Its logarithm moves by `dynamic_speed` times log2(KL / target), at most by `dynamic_speed`, so
    that the sign of the weight cannot change and a burst of KL cannot throw it off. It is the one
    number of a run that depends on what was measured, so it travels in the checkpoints.
    """

    def __init__(self, config: KLConfig, value: float | None = None) -> None:
        self.config = config
        self.value = min(config.beta, config.dynamic_start if value is None else value)

    def follow(self, kl: float) -> None:
        """Take in the KL of a step, in nats a frame."""
        excess = math.log2(max(kl, 1e-9) / self.config.target_rate)
        moved = self.value * math.exp(self.config.dynamic_speed * min(1.0, max(-1.0, excess)))
        self.value = min(self.config.beta, max(self.config.dynamic_least, moved))
