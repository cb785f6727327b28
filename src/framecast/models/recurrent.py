"""Recurrent networks whose state is handed in and handed back.

They run in full precision also under autocast: their share of the time is small, and rounding
errors of a recurrent state add up over a rollout.

Shape letters: T steps, B batch, D input, H hidden, L layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from framecast.models.distributions import Gaussian


@dataclass(frozen=True)
class LSTMState:
    """Hidden and cell state of every layer, batch first: (B, L, H) each."""

    hidden: Tensor
    cell: Tensor


class LSTMStack(nn.Module):
    """A linear embedding followed by stacked LSTM layers.

    Shape:
        inputs: (T, B, D)
        outputs: (T, B, H) of the last layer
    """

    def __init__(self, input_dim: int, hidden_dim: int, num_layers: int) -> None:
        super().__init__()
        self.embed = nn.Linear(input_dim, hidden_dim)
        self.lstm = nn.LSTM(hidden_dim, hidden_dim, num_layers)

    def initial_state(self, batch_size: int) -> LSTMState:
        weight = self.embed.weight
        shape = (batch_size, self.lstm.num_layers, self.lstm.hidden_size)
        return LSTMState(weight.new_zeros(shape), weight.new_zeros(shape))

    def forward(self, inputs: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        with torch.autocast(inputs.device.type, enabled=False):
            embedded = self.embed(inputs.to(self.embed.weight.dtype))
            layers_first = tuple(x.transpose(0, 1).contiguous() for x in (state.hidden, state.cell))
            outputs, (hidden, cell) = self.lstm(embedded, layers_first)
        return outputs, LSTMState(hidden.transpose(0, 1), cell.transpose(0, 1))


class GaussianLSTM(nn.Module):
    """An LSTM whose output is a Gaussian over the latent, as in SVG's posterior and prior.

    Shape:
        inputs: (T, B, D)
        Gaussian: (T, B, Z)
    """

    def __init__(self, input_dim: int, hidden_dim: int, latent_dim: int, num_layers: int) -> None:
        super().__init__()
        self.stack = LSTMStack(input_dim, hidden_dim, num_layers)
        self.mean = nn.Linear(hidden_dim, latent_dim)
        self.log_variance = nn.Linear(hidden_dim, latent_dim)

    def initial_state(self, batch_size: int) -> LSTMState:
        return self.stack.initial_state(batch_size)

    def forward(self, inputs: Tensor, state: LSTMState) -> tuple[Gaussian, LSTMState]:
        outputs, state = self.stack(inputs, state)
        with torch.autocast(inputs.device.type, enabled=False):
            return Gaussian.from_raw(self.mean(outputs), self.log_variance(outputs)), state
