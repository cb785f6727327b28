"""Laws of the warp model that are its own; test_laws.py holds those of every model."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from framecast.clip import Clip, ClipSpec
from framecast.errors import UserError
from framecast.models import thing_motion
from framecast.models.conditioning import CHANGE_SCALE
from framecast.models.config import WarpConfig
from framecast.models.latent_flows import energy_score
from framecast.models.warp import WarpModel
from framecast.models.warp_compositor import (
    FLOW_UNIT,
    Compositor,
    pixel_places,
    quarters,
    sample,
    sample_sharply,
    woven,
)
from framecast.models.warp_loss import LEAST_ERROR, USUAL_ERROR, squared_error
from framecast.models.warp_networks import MotionDecoder
from tests.conftest import vector
from tests.models.test_sprites import paint

SMALL = WarpConfig(num_flows=2, latent_channels=1, fine_width=8, middle_width=8, coarse_width=8)


def build(spec: ClipSpec, **changes: object) -> WarpModel:
    torch.manual_seed(0)
    return WarpModel(dataclasses.replace(SMALL, **changes), spec, num_context=2)


def maps_with(compositor: Compositor, size: int, **values: float) -> Tensor:
    """Maps that are constant over the picture: flow_x, flow_y, mask logits by name."""
    maps = torch.zeros(1, compositor.num_maps, size, size)
    first_mask = 3 * compositor.num_flows
    places = {"flow_x": 0, "flow_y": 1, "first": first_mask, "gate": sum(compositor.parts[:4])}
    places |= {"context": first_mask + compositor.num_flows, "canvas": first_mask + 3}
    for name, value in values.items():
        maps[:, places[name]] = value
    return maps


def composed(
    compositor: Compositor,
    maps: Tensor,
    frame: Tensor,
    context: Tensor,
    canvas: Tensor,
    guide: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The compositor told and asked in pictures, maps and frames (B, -, H, W)."""
    parts = (quarters(maps), frame, quarters(context), quarters(canvas), guide)
    latest, _, canvas = compositor(*parts)
    size = (frame.shape[2], frame.shape[3])
    return woven(latest, size), woven(canvas, size)


def test_quarters_are_those_of_pixel_unshuffle_and_are_woven_back():
    pictures = torch.rand(2, 3, 8, 6)
    parts = quarters(pictures)
    torch.testing.assert_close(parts, functional.pixel_unshuffle(pictures, 2).reshape(2, 3, 48))
    torch.testing.assert_close(woven(parts, (8, 6)), pictures, rtol=0, atol=0)


def test_the_decoder_convolves_features_doubled_to_their_nearest_neighbours():
    torch.manual_seed(0)
    decoder = MotionDecoder((8, 16, 24), num_maps=5, depth=1).double()
    hidden, middle, fine = (
        torch.randn(2, channels, size, size, dtype=torch.float64)
        for channels, size in ((24, 4), (16, 8), (8, 16))
    )
    condition = torch.randn(2, 16, 1, 1, dtype=torch.float64)

    def joined(coarse: Tensor, beside: Tensor) -> Tensor:
        return torch.cat([functional.interpolate(coarse, scale_factor=2.0), beside], dim=1)

    features = functional.silu(decoder.norms[0](decoder.middle(joined(hidden, middle))))
    features = decoder.blocks(features + condition)
    features = functional.silu(decoder.norms[1](decoder.fine(joined(features, fine))))
    maps = functional.pixel_shuffle(decoder.head(features), 2)
    found = decoder(hidden, middle, fine, condition)
    torch.testing.assert_close(found, features)
    torch.testing.assert_close(woven(decoder.maps(found), (32, 32)), maps)


def test_a_flow_moves_pixels_by_whole_units_exactly():
    compositor = Compositor(num_flows=2, channels=3)
    frame = torch.rand(1, 3, 16, 16)
    unused = torch.zeros_like(frame)
    maps = maps_with(compositor, 16, flow_x=1.0, first=50.0)
    moved, _ = composed(compositor, maps, frame, unused, unused)
    shift = int(FLOW_UNIT)
    torch.testing.assert_close(moved[..., :-shift], frame[..., shift:], rtol=0, atol=1e-5)


