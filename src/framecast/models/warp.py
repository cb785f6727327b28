"""Our own model: the next frame is the present one, moved.

Robot video is mostly things that move over a background that does not. At every step a small
network predicts several flow fields, along which the present frame is warped, and masks that
compose the warped frames with the last context frame, with a canvas that remembers what was seen
before, and with newly painted pixels (after CDNA, Finn 2016, and SAVP, Lee 2018). Each flow also
carries a confidence that is predicted where a thing is and moves with it, so that the outline of a
moving thing need not be guessed at the place where it will be. State and latent are spatial (as in
Villegas 2019); the prior is learned. warp_networks.py holds the parts.

Trained on its own rollouts. Without latent channels it is its own deterministic twin.

Shape letters: T frames, K context frames, B batch, C H W image, A action, S state, N condition,
L latent channels, Z latent numbers (L h w), D coarse channels at h w = H/8 W/8.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from framecast.clip import Clip, ClipSpec
from framecast.errors import UserError
from framecast.models.base import Loss, RolloutState, Sampler, VideoModel
from framecast.models.conditioning import Conditioner
from framecast.models.config import WarpConfig
from framecast.models.warp_networks import (
    STRIDE,
    Compositor,
    ConditionEmbedding,
    FlowGuide,
    FrameEncoder,
    LatentEntry,
    LatentHead,
    MotionDecoder,
    Refiner,
    SpatialLSTM,
    quarters,
    woven,
)
from framecast.models.warp_sampler import WarpSampler

# With `frame_scale`: the squared error at which a frame weighs what it does without, and the one
# below which it hardly weighs more.
USUAL_ERROR, LEAST_ERROR = 2e-3, 1e-4


@dataclass(frozen=True)
class WarpState(RolloutState):
    """Attributes:
    frame: (B, C, H, W) the latest, true or predicted
    context: (B, C, H, W) the last context frame
    canvas: (B, C, Q) what was seen before, in quarters
    hidden, cell: (B, D, h, w) of the spatial LSTM
    """

    frame: Tensor
    context: Tensor
    canvas: Tensor
    hidden: Tensor
    cell: Tensor


class WarpModel(VideoModel[WarpState]):
    """The flow-compositing model. Raises UserError for clips it cannot be built for."""

    def __init__(self, config: WarpConfig, spec: ClipSpec, num_context: int) -> None:
        height, width = spec.height // STRIDE, spec.width // STRIDE
        super().__init__(spec, num_context, config.latent_channels * height * width)
        if spec.height % STRIDE or spec.width % STRIDE:
            raise UserError(
                f"The warp model takes frames whose sides are multiples of {STRIDE}, got "
                f"{spec.width}x{spec.height}. Import with another --size."
            )
        self.config = config
        self.grid = (height, width)
        widths = (config.fine_width, config.middle_width, config.coarse_width)
        self.conditioner = Conditioner(config.condition, spec, foresees=config.guided_flows)
        self.encoder = FrameEncoder(spec.channels, widths)
        self.place = nn.Parameter(0.02 * torch.randn(1, widths[2], height, width))
        self.embed_condition = ConditionEmbedding(self.conditioner.size, widths)
        joined = 0 if config.latent_added else config.latent_channels
        self.lstm = SpatialLSTM(widths[2] + joined, widths[2])
        self.compositor = Compositor(config.num_flows, spec.channels, config.sharp_sampling)
        self.decoder = MotionDecoder(widths, self.compositor.num_maps, config.depth)
        self.compositor.initialise(self.decoder.head)
        guided = config.guided_flows and self.conditioner.size > 0
        self.guide = (
            FlowGuide(self.conditioner.size, widths[2], config.num_flows) if guided else None
        )
        self.refiner = (
            Refiner(spec.channels, widths[0], config.refiner_width)
            if config.refiner_width
            else None
        )
        if config.latent_channels:
            self.prior = LatentHead(2 * widths[2], config.latent_channels)
            self.posterior = LatentHead(2 * widths[2], config.latent_channels)
        added = config.latent_added and config.latent_channels > 0
        self.latent_entry = LatentEntry(config.latent_channels, widths) if added else None
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def uses_states(self) -> bool:
        return self.conditioner.state is not None

    def small_gradient_modules(self) -> list[nn.Module]:
        if self.latent_entry is None:
            return []
        return [self.prior, self.posterior, self.latent_entry]

    def loss(self, clip: Clip, beta: float, feed_truth: Tensor, noise: Tensor) -> Loss:
        frames = clip.float_frames(self.dtype)
        states = self.conditioner.standard_states(clip.states)
        conditions = self.conditioner(clip.actions, None if states is None else states[:-1])
        next_codes = self._codes(frames[1:], frames[: self.num_context])
        state = self._initial_state(frames[0], None)
        num_prior = int(self.config.prior_share * clip.batch_size) if self.latent_dim else 0
        predicted: list[Tensor] = []
        divergences: list[Tensor] = []
        squared: list[Tensor] = []
        absolute: list[Tensor] = []
        for step, condition in enumerate(conditions):
            if step < self.num_context:
                state = replace(state, frame=frames[step], context=frames[step])
            else:
                fed = self.fed_frame(feed_truth[step], frames[step], predicted[-1])
                state = replace(state, frame=fed)
            frame, state, divergence = self._step(
                state, condition, noise[step], next_codes[step], num_prior
            )
            predicted.append(frame)
            divergences.append(divergence)
            error = frame - frames[step + 1]
            squared.append(error.square().mean(dim=(1, 2, 3)))
            absolute.append(error.abs().mean())
        of_frames = torch.stack(squared)
        reconstruction = of_frames.mean()
        sharpness = self.config.absolute_error * torch.stack(absolute).mean()
        kl_per_dimension = torch.stack(divergences)[:, num_prior:].mean(dim=(0, 1))
        kl = kl_per_dimension.sum()
        state_error = kl.new_zeros(())
        if states is not None:
            guess = self.conditioner.next_state(states[:-1], clip.actions)
            state_error = (guess - states[1:]).square().mean()
        fit = reconstruction
        if self.config.frame_scale:
            fit = USUAL_ERROR * (of_frames + LEAST_ERROR).log().mean()
        total = fit + sharpness + beta * kl
        per_dimension = kl_per_dimension if self.latent_dim else None
        return Loss(total, reconstruction, kl, state_error, per_dimension)

    def observe(self, frames: Tensor, actions: Tensor, states: Tensor | None) -> WarpState:
        frames = frames.to(self.dtype)
        standard = self.conditioner.standard_states(states)
        next_codes = self._codes(frames[1:], frames[: self.num_context])
        state = self._initial_state(frames[0], None if standard is None else standard[0])
        for step, action in enumerate(actions):
            state = replace(state, frame=frames[step], context=frames[step])
            condition = self.conditioner(action, None if standard is None else standard[step])
            _, state, _ = self._step(state, condition, None, next_codes[step])
        robot_state = None if standard is None else standard[-1]
        return replace(state, frame=frames[-1], context=frames[-1], robot_state=robot_state)

    def imagine(
        self,
        state: WarpState,
        action: Tensor,
        noise: Tensor | None = None,
        robot_state: Tensor | None = None,
    ) -> tuple[Tensor, WarpState]:
        condition = self.conditioner(action, state.robot_state)
        frame, next_state, _ = self._step(state, condition, noise, None)
        standard = self.next_robot_state(state.robot_state, action, robot_state)
        return frame, replace(next_state, frame=frame, robot_state=standard)

    def next_robot_state(
        self, standard: Tensor | None, action: Tensor, given: Tensor | None
    ) -> Tensor | None:
        """The standardised state (B, S) after an action: the given one, else as predicted."""
        if standard is None:
            return None
        if given is not None:
            return self.conditioner.standard_states(given)
        return self.conditioner.next_state(standard, action)

    def sampler(self, bfloat16: bool) -> Sampler[Any]:
        return WarpSampler(self, bfloat16)

    def _step(
        self,
        state: WarpState,
        condition: Tensor,
        noise: Tensor | None,
        next_code: Tensor | None,
        num_prior: int = 0,
    ) -> tuple[Tensor, WarpState, Tensor]:
        """The next frame, the state but for that frame, and the divergence (B, Z).

        The latent comes from the posterior where the next frame's code is given, else from the
        prior; without noise it is the distribution's mean. The first `num_prior` members of the
        batch take the prior's mean whatever is given.
        """
        fine, middle, coarse = self.encoder(state.frame, state.context)
        condition = condition.to(self.dtype)
        for_coarse, for_middle = self.embed_condition(condition)
        coarse = coarse + for_coarse + self.place
        latent, divergence = self._latent(coarse, state.hidden, noise, next_code, num_prior)
        if self.latent_entry is None:
            joined = torch.cat([coarse, latent], dim=1)
        else:
            for_lstm, for_decoder = self.latent_entry(latent.to(coarse.dtype))
            joined, for_middle = coarse + for_lstm, for_middle + for_decoder
        hidden, cell = self.lstm(joined, state.hidden, state.cell)
        features = self.decoder(hidden, middle, fine, for_middle)
        maps = self.decoder.maps(features)
        guide = None if self.guide is None else self.guide(condition, hidden)
        context = quarters(state.context)
        latest, canvas = self.compositor(maps, state.frame, context, state.canvas, guide)
        if self.refiner is not None:
            latest = self.refiner(latest, context, features)
        frame = woven(latest, (self.spec.height, self.spec.width))
        return frame, replace(state, canvas=canvas, hidden=hidden, cell=cell), divergence

    def _latent(
        self,
        coarse: Tensor,
        hidden: Tensor,
        noise: Tensor | None,
        next_code: Tensor | None,
        num_prior: int,
    ) -> tuple[Tensor, Tensor]:
        batch_size = len(coarse)
        if not self.latent_dim:
            empty = coarse.new_zeros(batch_size, 0, *self.grid)
            return empty, hidden.new_zeros(batch_size, 0)
        prior = self.prior(torch.cat([coarse, hidden.to(coarse.dtype)], dim=1))
        chosen, divergence = prior, prior.mean.new_zeros(batch_size, self.latent_dim)
        if next_code is not None:
            chosen = self.posterior(torch.cat([coarse, next_code.to(coarse.dtype)], dim=1))
            divergence = chosen.kl_from(prior).flatten(1)
        latent = chosen.mean
        if noise is not None:
            latent = chosen.sample(noise.to(self.dtype).view_as(latent))
        if num_prior:
            latent = torch.cat([prior.mean[:num_prior], latent[num_prior:]])
        return latent, divergence

    def _codes(self, frames: Tensor, context: Tensor) -> Tensor:
        """Coarse features (T - 1, B, D, h, w) of the true next frames, for the posterior."""
        num_steps, batch_size = frames.shape[:2]
        if not self.latent_dim or not num_steps:
            return frames.new_zeros(num_steps, 0)
        sources = torch.stack([context[min(step, len(context) - 1)] for step in range(num_steps)])
        coarse: Tensor = self.encoder(frames.flatten(0, 1), sources.flatten(0, 1))[2]
        return coarse.view(num_steps, batch_size, *coarse.shape[1:])

    def _initial_state(self, frame: Tensor, robot_state: Tensor | None) -> WarpState:
        zeros = frame.new_zeros(len(frame), self.config.coarse_width, *self.grid)
        return WarpState(robot_state, frame, frame, quarters(frame), zeros, zeros)
