"""Diagonal Gaussians: the posterior, the prior and the divergence between them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LOG_VARIANCE_RANGE = (-10.0, 6.0)  # standard deviations of .0067 to 20


@dataclass(frozen=True)
class Gaussian:
    """N(mean, exp(log_variance)), independent in every dimension.

    Shape:
        mean, log_variance: (..., Z)
    """

    mean: Tensor
    log_variance: Tensor

    @classmethod
    def from_raw(cls, mean: Tensor, raw_log_variance: Tensor) -> Gaussian:
        """From a network's output: the log-variance is clamped, so no later step can overflow."""
        return cls(mean, raw_log_variance.clamp(*LOG_VARIANCE_RANGE))

    @classmethod
    def standard_like(cls, mean: Tensor) -> Gaussian:
        """N(0, I): the fixed prior."""
        return cls(torch.zeros_like(mean), torch.zeros_like(mean))

    def take(self, members: slice) -> Gaussian:
        """Those of some members of the batch, (T, B, Z)."""
        return Gaussian(self.mean[:, members], self.log_variance[:, members])

    def sample(self, noise: Tensor) -> Tensor:
        """Reparameterisation: mean + exp(log_variance / 2) * noise, with noise ~ N(0, I)."""
        return self.mean + torch.exp(self.log_variance / 2) * noise

    def kl_from(self, prior: Gaussian) -> Tensor:
        """KL(self || prior) in nats of every dimension, (..., Z).

        1/2 (log s_p^2 - log s_q^2 + (s_q^2 + (m_q - m_p)^2) / s_p^2 - 1), written with
        differences of log-variances, which stay finite where a ratio of variances would not.
        """
        log_ratio = self.log_variance - prior.log_variance
        distance = (self.mean - prior.mean).square() * torch.exp(-prior.log_variance)
        return 0.5 * (torch.exp(log_ratio) + distance - 1 - log_ratio)
