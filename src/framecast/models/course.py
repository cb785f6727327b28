"""The conditional VAE of the course report and its relatives: SVG-FP, SVG-LP, SVG'.

A convolutional encoder turns a frame into a code; a recurrent frame predictor turns the code, a
latent and the embedded condition into the code of the next frame; a decoder with skips from the
last context frame paints it. The latent comes from a Gaussian recurrent posterior that sees the
next frame's code (training, context), else from the prior: N(0, I) (SVG-FP, the course) or one
learned from the past codes (SVG-LP). docs/model.md derives the loss.

The published models differ in settings only (config.py): whether the code is a vector or a map,
how it is embedded and normalised, where skips come from. latent_dim 0 is the deterministic twin.

The condition that predicts frame t + 1 is made from index t, never from the frame predicted.

Shape letters: T frames, K context frames, B batch, C H W image, D code, A action, S state,
N condition, Z latent; a map has (8, 8) after D or Z.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from framecast.clip import Clip, ClipSpec
from framecast.errors import UserError
from framecast.models.base import Loss, RolloutState, Sampler, VideoModel
from framecast.models.conditioning import Conditioner
from framecast.models.config import CourseConfig
from framecast.models.course_sampler import CourseSampler
from framecast.models.frame_predictor import FramePredictor
from framecast.models.image_networks import build_image_networks
from framecast.models.latents import Latents
from framecast.models.layers import initialise, kept_halves
from framecast.models.norms import frozen_statistics
from framecast.models.recurrent import LevelledGaussian, LevelStates, LSTMState


@dataclass(frozen=True)
class CourseState(RolloutState):
    """Attributes:
    code: (B, D) of the last frame
    features: coarsest skip of the last frame, where the condition meets it, else None
    skip_halves: what the skips contribute to the decoder, coarse to fine, (B, ...) each
    predictor: state of the frame predictor
    prior: states of a learned prior's levels; empty for a fixed one
    """

    code: Tensor
    features: Tensor | None
    skip_halves: list[Tensor]
    predictor: LSTMState
    prior: LevelStates


class CourseModel(VideoModel[CourseState]):
    """The family of conditional VAEs. Raises UserError for clips it cannot be built for."""

    def __init__(self, config: CourseConfig, spec: ClipSpec, num_context: int) -> None:
        size = config.code_size
        super().__init__(spec, num_context, config.latent_dim * size * size)
        if config.published_skips and num_context < 2:
            raise UserError(
                "model.published_skips takes them from the last context frame but one, so it needs "
                f"clips.context of at least 2, got {num_context}."
            )
        self.config = config
        self.encoder, self.decoder = build_image_networks(config, spec)
        self.conditioner = Conditioner(config.condition, spec)
        num_condition = self.conditioner.size
        seen = config.code_dim + (num_condition if config.condition_latents else 0)
        self.posterior: LevelledGaussian | None = None
        self.prior: LevelledGaussian | None = None
        sizes = (seen, config.hidden_dim, config.latent_dim)
        if config.latent_dim:
            self.posterior = LevelledGaussian(
                *sizes, config.posterior_layers, size, config.latent_levels
            )
        self.frame_predictor = FramePredictor(config, num_condition, self.encoder.num_features)
        if config.latent_dim and config.prior == "learned":
            self.prior = LevelledGaussian(*sizes, config.prior_layers, size, config.latent_levels)
        self.latents = Latents(config, self.posterior, self.prior)
        initialise(self)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def uses_states(self) -> bool:
        return self.conditioner.state is not None

    @property
    def dtype(self) -> torch.dtype:
        # The image networks of a sampler may compute in bfloat16, the recurrent ones never do.
        return next(self.frame_predictor.parameters()).dtype

    def sampler(self, bfloat16: bool) -> Sampler[Any]:
        return CourseSampler(self, bfloat16)

    @property
    def num_skip_sources(self) -> int:
        """How many first frames of a clip the skips of the steps after them come from."""
        return self.num_context - 1 if self.config.published_skips else self.num_context

    def loss(self, clip: Clip, beta: float, feed_truth: Tensor, noise: Tensor) -> Loss:
        frames = clip.float_frames(self.dtype)
        code, skips = self._encode_clip(frames)
        states = self.conditioner.standard_states(clip.states)
        condition = self.conditioner(clip.actions, None if states is None else states[:-1])
        shaped = self.latents.shaped(noise.to(self.dtype))
        latent, posterior = self.latents.infer(code[1:], condition, shaped)
        drawn = shaped[:, : int(self.config.prior_share * clip.batch_size) if posterior else 0]
        feed_truth = feed_truth.clone()
        feed_truth[: self.num_context] = True
        fed_back = self.steps_fed_back(feed_truth)
        if not any(fed_back):
            predicted = self._predict_from_truth(code[:-1], skips, latent, condition, drawn)
            fed_code = code[:-1]
        else:
            with kept_halves(self.decoder):
                predicted, fed_code = self._predict_step_by_step(
                    frames[:-1], code[:-1], skips, latent, condition, drawn, feed_truth, fed_back
                )
        reconstruction = (predicted - frames[1:]).square().mean()
        kl_per_dimension = None
        kl = state_error = reconstruction.new_zeros(())
        if posterior is not None:
            rest = slice(drawn.shape[1], None)
            posterior = posterior.take(rest)
            prior, _ = self.latents.prior_of(fed_code[:, rest], condition[:, rest], latent[:, rest])
            kl_per_dimension = posterior.kl_from(prior).mean(dim=(0, 1)).flatten()
            kl = kl_per_dimension.sum()
        if states is not None:
            guess = self.conditioner.next_state(states[:-1], clip.actions)
            state_error = (guess - states[1:]).square().mean()
        total = reconstruction + beta * kl
        return Loss(total, reconstruction, kl, state_error, kl_per_dimension)

    def observe(self, frames: Tensor, actions: Tensor, states: Tensor | None) -> CourseState:
        code, skips = self._encode(frames.to(self.dtype))
        num_frames, batch_size = frames.shape[:2]
        predictor = self.frame_predictor.stack.initial_state(batch_size)
        prior = self.latents.start(batch_size)
        robot_states = self.conditioner.standard_states(states)
        if num_frames > 1:
            earlier = None if robot_states is None else robot_states[:-1]
            condition = self.conditioner(actions, earlier)
            latent, _ = self.latents.infer(code[1:], condition, noise=None)
            features = skips[-1][:-1] if self.frame_predictor.meets_features else None
            _, predictor = self.frame_predictor(code[:-1], latent, condition, features, predictor)
            if self.prior is not None:
                _, prior = self.latents.prior_of(code[:-1], condition, latent)
        source = self._skip_source(num_frames)
        return CourseState(
            robot_state=None if robot_states is None else robot_states[-1],
            code=code[-1],
            features=skips[-1][-1] if self.frame_predictor.meets_features else None,
            skip_halves=self.decoder.skip_halves([skip[source] for skip in skips]),
            predictor=predictor,
            prior=prior,
        )

    def imagine(
        self,
        state: CourseState,
        action: Tensor,
        noise: Tensor | None = None,
        robot_state: Tensor | None = None,
    ) -> tuple[Tensor, CourseState]:
        condition = self.conditioner(action, state.robot_state)[None]
        code = state.code[None]
        shaped = None if noise is None else self.latents.shaped(noise[None].to(self.dtype))
        latent, prior = self.latents.draw(code, condition, shaped, state.prior)
        features = None if state.features is None else state.features[None]
        code, predictor = self.frame_predictor(code, latent, condition, features, state.predictor)
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
        return frame, CourseState(
            robot_state=next_state,
            code=next_code[0],
            features=None if features is None else skips[-1][0],
            skip_halves=skip_halves,
            predictor=predictor,
            prior=prior,
        )

    def _predict_from_truth(
        self, code: Tensor, skips: list[Tensor], latent: Tensor, condition: Tensor, drawn: Tensor
    ) -> Tensor:
        """All steps at once, each fed the true frame."""
        num_steps, batch_size = code.shape[:2]
        start = self.latents.start(drawn.shape[1])
        latent, _ = self.latents.draw_some(code, condition, latent, drawn, start)
        initial = self.frame_predictor.stack.initial_state(batch_size)
        features = skips[-1][:num_steps] if self.frame_predictor.meets_features else None
        predicted, _ = self.frame_predictor(code, latent, condition, features, initial)
        sources = num_steps
        if not self.config.last_frame_skip:
            sources = min(num_steps, self.num_skip_sources)
        halves = self.decoder.skip_halves([skip[:sources].flatten(0, 1) for skip in skips])
        later = num_steps - sources  # steps that use the last source again
        by_step = [torch.cat([half, *[half[-batch_size:]] * later]) for half in halves]
        return self._decode(predicted, by_step)

    def _predict_step_by_step(
        self,
        frames: Tensor,
        code: Tensor,
        skips: list[Tensor],
        latent: Tensor,
        condition: Tensor,
        drawn: Tensor,
        feed_truth: Tensor,
        fed_back: list[bool],
    ) -> tuple[Tensor, Tensor]:
        """One step after another, each fed the true frame or the last prediction.

        The numbers are those of `_predict_from_truth` where every step is fed the truth.

        Returns: the predicted frames, and the codes of the frames that were fed.
        """
        predictor = self.frame_predictor.stack.initial_state(frames.shape[1])
        prior = self.latents.start(drawn.shape[1])
        skip_halves: list[Tensor] = []
        predicted: list[Tensor] = []
        fed_codes: list[Tensor] = []
        for step, true in enumerate(feed_truth):
            if fed_back[step]:
                fed = self.fed_frame(true, frames[step], predicted[-1])
                step_code, step_skips = self._encode_fed(fed)
            else:
                step_code = code[step]
                step_skips = [skip[step] for skip in skips] if step < len(skips[0]) else []
            if step < self.num_skip_sources or self.config.last_frame_skip:
                skip_halves = self.decoder.skip_halves(step_skips)
            features = step_skips[-1][None] if self.frame_predictor.meets_features else None
            now = slice(step, step + 1)
            step_latent, prior = self.latents.draw_some(
                step_code[None], condition[now], latent[now], drawn[now], prior
            )
            next_code, predictor = self.frame_predictor(
                step_code[None], step_latent, condition[now], features, predictor
            )
            predicted.append(self._decode(next_code, skip_halves)[0])
            fed_codes.append(step_code)
        return torch.stack(predicted), torch.stack(fed_codes)

    def _skip_source(self, num_frames: int) -> int:
        """The context frame that skips come from."""
        if not self.config.published_skips:
            return num_frames - 1
        if num_frames < 2:
            raise UserError("model.published_skips needs at least 2 context frames, got 1.")
        return num_frames - 2

    def _encode_clip(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """All codes of a clip, and its skips as far as they are used.

        Where skips come from the first frames only, those are encoded apart: cutting them out of
        all would cost a zero gradient of every later skip.
        """
        if self.config.last_frame_skip or self.frame_predictor.meets_features:
            return self._encode(frames)
        code, skips = self._encode(frames[: self.num_skip_sources])
        later, _ = self._encode(frames[self.num_skip_sources :])
        return torch.cat([code, later]), skips

    def _encode_fed(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Frames that were fed back (B, C, H, W) -> code (B, D) and skips (B, ...)."""
        with frozen_statistics(self.encoder, self.config.feedback_statistics == "running"):
            code, skips = self._encode(frames[None])
        return code[0], [skip[0] for skip in skips]

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
