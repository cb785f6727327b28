"""The warp model's sampler imagines what the model imagines."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from framecast.clip import Clip, ClipSpec
from framecast.errors import UserError
from framecast.mirror import Mirror
from framecast.models import thing_motion
from framecast.models.config import WarpConfig
from framecast.models.warp import WarpModel
from framecast.models.warp_state import WarpState
from tests.conftest import vector

SMALL = WarpConfig(num_flows=2, latent_channels=1, fine_width=8, middle_width=16, coarse_width=8)

SURE: dict[str, object] = {"latent_channels": 0}


def moving_model(spec: ClipSpec, **changes: object) -> WarpModel:
    """A model whose flows, masks and canvas all take part, as those of a trained one do."""
    torch.manual_seed(0)
    model = WarpModel(dataclasses.replace(SMALL, **changes), spec, num_context=2).eval()
    torch.nn.init.normal_(model.decoder.head.weight, 0.0, 0.2)
    if model.guide is not None:
        torch.nn.init.normal_(model.guide.from_hidden.weight, 0.0, 0.1)
        torch.nn.init.normal_(model.guide.from_condition.weight, 0.0, 0.1)
    if model.latent_flows is not None:
        torch.nn.init.normal_(model.latent_flows.fields_of.weight, 0.0, 0.1)
        torch.nn.init.normal_(model.latent_flows.for_middle.weight, 0.0, 0.3)
    if model.config.state_history:
        for weight in model.conditioner.state_predictor.parameters():
            torch.nn.init.normal_(weight, 0.0, 0.1)
    if model.sprites is not None:
        torch.nn.init.normal_(model.sprites.pictures, 0.0, 2.0)
        torch.nn.init.normal_(model.sprites.pose.weight, 0.0, 0.1)
    if model.shade is not None:
        model.shade.begin(torch.Generator().manual_seed(0))
        torch.nn.init.normal_(model.shade.says.weight, 0.0, 0.5)
    if model.things is not None:
        torch.nn.init.normal_(model.things.step.weight, 0.0, 1.0)
        torch.nn.init.zeros_(model.things.spread.bias)
    if model.refiner is not None:
        torch.nn.init.normal_(model.refiner.correction.weight, 0.0, 0.1)
    return model


def random_clip(spec: ClipSpec, num_frames: int = 6, num_clips: int = 3) -> Clip:
    frames = torch.randint(
        0, 256, (num_frames, num_clips, spec.channels, spec.height, spec.width), dtype=torch.uint8
    )
    actions = torch.randn(num_frames - 1, num_clips, spec.action.size)
    size = spec.state.size if spec.state else 0
    states = torch.randn(num_frames, num_clips, size) if spec.state else None
    return Clip(frames, actions, states)


def made_up(height: int, width: int, channels: int) -> ClipSpec:
    states = vector(("x", "y", "z"))
    return ClipSpec(height, width, channels, 5.0, vector(("dx", "dy")), states, "made up")


def sampled(model: WarpModel, clip: Clip, noise: Tensor | None, **options: bool) -> Tensor:
    """The clip's future by the model's sampler: (P, B, C, H, W)."""
    sampler = model.sampler(options.get("bfloat16", False))
    given = clip.states[2:] if clip.states is not None and options.get("states_given") else None
    past = None if clip.states is None else clip.states[:2]
    state = sampler.observe(clip.float_frames(model.dtype)[:2], clip.actions[:1], past)
    return torch.stack(list(sampler.steps(state, clip.actions[1:], noise, given)))


@pytest.mark.parametrize("states_given", [False, True])
@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, (64, 64, 3)),
        ({"latent_channels": 0, "num_flows": 3}, (24, 40, 1)),
        ({"condition": "action", "num_flows": 1}, (40, 24, 3)),
        ({"condition": "none", "fine_width": 16}, (64, 64, 1)),
        ({"depth": 2}, (24, 40, 3)),
        ({"sharp_sampling": True}, (24, 40, 3)),
        ({"guided_flows": True}, (24, 40, 3)),
        ({"guided_flows": True, "state_history": True, "mirror": "dx,x"} | SURE, (24, 40, 3)),
        ({"refiner_width": 8}, (24, 40, 3)),
        ({"sprites": 2, "refiner_width": 8} | SURE, (24, 40, 3)),
        ({"sprites": 1, "state_history": True, "mirror": "dx,x"} | SURE, (24, 40, 1)),
        ({"sprites": 1, "latent_flows": True, "latent_channels": 3}, (24, 40, 3)),
        ({"sprites": 1, "shade": True, "mirror": "dx,x"} | SURE, (24, 40, 3)),
        ({"sprites": 1, "shade": True, "latent_flows": True, "latent_channels": 3}, (24, 40, 1)),
        ({"mask_sharpness": 1.5}, (24, 40, 3)),
        ({"latent_flows": True, "latent_channels": 3}, (24, 40, 3)),
        ({"latent_channels": 0, "guided_flows": True, "mirror": "dx,x"}, (24, 40, 3)),
        ({"latent_flows": True, "latent_channels": 3, "mirror": "dx,x"}, (24, 40, 3)),
    ],
)
@torch.no_grad()
def test_it_equals_the_model_in_double_precision(
    changes: dict[str, object], size: tuple[int, int, int], states_given: bool
):
    spec = made_up(*size)
    model, clip = moving_model(spec, **changes).double(), random_clip(spec)
    noise = torch.randn(4, 3, model.latent_dim).double()
    for given in (noise, None):
        plain = model.rollout(
            *_context(model, clip), given, clip.states[2:] if states_given else None
        )
        fast = sampled(model, clip, given, states_given=states_given)
        torch.testing.assert_close(fast, plain, rtol=0, atol=1e-10)
    assert (plain[1:] - plain[:-1]).abs().max() > 0.1, "nothing moves, so nothing was compared"


@pytest.mark.parametrize(
    "changes",
    [
        SURE,
        {"mirror": "dx,x"} | SURE,
        {"mirror": "dx,x", "sampled_things": True} | SURE,
        {"latent_flows": True, "latent_channels": 3, "mirror": "dx,x"},
    ],
)
@torch.no_grad()
def test_things_move_as_in_the_model(changes: dict[str, object], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(thing_motion, "HAND_REACH", 100.0)
    spec = made_up(24, 40, 3)
    changes = {"sprites": 1, "things": 5} | changes
    model, clip = moving_model(spec, **changes).double(), random_clip(spec)
    patches = torch.rand(3, 3, 6, 10).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    clip = dataclasses.replace(clip, frames=(255 * patches).byte().expand(6, -1, -1, -1, -1))
    state, actions = _context(model, clip)
    assert state.things is not None
    for action in actions:
        _, state = model.imagine(state, action)
    assert (state.things.poses != 0).any(dim=-1).sum() > 5
    for noise in (None, torch.randn(4, 3, model.latent_dim).double()):
        plain = model.rollout(*_context(model, clip), noise)
        fast = sampled(model, clip, noise)
        torch.testing.assert_close(fast, plain, rtol=0, atol=1e-10)


@pytest.mark.parametrize("fast", [False, True])
@torch.no_grad()
def test_the_mirror_is_left_where_noise_draws_how_all_moves_and_not_for_things(fast: bool):
    spec = made_up(24, 40, 3)
    clip, changes = random_clip(spec), {"sprites": 1, "things": 5, "mirror": "dx,x"}
    latent = {"latent_flows": True, "latent_channels": 3}
    for drawn, stays in ((latent, False), ({"sampled_things": True} | SURE, True)):
        model = moving_model(spec, **changes | drawn)
        maker = model.sampler(False) if fast else model
        past = None if clip.states is None else clip.states[:2]
        state = maker.observe(clip.float_frames(model.dtype)[:2], clip.actions[:1], past)
        for noise, left in ((None, True), (torch.randn(3, model.latent_dim), stays)):
            _, after = maker.imagine(state, clip.actions[1], noise)
            assert (after.mirrored is not None) == left


def _context(model: WarpModel, clip: Clip) -> tuple[WarpState, Tensor]:
    state = model.observe(clip.float_frames(model.dtype)[:2], clip.actions[:1], clip.states[:2])
    return state, clip.actions[1:]


def test_in_bfloat16_it_is_as_close_to_single_precision_as_the_model_under_autocast():
    spec = made_up(64, 64, 3)
    model, clip = moving_model(spec), random_clip(spec)
    noise = torch.randn(4, 3, model.latent_dim)
    exact = sampled(model, clip, noise)
    with torch.autocast("cpu", torch.bfloat16):
        plain = model.predict(clip, 2, noise, False)
    fast = sampled(model, clip, noise, bfloat16=True)
    assert fast.dtype == torch.float32
    assert (fast - exact).square().mean() < 1.5 * (plain - exact).square().mean()


def test_a_state_stays_as_it_was_and_can_be_branched():
    spec = made_up(64, 64, 3)
    model, clip = moving_model(spec), random_clip(spec)
    sampler = model.sampler(bfloat16=True)
    state = sampler.observe(clip.float_frames(torch.float32)[:2], clip.actions[:1], clip.states[:2])
    first, _ = sampler.imagine(state, clip.actions[1])
    again, _ = sampler.imagine(state, clip.actions[1])
    torch.testing.assert_close(again, first, rtol=0, atol=0)
    branches, _ = sampler.imagine(state.repeat(2), clip.actions[1].repeat_interleave(2, dim=0))
    torch.testing.assert_close(branches[::2], branches[1::2])
    torch.testing.assert_close(branches[::2], first, rtol=0, atol=1e-2)


def test_it_leaves_the_model_as_it_was():
    spec = made_up(64, 64, 3)
    model, clip = moving_model(spec), random_clip(spec)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sampled(model, clip, None, bfloat16=True)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    still = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert all("state_predictor" in name for name in still)


@pytest.mark.parametrize("states_given", [False, True])
@torch.no_grad()
def test_with_a_mirror_the_future_of_the_mirror_image_is_the_future_in_the_mirror(
    states_given: bool,
):
    spec = made_up(24, 40, 3)
    changes = {"latent_channels": 0, "guided_flows": True, "sharp_sampling": True}
    model = moving_model(spec, mirror="dx,x", **changes).double()
    clip, mirror = random_clip(spec), Mirror("dx,x", spec)
    future = sampled(model, clip, None, states_given=states_given)
    of_image = sampled(model, mirror.clip(clip), None, states_given=states_given)
    torch.testing.assert_close(of_image, mirror.picture(future), rtol=0, atol=1e-10)
    alone = sampled(moving_model(spec, **changes).double(), clip, None, states_given=states_given)
    assert (alone - future).abs().max() > 1e-2, "the model was alike by itself"


def test_a_state_with_a_mirror_can_be_branched():
    spec = made_up(24, 40, 3)
    model, clip = moving_model(spec, latent_channels=0, mirror="dx,x").double(), random_clip(spec)
    sampler = model.sampler(bfloat16=False)
    state = sampler.observe(clip.float_frames(model.dtype)[:2], clip.actions[:1], clip.states[:2])
    _, state = sampler.imagine(state, clip.actions[1])
    chosen = torch.tensor([2, 0, 2])
    frame, _ = sampler.imagine(state, clip.actions[2])
    branches, _ = sampler.imagine(state.take(chosen), clip.actions[2][chosen])
    torch.testing.assert_close(branches, frame[chosen], rtol=0, atol=1e-12)


def test_what_is_expected_is_asked_in_the_mirror_too_and_what_is_drawn_is_not():
    spec = made_up(24, 40, 3)
    drawing = {"latent_flows": True, "latent_channels": 3, "guided_flows": True}
    model = moving_model(spec, mirror="dx,x", **drawing).double()
    alone = moving_model(spec, **drawing).double()
    clip, mirror = random_clip(spec), Mirror("dx,x", spec)
    noise = torch.randn(4, 3, model.latent_dim).double()
    drawn = sampled(model, clip, noise)
    torch.testing.assert_close(drawn, sampled(alone, clip, noise), rtol=0, atol=0)
    expected = sampled(model, clip, None)
    turned = mirror.picture(sampled(alone, mirror.clip(clip), None))
    torch.testing.assert_close(expected, (sampled(alone, clip, None) + turned) / 2)


def test_a_mirror_is_refused_where_futures_are_drawn_by_a_spatial_latent():
    with pytest.raises(UserError, match=r"needs model.latent_channels 0 or"):
        dataclasses.replace(SMALL, mirror="dx")
