"""From the code of one moment to the code of the next, and how the condition enters.

Shape letters: T steps, B batch, D code, Z latent, N condition, F features, E embedded condition;
a map has (8, 8) after D, Z or E.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from framecast.models.config import CourseConfig
from framecast.models.norms import NoNorm, StepwiseBatchNorm1d, StepwiseBatchNorm2d
from framecast.models.recurrent import LSTMState, linear, recurrent_stack

MET_SIZE = 4


class FramePredictor(nn.Module):
    """Code, latent and condition of one moment -> code of the next.

    Shape:
        code, next code: (T, B, D)
        latent: (T, B, Z)
        condition: (T, B, N), N = 0 without one
        features: (T, B, F, ...), the coarsest skip of the moment's frame; None where the condition
            does not meet it
    """

    def __init__(self, config: CourseConfig, num_condition: int, num_features: int) -> None:
        super().__init__()
        hidden, size = config.hidden_dim, config.code_size
        inputs = config.code_dim + config.latent_dim
        self.size = size
        self.embed_code = linear(inputs, hidden, size) if config.embed_code else nn.Identity()
        self.embed_condition: nn.Linear | MetCondition | None = None
        self.meets_features = bool(num_condition) and config.condition_network == "convolution"
        if self.meets_features:
            self.embed_condition = MetCondition(num_condition, num_features, config)
        elif num_condition:
            self.embed_condition = nn.Linear(num_condition, config.condition_dim)
        embedded = (hidden if config.embed_code else inputs) + (
            config.condition_dim if num_condition else 0
        )
        self.stack = recurrent_stack(embedded, hidden, config.predictor_layers, size)
        self.output = linear(hidden, config.code_dim, size)
        if config.predictor_norm == "none":
            self.norm: nn.Module = NoNorm()
        else:
            norm = StepwiseBatchNorm1d if size == 1 else StepwiseBatchNorm2d
            self.norm = norm(config.code_dim)

    def forward(
        self,
        code: Tensor,
        latent: Tensor,
        condition: Tensor,
        features: Tensor | None,
        state: LSTMState,
    ) -> tuple[Tensor, LSTMState]:
        embedded = self.embed_code(torch.cat([code.to(latent.dtype), latent], dim=2))
        if isinstance(self.embed_condition, MetCondition):
            assert features is not None
            told = self.embed_condition(condition, features)
            embedded = torch.cat([embedded, told.to(embedded.dtype)], dim=2)
        elif self.embed_condition is not None:
            told = spread(self.embed_condition(condition), self.size)
            embedded = torch.cat([embedded, told], dim=2)
        outputs, state = self.stack(embedded, state)
        num_steps = len(outputs)
        raw = self.output(outputs).flatten(0, 1)
        next_code = self.norm(raw, num_steps).tanh()
        return next_code.unflatten(0, outputs.shape[:2]), state


class MetCondition(nn.Module):
    """The condition meets the frame's features at every place: (T, B, E).

    It is spread over the coarsest feature map, convolved with it, and gathered again; a map keeps
    its places.
    """

    def __init__(self, num_condition: int, num_features: int, config: CourseConfig) -> None:
        super().__init__()
        self.size = config.code_size if config.code_size > 1 else MET_SIZE
        self.meet = nn.Conv2d(num_features + num_condition, config.condition_dim, 3, 1, 1)
        kernel = 1 if config.code_size > 1 else MET_SIZE
        self.gather = nn.Conv2d(config.condition_dim, config.condition_dim, kernel)
        self.activation = nn.LeakyReLU(0.2)

    def forward(self, condition: Tensor, features: Tensor) -> Tensor:
        maps = nn.functional.adaptive_avg_pool2d(features.flatten(0, 1), self.size)
        told = spread(condition, self.size).flatten(0, 1).to(maps.dtype)
        met: Tensor = self.gather(self.activation(self.meet(torch.cat([maps, told], dim=1))))
        met = met.flatten(1) if met.shape[-1] == 1 else met
        return met.view(*features.shape[:2], *met.shape[1:])


def spread(vectors: Tensor, size: int) -> Tensor:
    """(T, B, N) -> the same at every place of a map, (T, B, N, size, size); size 1 as it is."""
    if size == 1:
        return vectors
    return vectors[..., None, None].expand(*vectors.shape, size, size)
