"""The conditional VAE of the course report (after Denton and Fergus 2018, SVG-FP).

A convolutional encoder turns a frame into a code; an LSTM frame predictor turns the code, a
latent and the embedded condition into the code of the next frame; a decoder with skips from the
last context frame paints it. The latent comes from a Gaussian LSTM posterior that sees the next
frame's code (training, context), else from the fixed prior N(0, I). docs/model.md derives the loss.

The condition that predicts frame t + 1 is made from index t, never from the frame predicted.

Shape letters: T frames, K context frames, B batch, C H W image, D code, A action, S state,
Z latent.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from framecast.clip import Clip, ClipSpec
from framecast.errors import UserError
from framecast.models.base import Loss, RolloutState, VideoModel
from framecast.models.conditioning import Conditioner
from framecast.models.config import CourseConfig
from framecast.models.dcgan import DcganDecoder, DcganEncoder
from framecast.models.distributions import Gaussian
from framecast.models.layers import ImageDecoder, ImageEncoder, StepwiseBatchNorm1d, initialise
from framecast.models.recurrent import GaussianLSTM, LSTMStack, LSTMState
from framecast.models.vgg import VggDecoder, VggEncoder

IMAGE_SIZE = 64
# Only the linear state head learns from the state's error, and Adam does not care for its scale;
# a small one keeps it out of the gradient's norm, which is clipped for all parameters together.
STATE_ERROR_WEIGHT = 1e-3
IMAGE_NETWORKS = {
    "dcgan": (DcganEncoder, DcganDecoder),
    "vgg": (VggEncoder, VggDecoder),
}


@dataclass(frozen=True)
class CourseState(RolloutState):
    """Attributes:
    code: (B, D) of the last frame
    skip_halves: what the skips contribute to the decoder, coarse to fine, (B, ...) each
    predictor: state of the frame predictor
    """

    code: Tensor
    skip_halves: list[Tensor]
    predictor: LSTMState


class FramePredictor(nn.Module):
    """Code, latent and condition of one moment -> code of the next: Linear, BatchNorm1d, Tanh.

    Shape:
        code, next code: (T, B, D)
        latent: (T, B, Z)
        condition: (T, B, N), N = 0 without one
    """

    def __init__(self, config: CourseConfig, num_condition: int) -> None:
        super().__init__()
        hidden = config.hidden_dim
        self.embed_code = nn.Linear(config.code_dim + config.latent_dim, hidden)
        self.embed_condition = (
            nn.Linear(num_condition, config.condition_dim) if num_condition else None
        )
        embedded = hidden + (config.condition_dim if num_condition else 0)
        self.stack = LSTMStack(embedded, hidden, config.predictor_layers)
        self.output = nn.Linear(hidden, config.code_dim)
        self.norm = StepwiseBatchNorm1d(config.code_dim)

    def forward(
        self, code: Tensor, latent: Tensor, condition: Tensor, state: LSTMState
    ) -> tuple[Tensor, LSTMState]:
        embedded = self.embed_code(torch.cat([code.to(latent.dtype), latent], dim=-1))
        if self.embed_condition is not None:
            embedded = torch.cat([embedded, self.embed_condition(condition)], dim=-1)
        outputs, state = self.stack(embedded, state)
        num_steps, batch_size = outputs.shape[:2]
        code = self.norm(self.output(outputs).flatten(0, 1), num_steps).tanh()
        return code.view(num_steps, batch_size, -1), state


class CourseModel(VideoModel[CourseState]):
    """The report's conditional VAE. Raises UserError for clips it cannot be built for."""

    def __init__(self, config: CourseConfig, spec: ClipSpec, num_context: int) -> None:
        super().__init__(spec, num_context, config.latent_dim)
        if (spec.height, spec.width) != (IMAGE_SIZE, IMAGE_SIZE):
            raise UserError(
                f"The {config.image_network} image network takes frames of {IMAGE_SIZE}x"
                f"{IMAGE_SIZE}, got {spec.width}x{spec.height}. Import with --size {IMAGE_SIZE}."
            )
        self.config = config
        encoder, decoder = IMAGE_NETWORKS[config.image_network]
        self.encoder: ImageEncoder = encoder(spec.channels, config.code_dim)
        self.decoder: ImageDecoder = decoder(spec.channels, config.code_dim)
        self.conditioner = Conditioner(config.condition, spec)
        self.posterior = GaussianLSTM(
            config.code_dim, config.hidden_dim, config.latent_dim, config.posterior_layers
        )
        self.frame_predictor = FramePredictor(config, self.conditioner.size)
        initialise(self)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def uses_states(self) -> bool:
        return self.conditioner.state is not None

    def loss(self, clip: Clip, beta: float, feed_truth: Tensor, noise: Tensor) -> Loss:
        frames = clip.float_frames(self.dtype)
        code, skips = self._encode(frames)
        posterior, _ = self.posterior(code[1:], self.posterior.initial_state(clip.batch_size))
        latent = posterior.sample(noise.to(self.dtype))
        states = self.conditioner.standard_states(clip.states)
        condition = self.conditioner(clip.actions, None if states is None else states[:-1])
        feed_truth = feed_truth.clone()
        feed_truth[: self.num_context] = True
        if bool(feed_truth.all()):
            predicted = self._predict_from_truth(code[:-1], skips, latent, condition)
        else:
            predicted = self._predict_step_by_step(
                frames[:-1], code[:-1], skips, latent, condition, feed_truth
            )
        reconstruction = (predicted - frames[1:]).square().mean()
        prior = Gaussian.standard_like(posterior.mean)
        kl_per_dimension = posterior.kl_from(prior).mean(dim=(0, 1))
        kl = kl_per_dimension.sum()
        state_error = kl.new_zeros(())
        if states is not None:
            guess = self.conditioner.next_state(states[:-1], clip.actions)
            state_error = (guess - states[1:]).square().mean()
        total = reconstruction + beta * kl + STATE_ERROR_WEIGHT * state_error
        return Loss(total, reconstruction, kl, state_error, kl_per_dimension)

    def observe(self, frames: Tensor, actions: Tensor, states: Tensor | None) -> CourseState:
        code, skips = self._encode(frames.to(self.dtype))
        batch_size = frames.shape[1]
        predictor = self.frame_predictor.stack.initial_state(batch_size)
        robot_states = self.conditioner.standard_states(states)
        if len(frames) > 1:
            posterior, _ = self.posterior(code[1:], self.posterior.initial_state(batch_size))
            earlier = None if robot_states is None else robot_states[:-1]
            condition = self.conditioner(actions, earlier)
            _, predictor = self.frame_predictor(code[:-1], posterior.mean, condition, predictor)
        return CourseState(
            robot_state=None if robot_states is None else robot_states[-1],
            code=code[-1],
            skip_halves=self.decoder.skip_halves([skip[-1] for skip in skips]),
            predictor=predictor,
        )

    def imagine(
        self,
        state: CourseState,
        action: Tensor,
        noise: Tensor | None = None,
        robot_state: Tensor | None = None,
    ) -> tuple[Tensor, CourseState]:
        prior = Gaussian.standard_like(state.code.new_zeros(len(action), self.latent_dim))
        latent = prior.mean if noise is None else prior.sample(noise.to(self.dtype))
        condition = self.conditioner(action, state.robot_state)
        code, predictor = self.frame_predictor(
            state.code[None], latent[None], condition[None], state.predictor
        )
        frame = self._decode(code, state.skip_halves)[0]
        next_code, skips = self._encode(frame[None])
        next_state = state.robot_state
        if next_state is not None and robot_state is None:
            next_state = self.conditioner.next_state(next_state, action)
        elif next_state is not None:
            next_state = self.conditioner.standard_states(robot_state)
        skip_halves = state.skip_halves
        if self.config.last_frame_skip:
            skip_halves = self.decoder.skip_halves([skip[0] for skip in skips])
        return frame, CourseState(next_state, next_code[0], skip_halves, predictor)

    def _predict_from_truth(
        self, code: Tensor, skips: list[Tensor], latent: Tensor, condition: Tensor
    ) -> Tensor:
        """All steps at once, each fed the true frame."""
        batch_size = code.shape[1]
        initial = self.frame_predictor.stack.initial_state(batch_size)
        predicted, _ = self.frame_predictor(code, latent, condition, initial)
        sources = len(code) if self.config.last_frame_skip else min(len(code), self.num_context)
        halves = self.decoder.skip_halves([skip[:sources].flatten(0, 1) for skip in skips])
        later = len(code) - sources  # steps that use the last source again
        by_step = [torch.cat([half, *[half[-batch_size:]] * later]) for half in halves]
        return self._decode(predicted, by_step)

    def _predict_step_by_step(
        self,
        frames: Tensor,
        code: Tensor,
        skips: list[Tensor],
        latent: Tensor,
        condition: Tensor,
        feed_truth: Tensor,
    ) -> Tensor:
        """One step after another, each fed the true frame or the last prediction.

        The numbers are those of `_predict_from_truth` where every step is fed the truth.
        """
        predictor = self.frame_predictor.stack.initial_state(frames.shape[1])
        skip_halves: list[Tensor] = []
        predicted: list[Tensor] = []
        for step, true in enumerate(feed_truth):
            step_code, step_skips = code[step], [skip[step] for skip in skips]
            if not bool(true.all()):
                fed = self.fed_frame(true, frames[step], predicted[-1])
                fed_code, fed_skips = self._encode(fed[None])
                step_code, step_skips = fed_code[0], [skip[0] for skip in fed_skips]
            if step < self.num_context or self.config.last_frame_skip:
                skip_halves = self.decoder.skip_halves(step_skips)
            next_code, predictor = self.frame_predictor(
                step_code[None], latent[step][None], condition[step][None], predictor
            )
            predicted.append(self._decode(next_code, skip_halves)[0])
        return torch.stack(predicted)

    def _encode(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(T, B, C, H, W) -> code (T, B, D) and skips (T, B, ...)."""
        shape = frames.shape[:2]
        images = frames.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        code, skips = self.encoder(images, num_steps=shape[0])
        return code.to(self.dtype).unflatten(0, shape), [s.unflatten(0, shape) for s in skips]

    def _decode(self, code: Tensor, skip_halves: list[Tensor]) -> Tensor:
        """(T, B, D) and skip halves (T * B, ...) -> frames (T, B, C, H, W) in [0, 1]."""
        shape = code.shape[:2]
        logits = self.decoder(code.flatten(0, 1), skip_halves, num_steps=shape[0])
        images: Tensor = logits.to(self.dtype).sigmoid()
        return images.view(*shape, *images.shape[1:])
