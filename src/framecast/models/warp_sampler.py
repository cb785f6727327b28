"""The warp model's `imagine` arranged for speed: the same arithmetic, up to rounding.

What differs from warp.py, which stays the reference that the tests compare with:

- Weights are converted once, not at every step, those of doubled features too.
- What the encoder's first layer makes of the context frame is kept in the state, where no things
  move in it.
- Pictures stay in quarters from one step to the next; only the new frame is woven.
- The head and the compositor are one (warp_fast_compositor.py).

Shape letters: B batch, C image channels, H W image, h w = H/8 W/8, Q quarters' pixels (H W, quarter
by quarter), D coarse channels, K flows, L latent channels, A action, S state, Z latent
numbers, J those of `latent_flows`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from framecast.models.base import Sampler
from framecast.models.layers import doubling_weight
from framecast.models.mirrored import MirroredState, imagine_both
from framecast.models.shade import shaded
from framecast.models.sprites import Cover, behind
from framecast.models.things import Things
from framecast.models.warp_compositor import quarters, woven
from framecast.models.warp_fast_compositor import FastCompositor, Sources
from framecast.models.warp_networks import (
    FrameEncoder,
    MotionDecoder,
    ResidualBlock,
    SpatialLSTM,
)
from framecast.models.warp_state import WarpState

if TYPE_CHECKING:
    from framecast.models.warp import WarpModel

FEW_PLACES = 1024  # below, torch normalises groups faster with channels first


@dataclass(frozen=True)
class WarpSamplerState(MirroredState):
    """Attributes:
    frame: (B, C, H, W) the latest
    latest: (B, C, Q) the same in quarters
    scene: (B, C, Q) what was expected of it without the robot
    context: (B, C, Q) the last context frame, without the robot, with things where they are by now
    context_code: (B, F, H/2, W/2) what the encoder's first layer makes of it
    canvas: (B, C, Q) what was seen before
    hidden: (B, D, h, w) of the spatial LSTM, in the convolutions' precision
    cell: (B, D, h w)
    latent: (B, J) the latest of `latent_flows`; None before the first that was drawn
    before: (B, R) what the conditioner recalls of the step before; None where it does not
    """

    frame: Tensor
    latest: Tensor
    scene: Tensor
    context: Tensor
    context_code: Tensor
    canvas: Tensor
    hidden: Tensor
    cell: Tensor
    latent: Tensor | None
    before: Tensor | None


class WarpSampler(Sampler[WarpSamplerState]):
    """Imagines with a warp model's present weights, convolutions in bfloat16 or as the model."""

    model: WarpModel

    def __init__(self, model: WarpModel, bfloat16: bool) -> None:
        super().__init__(model, bfloat16)
        self.dtype = torch.bfloat16 if bfloat16 else model.dtype
        converted = copy.deepcopy(model).to(self.dtype).requires_grad_(False)
        self.encoder = _Encoder(converted.encoder, model.spec.channels)
        self.prior = converted.prior
        self.latent_flows, self.fields_of = model.latent_flows, converted.latent_flows
        self.lstm = converted.lstm
        self.decoder = _Decoder(converted.decoder)
        self.guide = model.guide
        self.refiner = converted.refiner
        size = (model.spec.height, model.spec.width)
        self.compositor = FastCompositor(model.compositor, model.decoder.head, size, self.dtype)

    @torch.no_grad()
    def observe(self, frames: Tensor, actions: Tensor, states: Tensor | None) -> WarpSamplerState:
        with self.precision():
            state = self.model.observe(frames, actions, states)
        return self.begin(state)

    def begin(self, state: WarpState) -> WarpSamplerState:
        """The model's own state, as it is kept here."""
        return WarpSamplerState(
            state.robot_state,
            state.frame,
            quarters(state.frame),
            quarters(state.scene),
            quarters(state.context),
            self.encoder.context_code(state.context),
            state.canvas,
            _channels_last(state.hidden.to(self.dtype)),
            state.cell.flatten(2),
            state.latent,
            state.before,
            things=state.things,
            light=state.light,
            mirrored=None if state.mirrored is None else self.begin(state.mirrored),
        )

    @torch.no_grad()
    def imagine(
        self,
        state: WarpSamplerState,
        action: Tensor,
        noise: Tensor | None = None,
        robot_state: Tensor | None = None,
    ) -> tuple[Tensor, WarpSamplerState]:
        mirror, alone = self.model.mirror, self.model.moves_by(noise)
        return imagine_both(self._imagine, mirror, state, action, noise, robot_state, alone)

    def _imagine(
        self,
        state: WarpSamplerState,
        action: Tensor,
        noise: Tensor | None,
        robot_state: Tensor | None,
        things: Things | None,
    ) -> tuple[Tensor, WarpSamplerState]:
        conditioner = self.model.conditioner
        condition = conditioner(action, state.robot_state, state.before).to(self.model.dtype)
        for_coarse, for_middle = self.model.embed_condition(condition)
        cover = self.model.covering.step(state.robot_state, action, state.before, state.light)
        things = things or self.model.pushed(state.things, cover, condition, noise)
        if things is not None:
            state = self._showing(state, things)
        sources = self._sources(state, cover)
        fine, middle, coarse = self.encoder(state.frame, state.context_code, sources.frame, cover)
        coarse = coarse.add_(for_coarse + self.model.place)
        latent = self._latent(coarse, state.hidden, noise)
        inputs = torch.cat([coarse, latent, state.hidden], dim=1)
        hidden, cell = _lstm_step(self.lstm, inputs, state.cell)
        flows, offset = self.latent_flows, None
        weights = None if flows is None else flows.draw(hidden, state.latent, noise)
        if flows is not None and weights is not None:
            for_middle = for_middle + flows.told(weights)
        features = self.decoder(hidden, middle, fine, for_middle)
        guide = None if self.guide is None else self.guide(condition, hidden)
        if flows is not None and self.fields_of is not None and weights is not None:
            offset = flows.offset(weights, self.fields_of.fields(features))
        robot = None if cover is None else quarters(cover.then)
        latest, scene, canvas = self.compositor(features, sources, guide, offset, robot)
        if self.refiner is not None:
            latest = self._refined(latest, state.context, features)
        frame = woven(latest, self.compositor.size)
        standard = conditioner.state_after(state.robot_state, action, robot_state, state.before)
        state = replace(
            state,
            robot_state=standard,
            before=conditioner.recall(action, state.robot_state),
            frame=frame,
            latest=latest,
            scene=latest if cover is None else scene,
            canvas=canvas,
            hidden=hidden,
            cell=cell,
            latent=weights,
        )
        return shaded(frame, cover), state

    def _showing(self, state: WarpSamplerState, things: Things) -> WarpSamplerState:
        """The state with these things where they are by now."""
        context = things.picture
        code = self.encoder.context_code(context)
        return replace(state, things=things, context=quarters(context), context_code=code)

    def _sources(self, state: WarpSamplerState, cover: Cover | None) -> Sources:
        """The latest frame is there without the robot, if that is drawn."""
        frame, latest = state.frame, state.latest
        if cover is not None:
            latest = behind(latest, state.scene, quarters(cover.now))
            frame = woven(latest, self.compositor.size)
        held = None if state.things is None else quarters(state.things.moved)
        return Sources(frame, latest, state.context, state.canvas, held)

    def _latent(self, coarse: Tensor, hidden: Tensor, noise: Tensor | None) -> Tensor:
        """(B, L, h, w) drawn from the prior, or its mean; no channels without a latent."""
        if self.prior is None:
            return coarse[:, :0]
        prior = self.prior(torch.cat([coarse, hidden], dim=1))
        latent = prior.mean if noise is None else prior.sample(noise.view_as(prior.mean))
        return _channels_last(latent.to(coarse.dtype))

    def _refined(self, latest: Tensor, context: Tensor, features: Tensor) -> Tensor:
        """Refiner in quarters, which is how it sees pictures anyhow: (B, C, Q)."""
        assert self.refiner is not None
        pair = torch.cat([latest, context], dim=1) - 0.5
        pair = pair.view(len(pair), -1, *features.shape[2:]).to(features.dtype)
        seen = _channels_last(torch.cat([pair, features], dim=1))
        hidden = functional.silu(self.refiner.hidden(seen), inplace=True)
        correction = self.refiner.correction(hidden).to(latest.dtype)
        refined: Tensor = (latest + correction.reshape(latest.shape)).clamp_(0, 1)
        return refined


