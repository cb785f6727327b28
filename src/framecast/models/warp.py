"""Our own model: the next frame is the present one, moved.

Robot video is mostly things that move over a background that does not. At every step a small
network predicts several flow fields, along which the present frame is warped, and masks that
compose the warped frames with the last context frame, with a canvas that remembers what was seen
before, and with newly painted pixels (after CDNA, Finn 2016, and SAVP, Lee 2018). Each flow also
carries a confidence that is predicted where a thing is and moves with it, so that the outline of a
moving thing need not be guessed at the place where it will be. State and latent are spatial (as in
Villegas 2019); the prior is learned. Parts: warp_networks.py, warp_compositor.py,
warp_loss.py, warp_state.py.

Where the robot is and will be is drawn by sprites that its state moves (sprites.py): the network
sees what they cover and decides where they are shown. What is warped is then the scene, the frame
without the robot; what the robot hides is kept there, moved, and seen again when it has passed.
Things that the robot pushes are cut out of the last context frame, moved in it as rigid wholes, and
shown where they are by then (things.py). The robot's shadow is taken off what is seen and laid on
what is shown, where its state and the light say (shade.py): all between sees none.

Trained on its own rollouts. Without latent channels it is its own deterministic twin, which can be
given samples afterwards (latent_flows.py).

Shape letters: T frames, K context frames, B batch, C H W image, A action, S state, N condition,
L latent channels, Z latent numbers (L h w, or those of `latent_flows` and two a thing), D coarse
channels at h w = H/8 W/8.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from framecast.clip import Clip, ClipSpec
from framecast.errors import UserError
from framecast.mirror import mirror_of
from framecast.models.base import Loss, Sampler, VideoModel
from framecast.models.conditioning import Conditioner
from framecast.models.config import WarpConfig
from framecast.models.covering import Covering
from framecast.models.latent_flows import LatentFlows, energy_score
from framecast.models.mirrored import imagine_both
from framecast.models.shade import Shade, lit, shaded
from framecast.models.sprites import Cover, Sprites, guessed
from framecast.models.thing_motion import ThingMotion
from framecast.models.things import Things
from framecast.models.warp_compositor import Compositor, quarters, woven
from framecast.models.warp_loss import cost
from framecast.models.warp_networks import (
    STRIDE,
    ConditionEmbedding,
    FlowGuide,
    FrameEncoder,
    LatentHead,
    MotionDecoder,
    Refiner,
    SpatialLSTM,
)
from framecast.models.warp_sampler import WarpSampler
from framecast.models.warp_state import WarpState


class WarpModel(VideoModel[WarpState]):
    """The flow-compositing model. Raises UserError for clips it cannot be built for."""

    def __init__(self, config: WarpConfig, spec: ClipSpec, num_context: int) -> None:
        height, width = spec.height // STRIDE, spec.width // STRIDE
        channels = 0 if config.latent_flows else config.latent_channels
        count = config.latent_channels if config.latent_flows else 0
        super().__init__(spec, num_context, channels * height * width + count)
        if spec.height % STRIDE or spec.width % STRIDE:
            raise UserError(
                f"The warp model takes frames whose sides are multiples of {STRIDE}, got "
                f"{spec.width}x{spec.height}. Import with another --size."
            )
        self.config = config
        self.grid = (height, width)
        widths = (config.fine_width, config.middle_width, config.coarse_width)
        self.conditioner = Conditioner(
            config.condition, spec, foresees=config.guided_flows, recalls=config.state_history
        )
        self.sprites = (
            Sprites(config.sprites, spec) if config.sprites and self.uses_states else None
        )
        covered, mirror = self.sprites is not None, mirror_of(config.mirror, spec)
        self.shade = Shade(spec) if config.shade and covered else None
        self.covering = Covering(self.conditioner, self.sprites, self.shade)
        self.things = (
            ThingMotion(
                config.things,
                spec,
                self.conditioner.size,
                None if mirror is None else self.conditioner.in_a_mirror(mirror),
            )
            if config.things and covered
            else None
        )
        self.encoder = FrameEncoder(
            (3 * spec.channels + 2) if covered else 2 * spec.channels, widths
        )
        self.place = nn.Parameter(0.02 * torch.randn(1, widths[2], height, width))
        self.embed_condition = ConditionEmbedding(self.conditioner.size, widths)
        self.lstm = SpatialLSTM(widths[2] + channels, widths[2])
        self.compositor = Compositor(
            config.num_flows,
            spec.channels,
            config.sharp_sampling,
            covered,
            config.mask_sharpness,
        )
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
        self.prior = LatentHead(2 * widths[2], channels) if channels else None
        self.posterior = LatentHead(2 * widths[2], channels) if channels else None
        self.latent_flows = LatentFlows(widths, count) if count else None
        self.samples_things = self.things is not None and (config.sampled_things or count > 0)
        if self.samples_things:
            self.latent_dim += 2 * config.things
        self.mirror = mirror
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def uses_states(self) -> bool:
        return self.conditioner.state is not None

    def loss(self, clip: Clip, beta: float, feed_truth: Tensor, noise: Tensor) -> Loss:
        if self.latent_flows is not None:
            return self._energy_loss(clip, noise)
        frames = clip.float_frames(self.dtype)
        states = self.conditioner.standard_states(clip.states)
        conditions = self.conditioner.conditions(clip.actions, states)
        context = frames[: self.num_context]
        light = self.covering.light(context, None if states is None else states[: len(context)])
        covers = self.covering.sequence(clip.actions, states, light)
        next_codes = self._codes(frames[1:], context)
        state = self._initial_state(frames[0], covers[0])
        num_prior = int(self.config.prior_share * clip.batch_size) if self.latent_dim else 0
        predicted: list[Tensor] = []
        shown: list[Tensor] = []
        divergences: list[Tensor] = []
        for step, condition in enumerate(conditions):
            if step < self.num_context:
                state = self._seen(state, frames[step], covers[step])
                if step == self.num_context - 1:
                    state = self._found(state)
            else:
                true = lit(frames[step], covers[step])
                fed = self.fed_frame(feed_truth[step], true, predicted[-1])
                state = replace(state, frame=fed)
            drawn = None if self.prior is None else noise[step]
            frame, state, divergence = self._step(
                state, condition, covers[step], drawn, next_codes[step], num_prior
            )
            predicted.append(frame)
            shown.append(shaded(frame, covers[step]))
            divergences.append(divergence)
        error = torch.stack(shown) - frames[1:]
        kl_per_dimension = torch.stack(divergences)[:, num_prior:].mean(dim=(0, 1))
        kl = kl_per_dimension.sum()
        total = cost(error, self.config) + beta * kl
        per_dimension = None if self.prior is None else kl_per_dimension
        return Loss(total, error.square().mean(), kl, self._state_error(clip), per_dimension)

    def _energy_loss(self, clip: Clip, noise: Tensor) -> Loss:
        """Two samples of every clip, rolled out as when predicting; the second has the noise of
        the clip's neighbour in the batch. With `expected`, a third without noise."""
        context = self.num_context
        frames, states = clip.float_frames(self.dtype), clip.states
        past, future = (None, None) if states is None else (states[:context], states[context:])
        # As one clip each, not its mirror image too.
        state = self._found(self._observe(frames[:context], clip.actions[: context - 1], past))
        actions = clip.actions[context - 1 :]
        both = torch.stack([noise, noise.roll(1, dims=1)], dim=2)[context - 1 :]
        samples = self.rollout(
            state.repeat(2),
            actions.repeat_interleave(2, dim=1),
            both.flatten(1, 2),
            None if future is None else future.repeat_interleave(2, dim=1),
        )
        samples = samples.view(len(samples), -1, 2, *samples.shape[2:])
        true = frames[context:]
        total = energy_score(samples[:, :, 0], samples[:, :, 1], true).mean()
        if self.config.expected:
            wrong = self.rollout(state, actions, None, future) - true
            total = total + self.config.expected * cost(wrong, self.config)
        error = (samples - true[:, :, None]).square().mean()
        return Loss(total, error, total.new_zeros(()), self._state_error(clip))

    def _state_error(self, clip: Clip) -> Tensor:
        states = self.conditioner.standard_states(clip.states)
        if states is None:
            return torch.zeros((), device=clip.actions.device)
        guess = self.conditioner.next_states(clip.actions, states)
        return (guess - states[1:]).square().mean()

    def observe(self, frames: Tensor, actions: Tensor, states: Tensor | None) -> WarpState:
        state = self._found(self._observe(frames, actions, states))
        if self.mirror is None:
            return state
        mirrored = self._observe(
            self.mirror.picture(frames), self.mirror.action(actions), self.mirror.state(states)
        )
        return replace(state, mirrored=mirrored)

    def _observe(self, frames: Tensor, actions: Tensor, states: Tensor | None) -> WarpState:
        frames = frames.to(self.dtype)
        standard = self.conditioner.standard_states(states)
        next_codes = self._codes(frames[1:], frames[: self.num_context])
        light = self.covering.light(frames, standard)
        covers = self.covering.sequence(actions, standard, light)
        last = None if standard is None else standard[-1]
        end = self.covering.still(last, light)
        state = self._initial_state(frames[0], (*covers, end)[0])
        for step, condition in enumerate(self.conditioner.conditions(actions, standard)):
            state = self._seen(state, frames[step], covers[step])
            _, state, _ = self._step(state, condition, covers[step], None, next_codes[step])
        before = self.conditioner.recall_all(actions, standard)
        before = None if before is None else before[-1]
        state = replace(state, robot_state=last, before=before, light=light)
        return self._seen(state, frames[-1], end)

    def _seen(self, state: WarpState, frame: Tensor, cover: Cover | None) -> WarpState:
        """A frame of the context, and what the robot covers in it, taken in."""
        state = replace(state, frame=lit(frame, cover))
        return replace(state, context=state.without_robot(_now(cover)))

    def _found(self, state: WarpState) -> WarpState:
        """The things of the last context frame, found."""
        if self.things is None:
            return state
        return replace(state, things=self.things.find(state.context))

    def pushed(
        self, things: Things | None, cover: Cover | None, condition: Tensor, noise: Tensor | None
    ) -> Things | None:
        """The things one step later; None where there are none.

        Args:
            noise: (B, Z), of which the last numbers draw where things go
        """
        if self.things is None or things is None or cover is None:
            return None
        drawn = None
        if noise is not None and self.samples_things:
            drawn = noise[:, noise.shape[1] - 2 * self.things.number :].view(len(noise), -1, 2)
        return self.things.advance(things, cover, condition, drawn)

    def imagine(
        self,
        state: WarpState,
        action: Tensor,
        noise: Tensor | None = None,
        robot_state: Tensor | None = None,
    ) -> tuple[Tensor, WarpState]:
        alone = self.moves_by(noise)
        return imagine_both(self._imagine, self.mirror, state, action, noise, robot_state, alone)

    def _imagine(
        self,
        state: WarpState,
        action: Tensor,
        noise: Tensor | None,
        robot_state: Tensor | None,
        things: Things | None,
    ) -> tuple[Tensor, WarpState]:
        condition = self.conditioner(action, state.robot_state, state.before)
        cover = self.covering.step(state.robot_state, action, state.before, state.light)
        frame, next_state, _ = self._step(state, condition, cover, noise, None, things=things)
        standard = self.conditioner.state_after(
            state.robot_state, action, robot_state, state.before
        )
        before = self.conditioner.recall(action, state.robot_state)
        next_state = replace(next_state, frame=frame, robot_state=standard, before=before)
        return shaded(frame, cover), next_state

    def moves_by(self, noise: Tensor | None) -> bool:
        """Whether noise draws how all moves, and not just where things go."""
        return noise is not None and self.latent_flows is not None

    def sampler(self, bfloat16: bool) -> Sampler[Any]:
        return WarpSampler(self, bfloat16)

    def _step(
        self,
        state: WarpState,
        condition: Tensor,
        cover: Cover | None,
        noise: Tensor | None,
        next_code: Tensor | None,
        num_prior: int = 0,
        things: Things | None = None,
    ) -> tuple[Tensor, WarpState, Tensor]:
        """The next frame without the shade, the state but for it, and the divergence (B, Z).

        The latent comes from the posterior where the next frame's code is given, else from the
        prior; without noise it is the distribution's mean. The first `num_prior` members of the
        batch take the prior's mean whatever is given. The things are moved on, if they are not
        given as they are after the step.
        """
        things = things or self.pushed(state.things, cover, condition, noise)
        if things is not None:
            state = replace(state, things=things, context=things.picture)
        scene = state.without_robot(_now(cover))
        fine, middle, coarse = self.encoder(state.frame, state.context, scene, cover)
        condition = condition.to(self.dtype)
        for_coarse, for_middle = self.embed_condition(condition)
        coarse = coarse + for_coarse + self.place
        latent, divergence = self._latent(coarse, state.hidden, noise, next_code, num_prior)
        joined = torch.cat([coarse, latent], dim=1)
        hidden, cell = self.lstm(joined, state.hidden, state.cell)
        flows, offset = self.latent_flows, None
        weights = None if flows is None else flows.draw(hidden, state.latent, noise)
        if flows is not None and weights is not None:
            for_middle = for_middle + flows.told(weights)
        features = self.decoder(hidden, middle, fine, for_middle)
        if flows is not None and weights is not None:
            offset = flows.offset(weights, flows.fields(features))
        maps = self.decoder.maps(features)
        guide = None if self.guide is None else self.guide(condition, hidden)
        context = quarters(state.context)
        robot = None if cover is None else quarters(cover.then)
        held = None if state.things is None else quarters(state.things.moved)
        latest, expected, canvas = self.compositor(
            maps, scene, context, state.canvas, guide, offset, robot, held
        )
        if self.refiner is not None:
            latest = self.refiner(latest, context, features)
        size = (self.spec.height, self.spec.width)
        frame = woven(latest, size)
        scene = frame if cover is None else woven(expected, size)
        state = replace(state, scene=scene, canvas=canvas, hidden=hidden, cell=cell, latent=weights)
        return frame, state, divergence

    def _latent(
        self,
        coarse: Tensor,
        hidden: Tensor,
        noise: Tensor | None,
        next_code: Tensor | None,
        num_prior: int,
    ) -> tuple[Tensor, Tensor]:
        """The spatial latent (B, L, h, w), of no channels where there is none."""
        batch_size = len(coarse)
        if self.prior is None or self.posterior is None:
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
        if self.posterior is None or not num_steps:
            return frames.new_zeros(num_steps, 0)
        sources = torch.stack([context[min(step, len(context) - 1)] for step in range(num_steps)])
        flat = frames.flatten(0, 1)
        coarse: Tensor = self.encoder(flat, sources.flatten(0, 1), flat)[2]
        return coarse.view(num_steps, batch_size, *coarse.shape[1:])

    def _initial_state(self, frame: Tensor, cover: Cover | None) -> WarpState:
        frame = lit(frame, cover)
        zeros = frame.new_zeros(len(frame), self.config.coarse_width, *self.grid)
        scene = frame if cover is None else guessed(frame, cover.now)
        return WarpState(None, frame, scene, scene, quarters(scene), zeros, zeros)


def _now(cover: Cover | None) -> Tensor | None:
    return None if cover is None else cover.now
