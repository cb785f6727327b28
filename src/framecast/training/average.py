"""An exponential average of the weights, which predicts better than the weights of any one step."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from framecast.models.base import VideoModel

WARMUP = 10


class WeightAverage:
    """A copy of a model whose every number follows the trained one's: average of many steps.

    The decay rises from 1/10 to `decay` as (1 + step) / (10 + step), so that the beginning is soon
    forgotten. Running statistics of batch normalisation are averaged like weights.

    Attributes:
        model: the copy, in evaluation mode and without gradients.
    """

    def __init__(self, model: VideoModel[Any], decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def follow(self, model: VideoModel[Any], step: int) -> None:
        """Take in the weights after optimisation step `step`, counted from 1."""
        decay = min(self.decay, (1 + step) / (WARMUP + step))
        mine, theirs = self._numbers(self.model), self._numbers(model)
        floats = [name for name, tensor in mine.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([mine[n] for n in floats], [theirs[n] for n in floats], 1 - decay)
        for name in mine.keys() - set(floats):
            mine[name].copy_(theirs[name])

    @staticmethod
    def _numbers(model: VideoModel[Any]) -> dict[str, Tensor]:
        return dict(model.state_dict())
