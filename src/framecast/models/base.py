"""What every video model of framecast offers: a loss, `observe`, `imagine`.

State in, state out: nothing about a rollout is kept on the module. Rolling out, drawing samples,
undoing a step and branching are then all the same two calls on different states.

Shape letters: T frames, K context frames, P predicted frames, B batch, C H W image, A action,
S state, Z latent.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor, distributed, nn

from framecast.clip import Clip, ClipSpec
from framecast.errors import UserError


@dataclass(frozen=True)
class Loss:
    """One training loss and its parts, each averaged over batch and predicted frames.

    Attributes:
        total: what is minimised, `reconstruction + beta * kl` and what the model adds to it
        reconstruction: mean squared error of pixels in [0, 1]
        kl: nats a frame, summed over the latent's dimensions
        state_error: mean squared error of the predicted state in standard deviations; not minimised
        kl_per_dimension: (Z,) nats a frame of every latent dimension, whose sum is kl; None for a
            model without a latent
    """

    total: Tensor
    reconstruction: Tensor
    kl: Tensor
    state_error: Tensor
    kl_per_dimension: Tensor | None = None


@dataclass(frozen=True)
class RolloutState:
    """Everything a model remembers of one rollout. Every tensor inside is batch first.

    Attributes:
        robot_state: (B, S) normalised state of the robot at the last frame, or None.
    """

    robot_state: Tensor | None

    def take(self, clips: Tensor) -> Self:
        """The states of these members of the batch; an index may occur often (branching)."""
        taken: Self = _map_tensors(self, lambda tensor: _laid_out_as(tensor, tensor[clips]))
        return taken

    def repeat(self, num_samples: int) -> Self:
        """Every member `num_samples` times, neighbours first: (B * num_samples, ...)."""
        repeated: Self = _map_tensors(
            self, lambda x: _laid_out_as(x, x.repeat_interleave(num_samples, dim=0))
        )
        return repeated


def _laid_out_as(model: Tensor, tensor: Tensor) -> Tensor:
    """The tensor with channels last where the model has them so: mixed layouts are slow."""
    if model.ndim == 4 and model.is_contiguous(memory_format=torch.channels_last):
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor


def _map_tensors(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, tuple | list):
        return type(value)(_map_tensors(part, function) for part in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        parts = {name: _map_tensors(getattr(value, name), function) for name in names}
        return dataclasses.replace(value, **parts)
    return value


State = TypeVar("State", bound=RolloutState)
Imagine = Callable[[State, Tensor, Tensor | None, Tensor | None], tuple[Tensor, State]]


def _steps(
    imagine: Imagine[State],
    state: State,
    actions: Tensor,
    noise: Tensor | None,
    states: Tensor | None,
) -> Iterator[Tensor]:
    for step, action in enumerate(actions):
        frame, state = imagine(
            state,
            action,
            None if noise is None else noise[step],
            None if states is None else states[step],
        )
        yield frame


class VideoModel(nn.Module, ABC, Generic[State]):
    """A stochastic model of the next frame given past frames and actions.

    Attributes:
        spec: the clips it was built for; data of another kind is refused by name.
        num_context: how many true frames it is trained to see first.
        latent_dim: size of the noise that names a future; 0 for a model that knows but one.
        feedback_gradient: whether gradients of the loss flow through frames that are fed back.
    """

    feedback_gradient: bool = True

    def __init__(self, spec: ClipSpec, num_context: int, latent_dim: int) -> None:
        super().__init__()
        if num_context < 1:
            raise UserError(f"A model needs at least 1 context frame, got {num_context}.")
        self.spec = spec
        self.num_context = num_context
        self.latent_dim = latent_dim

    @abstractmethod
    def loss(self, clip: Clip, beta: float, feed_truth: Tensor, noise: Tensor) -> Loss:
        """The training loss of a batch of clips.

        Args:
            beta: weight of the KL divergence.
            feed_truth: (T - 1, B) bool; whether the step that predicts frame t + 1 is fed the true
                frame t or the model's own prediction of it. Context frames are always true.
            noise: (T - 1, B, Z) standard normal, for the posterior's samples.
        """

    def fed_frame(self, truth: Tensor, frame: Tensor, predicted: Tensor) -> Tensor:
        """The frame a step is fed: (B, C, H, W), true where `truth` (B,) says so."""
        fed_back = predicted if self.feedback_gradient else predicted.detach()
        return torch.where(truth[:, None, None, None], frame, fed_back)

    @staticmethod
    def steps_fed_back(feed_truth: Tensor) -> list[bool]:
        """Whether each step feeds a prediction to any clip of the batch, over all processes.

        Processes that share a batch have to agree: where one encodes a prediction, the others
        encode their true frame with it, for batch statistics are those of the whole batch.
        """
        fed_back = (~feed_truth.all(dim=1)).to(torch.uint8)
        if distributed.is_initialized() and distributed.get_world_size() > 1:
            distributed.all_reduce(fed_back, distributed.ReduceOp.MAX)
        return [bool(fed) for fed in fed_back.tolist()]

    @abstractmethod
    def observe(self, frames: Tensor, actions: Tensor, states: Tensor | None) -> State:
        """Take in the context.

        Args:
            frames: (K, B, C, H, W) floats in [0, 1]
            actions: (K - 1, B, A) in the recording's units
            states: (K, B, S) in the recording's units, or None where the model uses none
        """

    @abstractmethod
    def imagine(
        self,
        state: State,
        action: Tensor,
        noise: Tensor | None = None,
        robot_state: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """One step ahead: the next frame (B, C, H, W) in [0, 1] and the state after it.

        Args:
            action: (B, A) in the recording's units
            noise: (B, Z) standard normal, which names the future; None is the prior's mean.
            robot_state: (B, S) the true state at the *next* frame where it is known (the course's
                protocol gives it); None lets the model predict it from state and action.
        """

    def rollout(
        self, state: State, actions: Tensor, noise: Tensor | None, states: Tensor | None = None
    ) -> Tensor:
        """Imagine P frames in a row: (P, B, C, H, W).

        Args:
            actions: (P, B, A)
            noise: (P, B, Z) or None for the prior's mean
            states: (P, B, S) true states of the predicted frames, or None to predict them
        """
        return torch.stack(list(_steps(self.imagine, state, actions, noise, states)))

    @torch.no_grad()
    def predict(
        self, clip: Clip, num_context: int, noise: Tensor | None, states_given: bool
    ) -> Tensor:
        """The predicted future (P, B, C, H, W) of a batch of clips, from its first frames.

        Args:
            noise: (P, B, Z) or None for the prior's mean
            states_given: use the true future states (the course's protocol) or predict them.
        """
        assert not self.training, "batch statistics would make a clip depend on its batch mates"
        frames = clip.float_frames(self.dtype)[:num_context]
        states = clip.states
        past = None if states is None else states[:num_context]
        future = states[num_context:] if states is not None and states_given else None
        state = self.observe(frames, clip.actions[: num_context - 1], past)
        return self.rollout(state, clip.actions[num_context - 1 :], noise, future).float()

    def sampler(self, bfloat16: bool) -> Sampler[Any]:
        """What draws futures from the present weights, convolutions in bfloat16 or not."""
        return PlainSampler(self, bfloat16)

    @property
    def uses_states(self) -> bool:
        """Whether the condition includes the robot's state."""
        return False

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype


class Sampler(ABC, Generic[State]):
    """`observe` and `imagine` of a model whose weights do not change, without gradients.

    What only draws futures (evaluation, planning, steering) asks a model for its sampler, so that a
    model may arrange its arithmetic for speed and training need not know. Its states are its own.
    """

    def __init__(self, model: VideoModel[Any], bfloat16: bool) -> None:
        assert not model.training, "batch statistics would make a clip depend on its batch mates"
        self.model, self.bfloat16 = model, bfloat16
        self.device = next(model.parameters()).device

    def precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)

    @abstractmethod
    def observe(self, frames: Tensor, actions: Tensor, states: Tensor | None) -> State:
        """As the model's."""

    @abstractmethod
    def imagine(
        self,
        state: State,
        action: Tensor,
        noise: Tensor | None = None,
        robot_state: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """As the model's."""

    def steps(
        self, state: State, actions: Tensor, noise: Tensor | None, states: Tensor | None = None
    ) -> Iterator[Tensor]:
        """The frames of the model's `rollout` one after another, (B, C, H, W) each."""
        return _steps(self.imagine, state, actions, noise, states)


class PlainSampler(Sampler[State]):
    """The model's own methods."""

    @torch.no_grad()
    def observe(self, frames: Tensor, actions: Tensor, states: Tensor | None) -> State:
        with self.precision():
            state: State = self.model.observe(frames, actions, states)
        return state

    @torch.no_grad()
    def imagine(
        self,
        state: State,
        action: Tensor,
        noise: Tensor | None = None,
        robot_state: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        with self.precision():
            imagined: tuple[Tensor, State] = self.model.imagine(state, action, noise, robot_state)
        return imagined
