"""Where the robot will be: its next state from its state and the action.

A model that conditions on states needs them where it rolls out on its own. The change is linear in
action and state (Finn 2016) and ends at what was recorded. It is fitted to all transitions of the
recordings before the video model is trained, in a fraction of a second, and left alone after that:
as a part of the video loss it would be shaken by a learning rate that is right for pictures.

The fit is robust: what a blocked arm or the border of its reach did to a few transitions does not
bend the rule of all the others. By least squares an arm at rest would drift to its middle.

Shape letters: N transitions, B batch (any leading dimensions), A action, S state.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from framecast.clip import VectorSpec

ROBUST = 0.02  # standard deviations; larger errors count by their size alone (Huber 1964)
ITERATIONS = 300


class StatePredictor(nn.Module):
    """Standardised action and state -> the next standardised state. Not fitted, it stands still."""

    low: Tensor
    high: Tensor

    def __init__(self, action: VectorSpec, state: VectorSpec) -> None:
        super().__init__()
        self.change = nn.Linear(action.size + state.size, state.size)
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.change.bias)
        self.requires_grad_(False)
        mean, std = torch.tensor(state.mean), torch.tensor(state.std)
        self.register_buffer("low", (torch.tensor(state.low) - mean) / std, persistent=False)
        self.register_buffer("high", (torch.tensor(state.high) - mean) / std, persistent=False)

    def forward(self, action: Tensor, state: Tensor) -> Tensor:
        """(B, A) and (B, S) -> (B, S)."""
        change: Tensor = self.change(torch.cat([action, state], dim=-1))
        return (state + change).clamp(self.low, self.high)

    @torch.enable_grad()
    def fit(self, action: Tensor, state: Tensor, following: Tensor) -> None:
        """Learn from transitions (N, A), (N, S) -> (N, S), all standardised."""
        inputs = torch.cat([action, state], dim=-1).double()
        change = (following - state).double()
        linear = nn.Linear(inputs.shape[1], change.shape[1], dtype=torch.float64)
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
        optimizer = torch.optim.LBFGS(
            linear.parameters(),
            max_iter=ITERATIONS,
            history_size=20,
            line_search_fn="strong_wolfe",
        )

        def loss() -> Tensor:
            optimizer.zero_grad()
            error = (linear(inputs) - change) / ROBUST
            value = functional.huber_loss(error, torch.zeros_like(error))
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimizer.step(loss)  # type: ignore[no-untyped-call]
        self.change.load_state_dict(linear.state_dict())