def test_masks_choose_among_context_and_canvas_and_the_gate_writes_the_canvas():
    compositor = Compositor(num_flows=2, channels=3)
    frame, context, canvas = torch.rand(3, 1, 3, 16, 16)
    chosen, kept = composed(
        compositor, maps_with(compositor, 16, context=50.0, gate=-50.0), frame, context, canvas
    )
    torch.testing.assert_close(chosen, context)
    torch.testing.assert_close(kept, canvas)
    chosen, written = composed(
        compositor, maps_with(compositor, 16, canvas=50.0, gate=50.0), frame, context, canvas
    )
    torch.testing.assert_close(chosen, canvas)
    torch.testing.assert_close(written, frame)


def test_frames_stay_in_range_whatever_the_maps():
    compositor = Compositor(num_flows=2, channels=3)
    maps = 30 * torch.randn(1, compositor.num_maps, 16, 16)
    frame, canvas = composed(compositor, maps, *torch.rand(3, 1, 3, 16, 16))
    for picture in (frame, canvas):
        assert picture.min() >= -1e-6
        assert picture.max() <= 1 + 1e-6


def test_sharp_sampling_is_exact_at_pixels_and_sharper_between_them():
    across = torch.arange(32.0)
    waves = (0.5 + 0.4 * torch.sin(1.2 * across)).expand(1, 1, 32, 32)
    places = pixel_places(32, 32, waves)
    torch.testing.assert_close(sample_sharply(waves, places), waves, rtol=0, atol=1e-6)
    half = places + places.new_tensor([1 / 32, 0.0])
    true = 0.5 + 0.4 * torch.sin(1.2 * (across + 0.5))
    sharp, plain = (
        (sampled(waves, half) - true)[..., 2:-2].abs().max() for sampled in (sample_sharply, sample)
    )
    assert sharp < plain / 3


def test_a_guide_moves_the_whole_picture():
    compositor = Compositor(num_flows=2, channels=3)
    frame = torch.rand(1, 3, 16, 16)
    guide = torch.zeros(1, 4, 3)
    guide[:, 0, 0] = 1.0
    pictures = (frame, frame, frame)
    guided, _ = composed(compositor, maps_with(compositor, 16, first=50.0), *pictures, guide)
    moved, _ = composed(compositor, maps_with(compositor, 16, first=50.0, flow_x=1.0), *pictures)
    torch.testing.assert_close(guided, moved)


def test_new_parts_begin_as_if_they_were_not_there(spec: ClipSpec, clip: Clip):
    model = build(spec, guided_flows=True, refiner_width=8).eval()
    complete = model.predict(clip, 2, None, True)
    model.guide = model.refiner = None
    torch.testing.assert_close(complete, model.predict(clip, 2, None, True))


def test_a_guided_model_foresees_the_change_of_the_state(spec: ClipSpec):
    plain, guided = build(spec).conditioner, build(spec, guided_flows=True).conditioner
    assert spec.state is not None
    assert guided.size == plain.size + spec.state.size
    torch.nn.init.normal_(guided.state_predictor.change.weight, 0.0, 0.1)
    action, state = torch.randn(3, spec.action.size), torch.zeros(3, spec.state.size)
    told = guided(action, state)
    torch.testing.assert_close(told[:, : plain.size], plain(action, state))
    change = guided.next_state(state, action) - state
    torch.testing.assert_close(told[:, plain.size :], CHANGE_SCALE * change)


