"""Candidate actions -> what they cost, through any VideoModel.

The context is encoded once; a candidate with a latent sample is one entry of a batch, and batches
are cut to a memory budget and shared among threads. Every candidate is imagined with the same
latent noise, so that they differ by their actions alone, and the noise depends on the seed and not
on how batches are cut.

Shape letters: N candidates, L latent samples, B = N * L futures, P predicted frames, A action,
Z latent, M marks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from framecast.clip import ClipSpec
from framecast.errors import UserError
from framecast.models.base import VideoModel
from framecast.models.threads import even_parts, in_threads
from framecast.planning.costs import Cost
from framecast.planning.futures import Advecting, Futures, Present
from framecast.planning.tracking import Mark, expected_place

Aggregate = Literal["mean", "worst", "best"]
AGGREGATES: tuple[Aggregate, ...] = get_args(Aggregate)
WORKING_FRAMES = 60  # a network's intermediate values of one frame, in frames' worth of memory


@dataclass(frozen=True)
class ImaginationConfig:
    """
    Args:
        samples: latent samples a candidate; they share their noise between candidates.
        aggregate: a candidate's cost from those of its samples: mean, worst or best (optimistic).
        memory_mb: megabytes that the futures evaluated at once may take.
        bfloat16: run convolutions in bfloat16, as in training; off is float32.
        flow: let a model that moves pixels carry the marks; off searches them in its pictures.
    """

    samples: int = 1
    aggregate: Aggregate = "mean"
    memory_mb: float = 256.0
    bfloat16: bool = True
    flow: bool = True

    def __post_init__(self) -> None:
        if self.aggregate not in AGGREGATES:
            raise UserError(f"aggregate is one of {', '.join(AGGREGATES)}; got {self.aggregate!r}.")
        if self.samples < 1 or self.memory_mb <= 0:
            raise UserError(
                "Planning needs at least 1 latent sample and some memory, got "
                f"{self.samples} samples and {self.memory_mb:g} MB."
            )


class Imagination:
    """The futures of one present. Call it with commands (N, P, A) to get costs (N,)."""

    def __init__(
        self,
        model: VideoModel[Any],
        present: Present,
        cost: Cost,
        horizon: int,
        config: ImaginationConfig,
        seed: int,
    ) -> None:
        self.model, self.present, self.cost, self.config = model, present, cost, config
        self.sampler = model.sampler(config.bfloat16)
        self.device = self.sampler.device
        random = torch.Generator().manual_seed(seed)
        self.noise = torch.randn(horizon, config.samples, model.latent_dim, generator=random)
        frames = present.frames[:, None].to(self.device, model.dtype)
        states = None if present.states is None else present.states[:, None].to(self.device)
        actions = present.actions[:, None].to(self.device)
        self.state = self.sampler.observe(frames, actions, states)
        self.most_entries = self._most_entries(horizon)

    def __call__(self, commands: Tensor) -> Tensor:
        """Costs (N,) of candidates (N, P, A)."""
        samples = self.config.samples

        def costs_of(entries: range) -> Tensor:
            chosen = torch.tensor(entries)
            return self.cost(self.futures(commands, chosen, self.cost.sees_frames))

        parts = even_parts(len(commands) * samples, self.most_entries, self.device)
        costs = in_threads(costs_of, parts, self.device)
        return _aggregated(torch.cat(costs).view(-1, samples), self.config.aggregate)

    @torch.no_grad()
    def futures(
        self, commands: Tensor, chosen: Tensor | None = None, keep_frames: bool = True
    ) -> Futures:
        """Futures of candidates (N, P, A); entry n * L + l is candidate n with sample l.

        `chosen` picks entries; None is all of them, in one batch. Without `keep_frames` only the
        last frames are handed back, (1, B, C, H, W).
        """
        samples = self.config.samples
        if chosen is None:
            chosen = torch.arange(len(commands) * samples)
        actions = commands[chosen // samples].transpose(0, 1).to(self.device)
        noise = self.noise[: len(actions), chosen % samples].to(self.device)
        state = self.state.take(torch.zeros_like(chosen, device=self.device))
        tracker = _Tracker(self.cost.marks, self.present, len(chosen), self.config.flow)
        frames: list[Tensor] = []
        states, tracks = [], []
        for step, action in enumerate(actions):
            frame, state = self.sampler.imagine(state, action, noise[step])
            if not keep_frames:
                frames.clear()
            frames.append(frame.float())
            tracks.append(tracker.follow(frames[-1], state))
            if state.robot_state is not None:
                states.append(_in_units(state.robot_state, self.model.spec))
        return Futures(
            torch.stack(frames),
            actions,
            torch.stack(states) if states else None,
            torch.stack(tracks),
        )

    def _most_entries(self, horizon: int) -> int:
        frame = 4 * self.present.frames[0].numel()
        entry = frame * (horizon + WORKING_FRAMES) + 3 * _num_bytes(self.state)
        return max(1, int(self.config.memory_mb * 1e6 / entry))


class _Tracker:
    """Follows the marks through one batch of futures."""

    def __init__(self, marks: Sequence[Mark], present: Present, count: int, flow: bool) -> None:
        self.marks, self.flow = marks, flow
        self.places = present.places.expand(count, -1, 2)
        frame = present.frames[-1]
        maps = [
            mark.window(frame, place) for mark, place in zip(marks, present.places, strict=True)
        ]
        self.maps = torch.stack(maps).expand(count, -1, -1, -1) if maps else None

    def follow(self, frame: Tensor, state: Any) -> Tensor:
        """Places (B, M, 2) in the next frame (B, C, H, W)."""
        if self.maps is None:
            return self.places
        if self.flow and isinstance(state, Advecting):
            self.maps = state.advect(self.maps.to(frame.device)).float()
            return expected_place(self.maps)
        found = [
            mark.find(frame, self.places[:, index])[0] for index, mark in enumerate(self.marks)
        ]
        self.places = torch.stack(found, dim=1)
        return self.places


def require_actions(model: VideoModel[Any], present: Present) -> None:
    """Refuse a model that does not listen to actions: nothing can be planned with it."""
    spec = model.spec.action
    frames = present.frames[:, None].to(model.dtype).repeat(1, 2, 1, 1, 1)
    actions = present.actions[:, None].repeat(1, 2, 1)
    states = None if present.states is None else present.states[:, None].repeat(1, 2, 1)
    with torch.no_grad():
        state = model.observe(frames, actions, states)
        frame, _ = model.imagine(state, torch.tensor([spec.low, spec.high]))
    if torch.equal(frame[0], frame[1]):
        raise UserError(
            "This model was trained without actions (condition: none), so there is nothing to "
            "plan with. Train one with --model.condition action or action+state."
        )


def _in_units(standard: Tensor, spec: ClipSpec) -> Tensor:
    assert spec.state is not None
    mean, std = (standard.new_tensor(values) for values in (spec.state.mean, spec.state.std))
    return (mean + std * standard).float()


def _aggregated(costs: Tensor, aggregate: Aggregate) -> Tensor:
    """(N, L) -> (N,)."""
    if aggregate == "mean":
        return costs.mean(dim=1)
    return costs.amax(dim=1) if aggregate == "worst" else costs.amin(dim=1)


def _num_bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, tuple | list):
        return sum(_num_bytes(part) for part in value)
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return sum(_num_bytes(getattr(value, name)) for name in names)
    return 0
