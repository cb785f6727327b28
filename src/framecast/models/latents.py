"""Where the latents of the course's family come from: the posterior, the prior, or nowhere.

The posterior sees the code of the frame that is to be predicted; the prior is N(0, I), or learned
and sees the codes before it. Either may be told the condition too.

Shape letters: T steps, B batch, D code, N condition, Z latent; a map has (8, 8) after D or Z.
"""

from __future__ import annotations

import torch
from torch import Tensor

from framecast.models.config import CourseConfig
from framecast.models.distributions import Gaussian
from framecast.models.frame_predictor import spread
from framecast.models.recurrent import LevelledGaussian, LevelStates


class Latents:
    """Draws them by networks that belong to the model.

    Args:
        posterior: None for a deterministic model.
        prior: None for N(0, I).
    """

    def __init__(
        self,
        config: CourseConfig,
        posterior: LevelledGaussian | None,
        prior: LevelledGaussian | None,
    ) -> None:
        self.config, self.posterior, self.prior = config, posterior, prior

    def shaped(self, noise: Tensor) -> Tensor:
        """Flat noise (T, B, ...) as a latent: a vector, or a map."""
        size = self.config.code_size
        return noise if size == 1 else noise.view(*noise.shape[:2], -1, size, size)

    def infer(
        self, next_code: Tensor, condition: Tensor, noise: Tensor | None
    ) -> tuple[Tensor, Gaussian | None]:
        """The posterior's samples, or its means where there is no noise."""
        if self.posterior is None:
            return next_code[:, :, :0], None
        initial = self.posterior.initial_states(next_code.shape[1])
        seen = self._seen(next_code, condition)
        latent, posterior, _ = self.posterior.sample(seen, noise, initial)
        return latent, posterior

    def start(self, batch_size: int) -> LevelStates:
        """State of a learned prior before the first step; empty for a fixed one."""
        return () if self.prior is None else self.prior.initial_states(batch_size)

    def prior_of(
        self, code: Tensor, condition: Tensor, latent: Tensor
    ) -> tuple[Gaussian, LevelStates]:
        """The prior of all steps from the first on, fed these codes, given these latents."""
        states = self.start(code.shape[1])
        if self.prior is None:
            return Gaussian.standard_like(latent), states
        return self.prior.given(self._seen(code, condition), latent, states)

    def draw(
        self, code: Tensor, condition: Tensor, noise: Tensor | None, states: LevelStates
    ) -> tuple[Tensor, LevelStates]:
        """Latents from the prior of the next steps, or its means where there is no noise."""
        if self.posterior is None:
            return code[:, :, :0], states
        if self.prior is not None:
            latent, _, states = self.prior.sample(self._seen(code, condition), noise, states)
            return latent, states
        if noise is None:
            size = self.config.code_size
            shape = (*code.shape[:2], self.config.latent_dim * size * size)
            return self.shaped(code.new_zeros(shape)), states
        return noise, states

    def draw_some(
        self, code: Tensor, condition: Tensor, latent: Tensor, noise: Tensor, states: LevelStates
    ) -> tuple[Tensor, LevelStates]:
        """The given latents, but for the first n members of the batch drawn from the prior.

        Args:
            noise: (T, n, Z), n often 0
        """
        count = noise.shape[1]
        if not count:
            return latent, states
        drawn, states = self.draw(code[:, :count], condition[:, :count], noise, states)
        return torch.cat([drawn, latent[:, count:]], dim=1), states

    def _seen(self, code: Tensor, condition: Tensor) -> Tensor:
        """What posterior and prior see."""
        if not self.config.condition_latents:
            return code
        return torch.cat([code, spread(condition, self.config.code_size)], dim=2)