def test_it_is_told_of_the_step_before_alike_in_training_and_in_prediction(
    spec: ClipSpec, clip: Clip
):
    """Whether a step is part of the context, of the future, or of a training sequence."""
    model = build(spec, guided_flows=True, state_history=True, latent_channels=0).eval()
    for weight in model.conditioner.state_predictor.parameters():
        torch.nn.init.normal_(weight, 0.0, 0.3)
    told: list[Tensor] = []
    model.embed_condition.register_forward_hook(lambda _, given, __: told.append(given[0]))
    model.loss(clip, 1.0, torch.ones(5, 3, dtype=torch.bool), torch.zeros(5, 3, 0))
    in_training = torch.stack(told)
    for num_context in (2, 4):
        told.clear()
        model.predict(clip, num_context, None, True)
        torch.testing.assert_close(torch.stack(told), in_training)
    assert clip.states is not None
    states = model.conditioner.standard_states(clip.states)
    assert states is not None
    nothing_known = model.conditioner.recall_all(clip.actions, states)
    assert nothing_known is not None
    forgetful = model.conditioner(clip.actions, states[:-1], torch.zeros_like(nothing_known[1:]))
    assert not torch.isclose(forgetful[1:], in_training[1:]).flatten(1).all(dim=1).any()


def test_it_sees_the_robot_alike_in_training_and_in_prediction(spec: ClipSpec, clip: Clip):
    """As above, of what the sprites cover now and will cover then."""
    model = build(spec, guided_flows=True, sprites=2, latent_channels=0).eval()
    assert model.sprites is not None
    model.sprites.begin(torch.Generator().manual_seed(0))
    torch.nn.init.normal_(model.conditioner.state_predictor.change.weight, 0.0, 0.3)
    seen: list[Tensor] = []

    def remember(_: object, given: tuple[Any, ...]) -> None:
        seen.append(torch.cat([*given[3].opacities], dim=1))

    model.encoder.register_forward_pre_hook(remember)
    model.loss(clip, 1.0, torch.ones(5, 3, dtype=torch.bool), torch.zeros(5, 3, 0))
    in_training = torch.stack(seen)
    assert clip.states is not None
    for num_context in (2, 4):
        seen.clear()
        model.predict(clip, num_context, None, True)
        torch.testing.assert_close(torch.stack(seen), in_training)
    true = model.sprites(model.conditioner.standard_states(clip.states))[:-1, :, -1]
    torch.testing.assert_close(in_training[:, :, 0], true)


def test_a_robot_lies_over_all_else_as_far_as_it_is_trusted():
    compositor = Compositor(2, 3, covered=True)
    frame = torch.rand(1, 3, 8, 8)
    maps = torch.zeros(1, compositor.num_maps, 8, 8)
    robot = torch.rand(1, 4, 8, 8)
    robot[:, :3] *= robot[:, 3:]
    for logit, share in ((40.0, 1.0), (-40.0, 0.0)):
        maps[:, -1] = logit
        parts = (quarters(maps), frame, quarters(frame), quarters(frame))
        bare, _, _ = compositor(*parts)
        latest, scene, _ = compositor(*parts, robot=quarters(robot))
        torch.testing.assert_close(scene, bare)
        shown = share * robot
        expected = woven(bare, (8, 8)) * (1 - shown[:, 3:]) + shown[:, :3]
        torch.testing.assert_close(woven(latest, (8, 8)), expected)


@torch.no_grad()
def test_what_the_robot_hid_is_seen_again_when_it_has_passed(spec: ClipSpec):
    model = build(spec, sprites=1, latent_channels=0).eval()
    assert model.sprites is not None
    torch.nn.init.zeros_(model.decoder.head.weight)  # nothing moves but the robot
    paint(model.sprites, 0, (1.0, 0.0, 0.0), 6)
    model.sprites.pose.weight[2, 0] = -2 * 16 / 64  # pixels
    model.conditioner.next_state = lambda state, action, _: state + action
    frames = torch.full((2, 1, 3, 64, 64), 0.4)
    frames[..., 1, 30:34, 30:34] = 0.9
    empty = frames[0].clone()
    frames[..., 26:38, 10:22] = frames.new_tensor([1.0, 0.0, 0.0])[:, None, None]
    still, right = torch.zeros(1, 1, 2), torch.tensor([1.0, 0.0]).expand(2, 1, 2)
    left = torch.tensor([-2.0, 0.0]).expand(2, 1, 2)
    hiding, passed = model.rollout(model.observe(frames, still, left), right, None)
    assert hiding[0, 1, 30:34, 30:34].max() < 0.3
    around = torch.ones(64, 64, dtype=torch.bool)
    around[24:40, 40:56] = False  # where the robot is now
    around[24:40, 8:24] = False  # behind where it was at first
    torch.testing.assert_close(passed[0, :, around], empty[0, :, around], rtol=0, atol=0.1)
    assert (passed - empty)[0, :, 24:40, 8:24].abs().max() < 0.25


