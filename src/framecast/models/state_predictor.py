"""Where the robot will be: its next state from its state and the action.

A model that conditions on states needs them where it rolls out on its own. The change is linear in
action and state (Finn 2016) and ends at what was recorded. It is fitted to all transitions of the
recordings before the video model is trained, and left alone after that: as a part of the video loss
it would be shaken by a learning rate that is right for pictures.

The fit is robust: what a blocked arm or the border of its reach did to a few transitions does not
bend the rule of all the others. By least squares an arm at rest would drift to its middle.

A predictor with a history corrects that rule by a small network that knows the step before too: a
drive lags behind its commands, and a blocked arm stays blocked.

Shape letters: N transitions, B batch (any leading dimensions), A action, S state, R = A + S + 1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from framecast.clip import VectorSpec

ROBUST = 0.02  # standard deviations; larger errors count by their size alone (Huber 1964)
ITERATIONS = 300
CHANGE_SCALE = 5.0  # a step changes a state by about a fifth of its standard deviation
HIDDEN = 128
STEPS, TRANSITIONS_A_STEP, MAX_PASSES = 6_000, 512, 60
RATE = 3e-3
FORGOTTEN = 0.2  # share of the transitions that are shown without the step before


class StatePredictor(nn.Module):
    """Standardised action and state -> the next standardised state. Not fitted, it stands still.

    Args:
        history: whether the step before is asked for.
    """

    low: Tensor
    high: Tensor

    def __init__(self, action: VectorSpec, state: VectorSpec, history: bool = False) -> None:
        super().__init__()
        self.change = nn.Linear(action.size + state.size, state.size)
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.change.bias)
        self.correction = _correction(action.size, state.size) if history else None
        self.requires_grad_(False)
        mean, std = torch.tensor(state.mean), torch.tensor(state.std)
        self.register_buffer("low", (torch.tensor(state.low) - mean) / std, persistent=False)
        self.register_buffer("high", (torch.tensor(state.high) - mean) / std, persistent=False)

    def forward(self, action: Tensor, state: Tensor, before: Tensor | None = None) -> Tensor:
        """(B, A), (B, S) and, with a history, the `step_before` (B, R) -> (B, S)."""
        change = self.rule(action, state)
        if self.correction is not None and before is not None:
            known = _inputs(action, state, before)
            change = change + self.correction(known) / CHANGE_SCALE
        return (state + change).clamp(self.low, self.high)

    def rule(self, action: Tensor, state: Tensor) -> Tensor:
        """The change (B, S) that is linear in action and state."""
        change: Tensor = self.change(torch.cat([action, state], dim=-1))
        return change

    @torch.enable_grad()
    def fit(self, action: Tensor, state: Tensor, following: Tensor) -> None:
        """Learn the rule from transitions (N, A), (N, S) -> (N, S), all standardised."""
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

    @torch.enable_grad()
    def fit_correction(
        self,
        action: Tensor,
        state: Tensor,
        before: Tensor,
        following: Tensor,
        held_out: int,
        report: Callable[[int, int], None] = lambda done, steps: None,
    ) -> None:
        """Learn what the rule misses, from the same transitions with their `step_before` (N, R).

        The last `held_out` of them judge it: a correction that is of no use to them is dropped,
        as where the recordings are few. `report` is told the number of each step and of all.
        """
        if self.correction is None:
            return
        missed = CHANGE_SCALE * (following - state - self.rule(action, state))
        learning, judging = len(state) - held_out, slice(len(state) - held_out, None)
        inputs = _inputs(action, state, before)
        network = _correction(action.shape[-1], state.shape[-1]).to(state.dtype)
        network.load_state_dict(self.correction.state_dict())
        network.requires_grad_(True)
        num_steps = min(STEPS, MAX_PASSES * learning // TRANSITIONS_A_STEP)
        optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-5)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, num_steps))
        generator = torch.Generator().manual_seed(0)
        for step in range(num_steps):
            chosen = torch.randint(learning, (TRANSITIONS_A_STEP,), generator=generator)
            shown = inputs[chosen]
            forgotten = torch.rand(len(shown), generator=generator) < FORGOTTEN
            shown[forgotten, action.shape[-1] + state.shape[-1] :] = 0
            loss = _robust(network(shown), missed[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            report(step + 1, num_steps)
        with torch.no_grad():
            after = _robust(network(inputs[judging]), missed[judging])
            is_better = bool(after < _robust(torch.zeros_like(missed[judging]), missed[judging]))
        if is_better:
            self.correction.load_state_dict(network.state_dict())


def step_before(action: Tensor, state: Tensor) -> Tensor:
    """(B, A) and (B, S), standardised -> what is known (B, R) of this step at the next.

    Zeros of that shape stand for a step of which nothing is known.
    """
    return torch.cat([action, state, torch.ones_like(state[..., :1])], dim=-1)


def _inputs(action: Tensor, state: Tensor, before: Tensor) -> Tensor:
    """(B, 2 A + 2 S + 1): what the correction sees, last what is zero where it is unknown."""
    sizes = [action.shape[-1], state.shape[-1], 1]
    action_before, earlier, known = torch.split(before, sizes, dim=-1)
    came = CHANGE_SCALE * known * (state - earlier)
    return torch.cat([action, state, came, action_before, known], dim=-1)


def _correction(num_actions: int, num_states: int) -> nn.Sequential:
    """Its last layer begins as nothing."""
    last = nn.Linear(HIDDEN, num_states)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.Linear(2 * num_actions + 2 * num_states + 1, HIDDEN),
        nn.SiLU(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.SiLU(),
        last,
    )


def _robust(guess: Tensor, truth: Tensor) -> Tensor:
    return functional.huber_loss(guess, truth, delta=CHANGE_SCALE * ROBUST)