class _Encoder:
    """FrameEncoder, its first layer taken apart: the context's part, and that of all else."""

    def __init__(self, encoder: FrameEncoder, channels: int) -> None:
        self.encoder = encoder
        weight = encoder.fine.weight
        others = weight.shape[1] - 2 * channels
        frame, context, other = torch.split(weight, [channels, channels, others], dim=1)
        self.of_frame = _channels_last(torch.cat([frame, other], dim=1))
        self.of_context = _channels_last(context)

    def context_code(self, context: Tensor) -> Tensor:
        return self._first(context, self.of_context, self.encoder.fine.bias)

    def __call__(
        self, frame: Tensor, context_code: Tensor, scene: Tensor, cover: Cover | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        seen = frame if cover is None else torch.cat([frame, scene, *cover.opacities], dim=1)
        fine = self._first(seen, self.of_frame, None).add_(context_code)
        fine = functional.silu(fine, inplace=True)
        middle = _activated(self.encoder.middle(fine), self.encoder.norms[0])
        return fine, middle, _activated(self.encoder.coarse(middle), self.encoder.norms[1])

    def _first(self, picture: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        picture = _channels_last((picture - 0.5).to(weight.dtype))
        return functional.conv2d(picture, weight, bias, stride=2, padding=1)


def _lstm_step(lstm: SpatialLSTM, inputs: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs with the hidden state -> the next hidden state (B, D, h, w) and cell (B, D, h w)."""
    gates = lstm.norm(lstm.gates(inputs).contiguous(memory_format=torch.contiguous_format))
    gates = gates.flatten(2).to(cell.dtype)
    width = cell.shape[1]
    gates[:, width : 2 * width] += 1
    write, keep, show = gates[:, : 3 * width].sigmoid().chunk(3, dim=1)
    cell = torch.addcmul(write * _tanh(gates[:, 3 * width :]), keep, cell)
    hidden = (show * _tanh(cell)).to(inputs.dtype).unflatten(2, inputs.shape[2:])
    return _channels_last(hidden), cell


def _tanh(tensor: Tensor) -> Tensor:
    """By way of the sigmoid, which torch computes four times as fast."""
    return (2 * tensor).sigmoid_().mul_(2).sub_(1)


class _Decoder:
    """MotionDecoder up to its head; doubling is part of its convolutions."""

    def __init__(self, decoder: MotionDecoder) -> None:
        self.norms = decoder.norms
        self.blocks = [block for block in decoder.blocks if isinstance(block, ResidualBlock)]
        middle, fine = decoder.middle.out_channels, decoder.fine.out_channels
        self.middle = _DoublingConvolution(decoder.middle, decoder.middle.in_channels - middle)
        self.fine = _DoublingConvolution(decoder.fine, decoder.fine.in_channels - fine)

    def __call__(self, hidden: Tensor, middle: Tensor, fine: Tensor, condition: Tensor) -> Tensor:
        features = _activated(self.middle(hidden, middle), self.norms[0]).add_(condition)
        for block in self.blocks:
            features += _activated(block.convolution(features), block.norm)
        return _activated(self.fine(features, fine), self.norms[1])


class _DoublingConvolution:
    """A 3x3 convolution of coarse features doubled in size, joined by features of that size."""

    def __init__(self, convolution: nn.Conv2d, num_coarse: int) -> None:
        self.bias = convolution.bias
        self.of_coarse = _channels_last(doubling_weight(convolution.weight[:, :num_coarse]))
        self.of_fine = _channels_last(convolution.weight[:, num_coarse:])

    def __call__(self, coarse: Tensor, fine: Tensor) -> Tensor:
        doubled = functional.conv_transpose2d(coarse, self.of_coarse, self.bias, 2, 1)
        return doubled.add_(functional.conv2d(fine, self.of_fine, padding=1))


def _activated(features: Tensor, norm: nn.Module) -> Tensor:
    """Normalised, through SiLU, channels last."""
    if features[0, 0].numel() >= FEW_PLACES:
        return functional.silu(norm(features), inplace=True)
    first = features.contiguous(memory_format=torch.contiguous_format)
    return _channels_last(functional.silu(norm(first), inplace=True))


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)