@pytest.mark.parametrize("source", [0, 2], ids=["the context", "new pixels"])
@torch.no_grad()
def test_a_pushed_thing_is_shown_where_it_is_by_then_whatever_is_elsewhere(
    spec: ClipSpec, source: int
):
    model = build(spec, sprites=1, things=2, latent_channels=0).eval()
    assert model.sprites is not None
    assert model.things is not None
    torch.nn.init.zeros_(model.decoder.head.weight)
    bias = model.decoder.head.bias
    assert bias is not None
    masks = bias.view(model.compositor.num_maps, 4)[3 * model.compositor.num_flows :]
    masks[model.compositor.num_flows + source] = 30  # all else is shown as in this
    paint(model.sprites, 0, (1.0, 0.0, 0.0), 4)
    model.things.step.bias.copy_(torch.tensor([2.0, -1.0, 0.0]))
    model.things.hand.bias.copy_(torch.tensor([10.0, -10.0]))  # units from the middle: near it
    frames = torch.full((2, 1, 3, 64, 64), 0.4)
    frames[..., 20:28, 34:46] = frames.new_tensor([0.1, 0.2, 0.9])[:, None, None]
    still, away = torch.zeros(1, 1, 2), torch.zeros(3, 1, 2)
    state = model.observe(frames, still, torch.zeros(2, 1, 2))
    predicted = model.rollout(state, away, None)
    for step, frame in enumerate(predicted[:, 0], start=1):
        blue = frame[2] - frame[0] > 0.4
        rows, columns = blue.nonzero().T
        assert rows.double().mean() == pytest.approx(23.5 - step, abs=0.05)
        assert columns.double().mean() == pytest.approx(39.5 + 2 * step, abs=0.05)
        assert blue.sum() == 96


@torch.no_grad()
def test_the_loss_moves_things_as_a_prediction_does(
    spec: ClipSpec, clip: Clip, monkeypatch: pytest.MonkeyPatch
):
    """Where every step is fed what the model predicted, its error is the prediction's."""
    monkeypatch.setattr(thing_motion, "HAND_REACH", 100.0)
    torch.manual_seed(0)
    model = build(spec, sprites=1, things=3, latent_channels=0).eval()
    assert model.sprites is not None
    assert model.things is not None
    paint(model.sprites, 0, (1.0, 0.0, 0.0), 20)
    torch.nn.init.normal_(model.things.step.weight, 0.0, 1.0)
    torch.nn.init.normal_(model.decoder.head.weight, 0.0, 0.2)
    patches = torch.rand(1, 3, 3, 8, 8).repeat_interleave(8, dim=3).repeat_interleave(8, dim=4)
    clip = dataclasses.replace(clip, frames=(255 * patches).byte().expand(6, -1, -1, -1, -1))
    first = Clip(
        clip.frames[:2], clip.actions[:1], None if clip.states is None else clip.states[:2]
    )
    errors = [
        len(part.actions)
        * model.loss(
            part, 0.0, torch.zeros(5, 3, dtype=torch.bool), torch.zeros(5, 3, 0)
        ).reconstruction.double()
        for part in (first, clip)
    ]
    predicted = model.predict(clip, 2, None, states_given=True)
    error = (predicted - clip.float_frames(torch.float32)[2:]).square().mean(dim=(1, 2, 3, 4))
    torch.testing.assert_close(errors[1] - errors[0], error.double().sum(), rtol=1e-4, atol=1e-6)
    model.things.stand_still()
    assert (model.predict(clip, 2, None, states_given=True) - predicted).abs().max() > 0.1


