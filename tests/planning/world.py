"""A world whose dynamics are known, as an exact VideoModel: planners are tested against it.

A square moves by its action over a plain background; a second one is pushed along where the first
runs into it. The "model" renders what it knows, so that every imagined frame is true.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from framecast.clip import Clip, ClipSpec, VectorSpec
from framecast.models.base import Loss, RolloutState, VideoModel

SIZE = 32
HALF = 3.0  # pixels, of both squares
HAND, THING = (0.9, 0.2, 0.2), (0.2, 0.4, 0.9)
BACKGROUND = 0.1


def spec(with_states: bool = True) -> ClipSpec:
    action = VectorSpec(
        ("right", "down"), ("px", "px"), (0.0, 0.0), (1.0, 1.0), (-2.0, -2.0), (2.0, 2.0)
    )
    state = VectorSpec(
        ("across", "down"), ("px", "px"), (16.0, 16.0), (8.0, 8.0), (3.0, 3.0), (29.0, 29.0)
    )
    return ClipSpec(SIZE, SIZE, 3, 5.0, action, state if with_states else None, "squares")


@dataclass(frozen=True)
class SquareState(RolloutState):
    """hand, thing: (B, 2) pixels across and down."""

    hand: Tensor
    thing: Tensor


class Squares(VideoModel[SquareState]):
    """Exact dynamics; the latent shifts the hand by `shake` pixels a step.

    The thing's place is read off the context's last frame by its blue, the hand's off the state.
    """

    def __init__(self, shake: float = 0.0, listens: bool = True) -> None:
        super().__init__(spec(), num_context=2, latent_dim=2)
        self.shake, self.listens = shake, listens
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.observed = 0
        self.batches: list[int] = []
        self.eval()

    @property
    def uses_states(self) -> bool:
        return True

    def loss(self, clip: Clip, beta: float, feed_truth: Tensor, noise: Tensor) -> Loss:
        raise AssertionError("it has nothing to learn")

    def observe(self, frames: Tensor, actions: Tensor, states: Tensor | None) -> SquareState:
        assert states is not None
        self.observed += 1
        blue = (frames[-1, :, 2] - frames[-1, :, 0]).clamp(min=0)
        mass = blue.sum(dim=(1, 2)).clamp(min=1e-6)
        grid = torch.arange(SIZE) + 0.5
        thing = torch.stack(
            [(blue.sum(1) * grid).sum(1) / mass, (blue.sum(2) * grid).sum(1) / mass], dim=1
        )
        return SquareState(self._standard(states[-1]), states[-1], thing)

    def imagine(
        self,
        state: SquareState,
        action: Tensor,
        noise: Tensor | None = None,
        robot_state: Tensor | None = None,
    ) -> tuple[Tensor, SquareState]:
        self.batches.append(len(action))
        moved = action * self.listens
        if noise is not None:
            moved = moved + self.shake * noise
        hand, thing = step(state.hand, state.thing, moved)
        return picture(hand, thing), replace(
            state, robot_state=self._standard(hand), hand=hand, thing=thing
        )

    def _standard(self, hand: Tensor) -> Tensor:
        state = self.spec.state
        assert state is not None
        return (hand - torch.tensor(state.mean)) / torch.tensor(state.std)


def step(hand: Tensor, thing: Tensor, moved: Tensor) -> tuple[Tensor, Tensor]:
    """The hand moves; where it would overlap the thing, the thing is pushed ahead of it."""
    hand = (hand + moved).clamp(HALF, SIZE - HALF)
    gap = thing - hand
    overlap = 2 * HALF - gap.abs()
    hit = (overlap > 0).all(dim=1)
    axis = overlap.argmin(dim=1)
    push = torch.zeros_like(thing)
    rows = torch.arange(len(thing))
    direction = torch.where(gap[rows, axis] >= 0, 1.0, -1.0)
    push[rows, axis] = direction * overlap[rows, axis] * hit
    return hand, (thing + push).clamp(HALF, SIZE - HALF)


def picture(hand: Tensor, thing: Tensor) -> Tensor:
    """(B, 3, SIZE, SIZE); squares cover pixels by their share, the hand on top."""
    frame = torch.full((len(hand), 3, SIZE, SIZE), BACKGROUND)
    for place, colour in ((thing, THING), (hand, HAND)):
        cover = _cover(place[:, 1])[:, None, :, None] * _cover(place[:, 0])[:, None, None, :]
        frame = frame + cover * (torch.tensor(colour)[None, :, None, None] - frame)
    return frame


def _cover(centre: Tensor) -> Tensor:
    """(B,) -> share of each of SIZE pixels within HALF of the centre."""
    pixels = torch.arange(SIZE)
    left = torch.maximum(pixels, centre[:, None] - HALF)
    right = torch.minimum(pixels + 1, centre[:, None] + HALF)
    return (right - left).clamp(min=0)
