"""Recurrent networks whose state is handed in and handed back.

The LSTMs of vectors run in full precision also under autocast: their share of the time is small,
and rounding errors of a recurrent state add up over a rollout. Those of maps convolve in the
precision of the rest and keep their state in full.

Shape letters: T steps, B batch, D input, H hidden, L layers, Z latent; a map has (8, 8) after D, H
or Z.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from framecast.models.distributions import Gaussian

FEW = 12  # members of a batch


@dataclass(frozen=True)
class LSTMState:
    """Hidden and cell state of every layer, batch first: (B, L, H) or (B, L, H, 8, 8) each."""

    hidden: Tensor
    cell: Tensor


class RecurrentStack(nn.Module, ABC):
    """Stacked recurrent layers.

    Shape:
        inputs: (T, B, D) or (T, B, D, 8, 8)
        outputs: (T, B, H) or (T, B, H, 8, 8) of the last layer
    """

    @abstractmethod
    def initial_state(self, batch_size: int) -> LSTMState: ...

    @abstractmethod
    def forward(self, inputs: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]: ...


class LSTMStack(RecurrentStack):
    """A linear embedding followed by stacked LSTM layers, for vectors."""

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
            if len(inputs) == 1 and (torch.is_grad_enabled() or inputs.shape[1] <= FEW):
                return self._single_step(embedded, state)
            layers_first = tuple(x.transpose(0, 1).contiguous() for x in (state.hidden, state.cell))
            outputs, (hidden, cell) = self.lstm(embedded, layers_first)
        return outputs, LSTMState(hidden.transpose(0, 1), cell.transpose(0, 1))

    def _single_step(self, embedded: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """The same without nn.LSTM's preparations, which pay for many steps or a large batch."""
        features, hiddens, cells = embedded[0], [], []
        for layer, weights in enumerate(self.lstm.all_weights):
            before = (state.hidden[:, layer], state.cell[:, layer])
            features, cell = torch.lstm_cell(features, before, *weights)
            hiddens.append(features)
            cells.append(cell)
        return features[None], LSTMState(torch.stack(hiddens, dim=1), torch.stack(cells, dim=1))


