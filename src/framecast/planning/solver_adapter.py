"""Our models under stable-worldmodel's solvers.

Its solvers (CEM, iCEM, MPPI, ... of stable-worldmodel 0.1) optimise whatever has

    get_cost(info, action_candidates (B, S, H, A)) -> (B, S)

for B environments and S candidates each. `info` holds one entry an environment, which the solvers
repeat for every candidate, (B, S, ...); all copies are equal, so only the first is looked at, and
the context is encoded once an environment.

Shape letters: B environments, S candidates, H steps, A action (times the action block), K context
frames, h w C image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from framecast.errors import UserError
from framecast.models.base import VideoModel
from framecast.planning.costs import Cost
from framecast.planning.futures import Present
from framecast.planning.imagination import Imagination, ImaginationConfig


class SolverModel:
    """A model and a cost, as stable-worldmodel's solvers want them (its `Costable`).

    Args:
        standardised: whether candidates are in standard deviations of the recorded actions around
            their mean, as the solvers search and as its policies undo; else in the data's units.
        seed: names the latent samples.

    `info` needs `pixels` (B, [S,] K, h, w, C) uint8, or (B, [S,] K, C, h, w) floats in [0, 1];
    `state` (B, [S,] K, n) where the model conditions on states; and `action` (B, [S,] K, A), what
    led from each frame to the next, of which the last row is not used. Fewer than K frames stand
    for a world at rest before them.
    """

    def __init__(
        self,
        model: VideoModel[Any],
        cost: Cost,
        config: ImaginationConfig | None = None,
        standardised: bool = True,
        seed: int = 0,
    ) -> None:
        self.model, self.cost = model.eval(), cost
        self.config = config or ImaginationConfig()
        self.standardised, self.seed = standardised, seed

    def get_cost(self, info: Mapping[str, Any], action_candidates: Tensor) -> Tensor:
        """Costs (B, S) of candidates (B, S, H, A)."""
        return self.criterion(info, action_candidates)

    def criterion(self, info: Mapping[str, Any], action_candidates: Tensor) -> Tensor:
        """The same, under its other name."""
        batch_size, num_candidates = action_candidates.shape[:2]
        rows = []
        for index in range(batch_size):
            present = self._present(info, index, batch_size, num_candidates)
            commands = self._commands(action_candidates[index])
            imagination = Imagination(
                self.model, present, self.cost, commands.shape[1], self.config, self.seed
            )
            rows.append(imagination(commands))
        return torch.stack(rows).to(action_candidates.device)

    def parameters(self) -> Any:
        """The model's, from which solvers read dtype and device."""
        return self.model.parameters()

    def _commands(self, candidates: Tensor) -> Tensor:
        """(S, H, blocks * A) -> (S, H * blocks, A) in the data's units, within its bounds."""
        spec = self.model.spec.action
        if candidates.shape[-1] % spec.size:
            raise UserError(
                f"The model takes {spec.size} actions ({', '.join(spec.names)}), got candidates "
                f"of {candidates.shape[-1]}: expected that, or a multiple for an action block."
            )
        actions = candidates.float().cpu().reshape(len(candidates), -1, spec.size)
        if self.standardised:
            actions = torch.tensor(spec.mean) + torch.tensor(spec.std) * actions
        return torch.maximum(
            torch.minimum(actions, torch.tensor(spec.high)), torch.tensor(spec.low)
        )

    def _present(
        self, info: Mapping[str, Any], index: int, batch_size: int, num_candidates: int
    ) -> Present:
        def entry(name: str, dimensions: int) -> Tensor | None:
            value = info.get(name)
            if value is None:
                return None
            tensor = torch.as_tensor(value)
            repeated = tensor.ndim == dimensions + 2
            if len(tensor) != batch_size or (repeated and tensor.shape[1] != num_candidates):
                raise UserError(
                    f"info[{name!r}] is {tuple(tensor.shape)}: expected one entry for each of "
                    f"{batch_size} environments and {num_candidates} candidates."
                )
            return (tensor[index, 0] if repeated else tensor[index]).cpu()

        pixels = entry("pixels", 4)
        if pixels is None:
            raise UserError("info needs 'pixels' (environments, frames, height, width, channels).")
        frames = _frames(pixels, self.model.spec.channels)
        count = self.model.num_context
        actions = entry("action", 2)
        if actions is None:
            actions = torch.zeros(len(frames), self.model.spec.action.size)
        states = entry("state", 2)
        past = _last(actions[: len(frames) - 1].float(), count - 1, torch.zeros_like(actions[0]))
        places = [mark.find(frames[-1:], mark.place[None])[0][0] for mark in self.cost.marks]
        return Present(
            _last(frames, count, frames[0]),
            past,
            None if states is None else _last(states.float(), count, states[0]),
            torch.stack(places) if places else torch.zeros(0, 2),
        )


def _frames(pixels: Tensor, channels: int) -> Tensor:
    """(K, C, H, W) floats in [0, 1]."""
    if pixels.ndim == 4 and pixels.shape[-1] == channels and pixels.shape[1] != channels:
        pixels = pixels.permute(0, 3, 1, 2)
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()


def _last(rows: Tensor, count: int, filler: Tensor) -> Tensor:
    """The last `count` rows; what is missing before them is the filler."""
    rows = rows[len(rows) - min(count, len(rows)) :]
    missing = count - len(rows)
    if not missing:
        return rows
    return torch.cat([filler.to(rows.dtype)[None].expand(missing, *filler.shape), rows])