@pytest.mark.parametrize("flows", [0, 4])
@torch.no_grad()
def test_by_noise_things_go_one_of_the_ways_they_may(
    flows: int, spec: ClipSpec, clip: Clip, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(thing_motion, "HAND_REACH", 100.0)
    changes = {"latent_flows": True} if flows else {"sampled_things": True}
    model = build(spec, sprites=1, things=3, latent_channels=flows, **changes).eval()
    assert model.latent_dim == flows + 2 * 3
    assert model.sprites is not None
    assert model.things is not None
    paint(model.sprites, 0, (1.0, 0.0, 0.0), 20)
    torch.nn.init.constant_(model.things.step.bias, 2.0)
    torch.nn.init.zeros_(model.things.spread.bias)
    noise = torch.zeros(3, model.latent_dim)
    noise[1, flows:] = 1.0
    noise[2, :flows] = 1.0
    frames = torch.full((2, 3, 3, 64, 64), 0.4)
    frames[..., 20:28, 34:46] = frames.new_tensor([0.1, 0.2, 0.9])[:, None, None]
    state = model.observe(frames, clip.actions[:1], torch.zeros(2, 3, 2))
    things = {}
    for name, given in (("drawn", noise), ("expected", None)):
        _, after = model.imagine(state, clip.actions[1], given)
        assert after.things is not None
        things[name] = after.things.poses[:, 0]
    way = things["drawn"] - things["expected"]
    assert (things["expected"][:, 0] == 2).all()
    torch.testing.assert_close(way[1], torch.tensor([1.0, 1.0, 0.0]))
    assert (way[[0, 2]] == 0).all(), "the other numbers weigh flows"


def test_a_loss_without_a_latent_expects_things_where_they_most_likely_are(
    spec: ClipSpec, clip: Clip, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(thing_motion, "HAND_REACH", 100.0)
    errors = []
    for sampled in (False, True):
        model = build(spec, sprites=1, things=3, latent_channels=0, sampled_things=sampled).eval()
        assert model.things is not None
        torch.nn.init.constant_(model.things.spread.bias, 2.0)
        noise = torch.ones(5, 3, model.latent_dim)
        loss = model.loss(clip, 0.0, torch.ones(5, 3, dtype=torch.bool), noise)
        assert loss.kl_per_dimension is None
        errors.append(loss.total)
    assert torch.equal(*errors)


def test_sampled_things_need_things():
    with pytest.raises(UserError, match="sampled_things needs model.things"):
        dataclasses.replace(SMALL, sampled_things=True)


def test_things_need_sprites():
    with pytest.raises(UserError, match=r"model.things \(3\) needs model.sprites"):
        dataclasses.replace(SMALL, things=3)


def test_sharper_masks_are_of_prediction_alone(spec: ClipSpec, clip: Clip):
    truth, noise = torch.zeros(5, 3, dtype=torch.bool), torch.zeros(5, 3, 0)
    plain, sharp = (build(spec, latent_channels=0, mask_sharpness=x) for x in (1.0, 3.0))
    for model in (plain, sharp):
        torch.manual_seed(1)
        torch.nn.init.normal_(model.decoder.head.weight, 0.0, 0.3)
    losses = [model.loss(clip, 0.0, truth, noise).total for model in (plain, sharp)]
    torch.testing.assert_close(*losses, rtol=0, atol=0)
    soft, hard = (model.eval().predict(clip, 2, None, True) for model in (plain, sharp))
    assert (soft - hard).abs().max() > 0.05

    compositor = Compositor(2, 1, mask_sharpness=1e6).eval()
    maps = maps_with(compositor, 8, canvas=0.1)  # little more likely than all else
    maps[:, 3 * 2] = 0.05
    frame, canvas = torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8)
    shown, _ = composed(compositor, maps, frame, frame, canvas)
    torch.testing.assert_close(shown, canvas)


@pytest.mark.parametrize("setting", [{"sprites": 1}, {"mirror": "dx,x"}])
def test_a_spatial_latent_goes_without(setting: dict[str, object]):
    with pytest.raises(UserError, match="needs model.latent_channels 0 or model.latent_flows"):
        dataclasses.replace(SMALL, **setting)


def test_without_latent_channels_it_is_deterministic(spec: ClipSpec, clip: Clip):
    model = build(spec, latent_channels=0).eval()
    assert model.latent_dim == 0
    futures = [model.predict(clip, 2, torch.zeros(4, 3, 0), True) for _ in range(2)]
    torch.testing.assert_close(*futures, rtol=0, atol=0)
    loss = model.loss(clip, 1.0, torch.ones(5, 3, dtype=torch.bool), torch.zeros(5, 3, 0))
    assert loss.kl == 0
    assert loss.kl_per_dimension is None


def test_frames_with_a_scale_of_their_own_count_by_the_logarithm_of_their_error(spec: ClipSpec):
    model = build(spec, absolute_error=0.0, prior_share=0.0, frame_scale=True).double()
    frames = torch.randint(0, 256, (2, 2, spec.channels, 64, 64), dtype=torch.uint8)
    frames[1, 0] = (frames[0, 0].float() * 0.9).to(torch.uint8)  # an easy clip beside a hard one
    assert spec.state is not None
    clip = Clip(frames, torch.zeros(1, 2, spec.action.size), torch.zeros(2, 2, spec.state.size))
    noise = torch.zeros(1, 2, model.latent_dim)
    truth = torch.ones(1, 2, dtype=torch.bool)

    def total(members: slice) -> tuple[Tensor, Tensor]:
        loss = model.loss(clip.take(members), 0.0, truth[:, members], noise[:, members])
        return loss.total, loss.reconstruction

    both, _ = total(slice(0, 2))
    (easy, easy_error), (hard, hard_error) = total(slice(0, 1)), total(slice(1, 2))
    assert easy_error < hard_error / 10
    for weighed, error in ((easy, easy_error), (hard, hard_error)):
        torch.testing.assert_close(weighed, USUAL_ERROR * (error + LEAST_ERROR).log())
    torch.testing.assert_close(both, (easy + hard) / 2)


def test_on_coarse_scales_what_is_missing_costs_more_than_what_is_near():
    true = torch.zeros(1, 3, 32, 32)
    true[..., 12:16, 8:12] = 1.0
    near, beside = (true.roll(pixels, dims=-1) - true for pixels in (2, 4))
    assert squared_error(near) == squared_error(true)
    assert squared_error(near, 3) < 0.5 * squared_error(true, 3)
    assert squared_error(beside) == 2 * squared_error(true)
    assert squared_error(beside, 3) < 1.2 * squared_error(true, 3)
    noise = 0.1 * torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(squared_error(noise, 3), squared_error(noise), rtol=0.2, atol=0)


@pytest.mark.parametrize("scales", [-1, 4])
def test_there_are_no_more_scales_than_frames_have(scales: int):
    with pytest.raises(UserError, match="from 0 to 3"):
        WarpConfig(coarse_scales=scales)


def test_a_model_is_trained_on_the_scales_it_is_told(spec: ClipSpec, clip: Clip):
    options = {"latent_channels": 0, "absolute_error": 0.0}
    plain, coarse = (build(spec, **options, coarse_scales=n) for n in (0, 2))
    coarse.load_state_dict(plain.state_dict())
    fed = torch.zeros(5, 3, dtype=torch.bool)
    losses = [model.loss(clip, 0.0, fed, torch.zeros(5, 3, 0)) for model in (plain, coarse)]
    torch.testing.assert_close(losses[0].reconstruction, losses[1].reconstruction)
    torch.testing.assert_close(losses[0].total, losses[0].reconstruction)
    assert losses[1].total > losses[0].total


def with_latent(model: WarpModel, spec: ClipSpec) -> WarpModel:
    """The same model, of double precision, with flows that a latent weighs."""
    torch.manual_seed(1)
    config = dataclasses.replace(model.config, latent_channels=2, latent_flows=True)
    corrected = WarpModel(config, spec, num_context=2).double()
    corrected.load_state_dict(model.state_dict(), strict=False)
    return corrected


def test_latent_flows_of_zero_change_nothing(spec: ClipSpec, clip: Clip):
    plain = build(spec, latent_channels=0, refiner_width=8, depth=1).double().eval()
    corrected = with_latent(plain, spec).eval()
    frames = plain.predict(clip, 2, None, True)
    torch.testing.assert_close(corrected.predict(clip, 2, None, True), frames, rtol=0, atol=0)
    noise = torch.randn(len(frames), clip.batch_size, corrected.latent_dim, dtype=torch.float64)
    assert not torch.allclose(corrected.predict(clip, 2, noise, True), frames)


def test_latent_flows_are_trained_on_two_rollouts_by_the_energy_score(spec: ClipSpec, clip: Clip):
    model = with_latent(build(spec, latent_channels=0).double(), spec).eval()
    shape = (clip.num_frames - 1, clip.batch_size)
    noise = torch.randn(*shape, model.latent_dim, dtype=torch.float64)
    loss = model.loss(clip, 0.0, torch.zeros(shape, dtype=torch.bool), noise)
    samples = [model.predict(clip, 2, n[1:], True) for n in (noise, noise.roll(1, dims=1))]
    true = clip.float_frames(torch.float64)[2:]
    torch.testing.assert_close(loss.total, energy_score(*samples, true).mean(), check_dtype=False)
    loss.total.backward()
    assert model.latent_flows is not None
    assert all(parameter.grad is not None for parameter in model.latent_flows.parameters())


@pytest.mark.parametrize("mirror", ["", "x"])
def test_beside_samples_the_prediction_without_noise_is_trained_as_without_a_latent(
    spec: ClipSpec, clip: Clip, mirror: str
):
    plain = build(spec, latent_channels=0, frame_scale=True).double().eval()
    model = with_latent(plain, spec).eval()
    shape = (clip.num_frames - 1, clip.batch_size)
    noise = torch.randn(*shape, model.latent_dim, dtype=torch.float64)
    fed = torch.zeros(shape, dtype=torch.bool)
    of_samples = model.loss(clip, 0.0, fed, noise).total
    wrong = plain.predict(clip, 2, None, True) - clip.float_frames(torch.float64)[2:]
    expected = USUAL_ERROR * (wrong.square().mean(dim=(2, 3, 4)) + LEAST_ERROR).log().mean()
    expected = expected + plain.config.absolute_error * wrong.abs().mean()
    config = dataclasses.replace(model.config, expected=3.0, mirror=mirror)
    both = WarpModel(config, spec, num_context=2).double().eval()
    both.load_state_dict(model.state_dict())
    total = both.loss(clip, 0.0, fed, noise).total
    torch.testing.assert_close(total, of_samples + 3 * expected, check_dtype=False)


@pytest.mark.parametrize(("flows", "weight"), [(True, -1.0), (False, 1.0)])
def test_a_weight_of_what_is_expected_that_would_do_nothing_is_refused(flows: bool, weight: float):
    with pytest.raises(UserError, match=r"model.expected should be at least 0"):
        dataclasses.replace(SMALL, latent_flows=flows, expected=weight)


def test_sides_that_cannot_be_halved_three_times_are_refused(spec: ClipSpec):
    with pytest.raises(UserError, match="multiples of 8, got 64x60"):
        build(dataclasses.replace(spec, height=60))


@pytest.mark.parametrize(("channels", "size"), [(1, 64), (3, 128)])
def test_other_sizes_and_grey_frames(channels: int, size: int):
    spec = ClipSpec(size, size, channels, 5.0, vector(("dx", "dy")), None, "made up")
    model = build(spec, condition="action").eval()
    frames = torch.randint(0, 256, (4, 2, channels, size, size), dtype=torch.uint8)
    clip = Clip(frames, torch.zeros(3, 2, 2))
    noise = torch.randn(2, 2, model.latent_dim)
    assert model.predict(clip, 2, noise, True).shape == (2, 2, channels, size, size)