class ConvLSTMCell(nn.Module):
    """One layer (Shi 2015, without peepholes): all steps' inputs are convolved at once."""

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.from_input = nn.Conv2d(input_dim, 4 * hidden_dim, 3, 1, 1)
        self.from_hidden = nn.Conv2d(hidden_dim, 4 * hidden_dim, 3, 1, 1, bias=False)

    def forward(
        self, inputs: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs (T, B, D, 8, 8) and a state of (B, H, 8, 8) each -> outputs and the next state."""
        dtype = cell.dtype
        given = self.from_input(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2])
        outputs = []
        for step in given:
            gates = (step + self.from_hidden(hidden)).to(dtype)
            admit, keep, show, new = gates.chunk(4, dim=1)
            # A bias of 1 lets a new network remember.
            cell = (keep + 1).sigmoid() * cell + admit.sigmoid() * new.tanh()
            hidden = show.sigmoid() * cell.tanh()
            outputs.append(hidden)
        return torch.stack(outputs), hidden, cell


class ConvLSTMStack(RecurrentStack):
    """A convolutional embedding followed by stacked convolutional LSTM layers, for maps."""

    def __init__(self, input_dim: int, hidden_dim: int, num_layers: int, size: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(input_dim, hidden_dim, 3, 1, 1)
        self.cells = nn.ModuleList(ConvLSTMCell(hidden_dim, hidden_dim) for _ in range(num_layers))
        self.shape = (num_layers, hidden_dim, size, size)

    def initial_state(self, batch_size: int) -> LSTMState:
        weight = self.embed.weight
        shape = (batch_size, *self.shape)
        return LSTMState(weight.new_zeros(shape), weight.new_zeros(shape))

    def forward(self, inputs: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        features = self.embed(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2])
        hiddens, memories = [], []
        for layer, cell in enumerate(self.cells):
            features, hidden, memory = cell(features, state.hidden[:, layer], state.cell[:, layer])
            hiddens.append(hidden)
            memories.append(memory)
        return features, LSTMState(torch.stack(hiddens, dim=1), torch.stack(memories, dim=1))


def recurrent_stack(input_dim: int, hidden_dim: int, num_layers: int, size: int) -> RecurrentStack:
    """For vectors (size 1) or maps."""
    if size == 1:
        return LSTMStack(input_dim, hidden_dim, num_layers)
    return ConvLSTMStack(input_dim, hidden_dim, num_layers, size)


class PixelLinear(nn.Module):
    """The same linear map of the channels at every place, (T, B, D, 8, 8) -> (T, B, H, 8, 8)."""

    def __init__(self, input_dim: int, output_dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(input_dim, output_dim, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.conv(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2])
        return outputs


def linear(input_dim: int, output_dim: int, size: int) -> nn.Module:
    """For vectors (size 1) or maps."""
    return nn.Linear(input_dim, output_dim) if size == 1 else PixelLinear(input_dim, output_dim)


class GaussianLSTM(nn.Module):
    """A recurrent network whose output is a Gaussian over the latent: SVG's posterior and prior.

    Shape:
        inputs: (T, B, D) or (T, B, D, 8, 8)
        Gaussian: (T, B, Z) or (T, B, Z, 8, 8)
    """

    def __init__(
        self, input_dim: int, hidden_dim: int, latent_dim: int, num_layers: int, size: int = 1
    ) -> None:
        super().__init__()
        self.stack = recurrent_stack(input_dim, hidden_dim, num_layers, size)
        self.mean = linear(hidden_dim, latent_dim, size)
        self.log_variance = linear(hidden_dim, latent_dim, size)

    def initial_state(self, batch_size: int) -> LSTMState:
        return self.stack.initial_state(batch_size)

    def forward(self, inputs: Tensor, state: LSTMState) -> tuple[Gaussian, LSTMState]:
        outputs, state = self.stack(inputs, state)
        with torch.autocast(inputs.device.type, enabled=False):
            return Gaussian.from_raw(self.mean(outputs), self.log_variance(outputs)), state


LevelStates = tuple[LSTMState, ...]


class LevelledGaussian(GaussianLSTM):
    """A Gaussian over a latent in levels, the later given the earlier (hierarchical latents).

    p(z) = p(z1) p(z2 | z1) ...: every level is a GaussianLSTM that also sees the levels before it.
    One level is a GaussianLSTM and nothing more.

    Shape:
        inputs: (T, B, D, ...)
        noise, latent, Gaussian: (T, B, Z, ...), the levels one after another
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        latent_dim: int,
        num_layers: int,
        size: int = 1,
        num_levels: int = 1,
    ) -> None:
        share, rest = divmod(latent_dim, num_levels)
        self.parts = [share + (level < rest) for level in range(num_levels)]
        super().__init__(input_dim, hidden_dim, self.parts[0], num_layers, size)
        self.deeper = nn.ModuleList(
            GaussianLSTM(
                input_dim + sum(self.parts[:level]), hidden_dim, self.parts[level], num_layers, size
            )
            for level in range(1, num_levels)
        )

    def initial_states(self, batch_size: int) -> LevelStates:
        stacks = (level.stack for level in (self, *self.deeper))
        return tuple(stack.initial_state(batch_size) for stack in stacks)

    def sample(
        self, inputs: Tensor, noise: Tensor | None, states: LevelStates
    ) -> tuple[Tensor, Gaussian, LevelStates]:
        """A latent from each step's Gaussian, or its mean where there is no noise."""
        parts = [None] * len(self.parts) if noise is None else torch.split(noise, self.parts, dim=2)
        return self._walk(
            inputs,
            states,
            lambda level, gaussian: (
                gaussian.mean if (part := parts[level]) is None else gaussian.sample(part)
            ),
        )

    def given(
        self, inputs: Tensor, latent: Tensor, states: LevelStates
    ) -> tuple[Gaussian, LevelStates]:
        """The Gaussians whose later levels are told this latent's earlier ones."""
        parts = torch.split(latent, self.parts, dim=2)
        _, gaussian, states = self._walk(inputs, states, lambda level, _: parts[level])
        return gaussian, states

    def _walk(
        self, inputs: Tensor, states: LevelStates, choose: Callable[[int, Gaussian], Tensor]
    ) -> tuple[Tensor, Gaussian, LevelStates]:
        latents: list[Tensor] = []
        gaussians: list[Gaussian] = []
        after: list[LSTMState] = []
        for level, state in enumerate(states):
            seen = torch.cat([inputs, *latents], dim=2)
            if level == 0:
                gaussian, state_after = super().forward(seen, state)
            else:
                gaussian, state_after = self.deeper[level - 1](seen, state)
            latents.append(choose(level, gaussian))
            gaussians.append(gaussian)
            after.append(state_after)
        joined = Gaussian(
            torch.cat([gaussian.mean for gaussian in gaussians], dim=2),
            torch.cat([gaussian.log_variance for gaussian in gaussians], dim=2),
        )
        return torch.cat(latents, dim=2), joined, tuple(after)
