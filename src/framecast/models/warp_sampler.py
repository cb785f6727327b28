"""The warp model's `imagine` arranged for speed: the same arithmetic, up to rounding.

What differs from warp.py, which stays the reference that the tests compare with:

- Weights are converted once, not at every step, those of doubled features too.
- What the encoder's first layer makes of the context frame is kept in the state.
- Pictures stay in quarters from one step to the next; only the new frame is woven.
- Scales, the masks' sharpness and pixel places are part of the head's weights and bias.

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
from framecast.models.sprites import Cover, behind, over
from framecast.models.warp_compositor import (
    FLOW_UNIT,
    TRUST,
    Compositor,
    pixel_places,
    pixel_planes,
    quarters,
    sample,
    sample_sharply,
    woven,
)
from framecast.models.warp_networks import (
    FrameEncoder,
    MotionDecoder,
    ResidualBlock,
    SpatialLSTM,
)

if TYPE_CHECKING:
    from framecast.models.warp import WarpModel, WarpState

FEW_PLACES = 1024  # below, torch normalises groups faster with channels first


@dataclass(frozen=True)
class WarpSamplerState(MirroredState):
    """Attributes:
    frame: (B, C, H, W) the latest
    latest: (B, C, Q) the same in quarters
    scene: (B, C, Q) what was expected of it without the robot
    context: (B, C, Q) the last context frame, without the robot
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
        self.compositor = _Compositor(model.compositor, model.decoder.head, size, self.dtype)

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
        mirror = self.model.mirror
        return imagine_both(self._imagine, mirror, state, action, noise, robot_state)

    def _imagine(
        self,
        state: WarpSamplerState,
        action: Tensor,
        noise: Tensor | None,
        robot_state: Tensor | None,
    ) -> tuple[Tensor, WarpSamplerState]:
        conditioner = self.model.conditioner
        condition = conditioner(action, state.robot_state, state.before).to(self.model.dtype)
        for_coarse, for_middle = self.model.embed_condition(condition)
        cover = self.model.cover(state.robot_state, action, state.before)
        bare = state if cover is None else self._without_robot(state, cover)
        fine, middle, coarse = self.encoder(state.frame, state.context_code, bare.frame, cover)
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
        latest, scene, canvas = self.compositor(features, bare, guide, offset, robot)
        if self.refiner is not None:
            latest = self._refined(latest, state.context, features)
        frame = woven(latest, self.compositor.size)
        standard = self.model.next_robot_state(state.robot_state, action, robot_state, state.before)
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
        return frame, state

    def _without_robot(self, state: WarpSamplerState, cover: Cover) -> WarpSamplerState:
        scene = behind(state.latest, state.scene, quarters(cover.now))
        return replace(state, frame=woven(scene, self.compositor.size), latest=scene)

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


class _Compositor:
    """MotionDecoder's head and Compositor, in quarters of the picture."""

    def __init__(
        self, compositor: Compositor, head: nn.Conv2d, size: tuple[int, int], dtype: torch.dtype
    ) -> None:
        self.size, self.count = size, compositor.num_flows
        self.num_flow_maps, *self.parts = compositor.parts
        weight, bias = _scaled_head(compositor, head, size)
        num_flow_rows = 4 * self.num_flow_maps
        self.flow_weight, self.rest_weight = weight.to(dtype).tensor_split([num_flow_rows])
        self.flow_bias, self.rest_bias = bias.tensor_split([self.num_flow_maps])
        self.sharp = compositor.sharp
        self.offset_unit = _flow_unit(size, bias)[:, None]
        self.guide_unit = self.offset_unit.repeat(self.count, 1)
        self.planes = quarters(pixel_planes(*size, like=bias)[None])

    def __call__(
        self,
        features: Tensor,
        state: WarpSamplerState,
        guide: Tensor | None,
        offset: Tensor | None,
        robot: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The next frame, what it is without the robot, and the next canvas, all (B, C, Q)."""
        count = self.count
        places = self._maps(features, self.flow_weight, self.flow_bias)
        if guide is not None:
            guide = guide.to(places.dtype) * self.guide_unit
            places.baddbmm_(guide, self.planes.expand(len(guide), -1, -1))
        if offset is not None:
            places += (offset.to(places.dtype) * self.offset_unit).repeat(1, count, 1)
        rest = self._maps(features, self.rest_weight, self.rest_bias)
        confidence, logits, new, gate, trust = torch.split(rest, self.parts, dim=1)
        warped, moved = self._warp(state.frame, places, confidence)
        logits[:, :count] += moved
        masks = logits.softmax(dim=1)[:, None]  # (B, 1, K + 3, Q)
        stills = (state.context, state.canvas, new.sigmoid())
        sources = (*warped.unbind(dim=2), *stills)
        mixed = sources[0] * masks[:, :, 0]
        for place, source in enumerate(sources[1:], start=1):
            mixed.addcmul_(source, masks[:, :, place])
        shown = mixed if robot is None else over(mixed, robot * (trust + TRUST).sigmoid())
        return shown, mixed, torch.lerp(state.canvas, state.latest, gate.sigmoid())

    def _maps(self, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Some of the head's maps, (B, number, Q)."""
        pixels = features.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2)
        maps = torch.bmm(weight.expand(len(pixels), -1, -1), pixels)
        return maps.to(bias.dtype).view(len(maps), *bias.shape).add_(bias)

    def _warp(self, frame: Tensor, places: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
        """The frame along every flow (B, C, K, Q), and the confidences that move with it."""
        batch_size, _, num_pixels = places.shape
        by_flow = places.view(batch_size, self.count, 2, num_pixels).transpose(2, 3)
        sources = woven(confidence, self.size).view(-1, 1, *self.size)
        moved = sample(sources, by_flow.reshape(-1, 1, num_pixels, 2))
        pixels = sample_sharply if self.sharp else sample
        return pixels(frame, by_flow), moved.view(batch_size, self.count, num_pixels)


def _scaled_head(
    compositor: Compositor, head: nn.Conv2d, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Weight (4 maps, F) and bias (maps, Q) whose flow maps are grid_sample's coordinates."""
    (height, width), count = size, compositor.num_flows
    scale = head.weight.new_ones(compositor.num_maps, 1, 1)
    scale[: 2 * count, 0, 0] = _flow_unit(size, scale).repeat(count)
    scale[2 * count : sum(compositor.parts[:3])] = compositor.mask_sharpness
    first_new = sum(compositor.parts[:3])
    scale[first_new : first_new + compositor.parts[3]] = 2
    assert head.bias is not None
    weight = scale * head.weight.detach().view(compositor.num_maps, 4, -1)
    bias = scale * head.bias.detach().view(compositor.num_maps, 4, 1)
    bias = bias.repeat(1, 1, height * width // 4).flatten(1)
    centres = pixel_places(height, width, bias).permute(0, 3, 1, 2)
    bias[: 2 * count] += quarters(centres)[0].repeat(count, 1)
    return weight.flatten(0, 1), bias


def _flow_unit(size: tuple[int, int], like: Tensor) -> Tensor:
    """What a flow of 1 is in grid_sample's coordinates, across and down."""
    height, width = size
    return like.new_tensor([2 * FLOW_UNIT / width, 2 * FLOW_UNIT / height])


def _activated(features: Tensor, norm: nn.Module) -> Tensor:
    """Normalised, through SiLU, channels last."""
    if features[0, 0].numel() >= FEW_PLACES:
        return functional.silu(norm(features), inplace=True)
    first = features.contiguous(memory_format=torch.contiguous_format)
    return _channels_last(functional.silu(norm(first), inplace=True))


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)
