"""The shade: lines that the state and the light draw, and what they take off a frame."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from framecast.clip import ClipSpec
from framecast.errors import UserError
from framecast.models.config import WarpConfig
from framecast.models.shade import LIGHT, Shade, lit
from framecast.models.sprites import Cover
from framecast.models.warp import WarpModel

SMALL = WarpConfig(
    num_flows=2, latent_channels=0, fine_width=8, middle_width=8, coarse_width=8, sprites=1
)
CERTAIN = 20.0


@torch.no_grad()
def band(shade: Shade) -> None:
    """Half of the light is lost between two upright lines, a quarter of the picture apart, in the
    middle of it for a state of 0, and a quarter to the right for one of 1."""
    for weight in shade.parameters():
        weight.zero_()
    last, joins = shade.lines[-1], shade.joins[0]
    assert isinstance(last, nn.Linear)
    assert isinstance(joins, nn.Conv1d)
    assert shade.says.bias is not None
    left, right = slice(0, 3), slice(3, 6)  # each positive outside
    last.bias[left] = CERTAIN * torch.tensor([-0.25, -1.0, 0.0])
    last.bias[right] = CERTAIN * torch.tensor([-0.25, 1.0, 0.0])
    joins.weight[0, :2] = CERTAIN
    shade.says.weight[0, 0] = -CERTAIN
    shade.says.bias.fill_(CERTAIN)
    shade.anchor.weight[0, 0] = 0.5


@torch.no_grad()
def test_it_goes_with_the_state(spec: ClipSpec):
    shade = Shade(spec)
    band(shade)
    states = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 3.0]])
    drawn = shade(states, torch.zeros(3, LIGHT))
    for picture, middle in zip(drawn[:, 0], (32, 48, 16), strict=True):
        dark = torch.zeros(64)
        dark[middle - 8 : middle + 8] = 0.5
        edges = torch.ones(64, dtype=torch.bool)
        edges[[middle - 9, middle - 8, middle + 7, middle + 8]] = False
        expected = dark.expand(64, 64)
        torch.testing.assert_close(picture[:, edges], expected[:, edges], rtol=0, atol=1e-4)


@torch.no_grad()
def test_some_pixels_are_as_in_the_whole_picture(spec: ClipSpec):
    torch.manual_seed(0)
    shade = Shade(spec)
    shade.begin(torch.Generator().manual_seed(0))
    states, light = torch.randn(5, 2), torch.randn(5, LIGHT)
    pixels = torch.tensor([0, 70, 4095])
    whole = shade(states, light).flatten(2)
    assert whole.std() > 1e-3
    torch.testing.assert_close(shade(states, light, pixels), whole[:, :, pixels])


@torch.no_grad()
def test_the_light_is_the_average_over_the_frames_of_a_context(spec: ClipSpec):
    shade = Shade(spec)
    shade.begin(torch.Generator().manual_seed(0))
    frames, robots = torch.rand(2, 3, 3, 64, 64), torch.rand(2, 3, 4, 64, 64)
    states = torch.randn(2, 3, 2)
    both = shade.light(frames, robots, states)
    alone = [shade.light(frames[k : k + 1], robots[k : k + 1], states[k : k + 1]) for k in (0, 1)]
    torch.testing.assert_close(both, (alone[0] + alone[1]) / 2)
    assert (alone[0] - alone[1]).abs().max() > 1e-4


@torch.no_grad()
def test_it_is_as_if_it_were_not_there_before_it_is_fitted(spec: ClipSpec):
    torch.manual_seed(0)
    with_shade = WarpModel(dataclasses.replace(SMALL, shade=True), spec, num_context=2).eval()
    without = WarpModel(SMALL, spec, num_context=2).eval()
    weights = with_shade.state_dict()
    without.load_state_dict({k: v for k, v in weights.items() if not k.startswith("shade.")})
    frames, actions = torch.rand(2, 3, 3, 64, 64), torch.randn(4, 3, 2)
    states = torch.randn(2, 3, 2)
    seen, other = (
        model.rollout(model.observe(frames, actions[:1], states), actions, None)
        for model in (with_shade, without)
    )
    torch.testing.assert_close(seen, other, rtol=0, atol=1e-6)


@torch.no_grad()
def test_the_model_sees_frames_without_it_and_shows_them_with_it(spec: ClipSpec):
    torch.manual_seed(0)
    model = WarpModel(dataclasses.replace(SMALL, shade=True), spec, num_context=2).eval()
    assert model.shade is not None
    band(model.shade)
    plain = 0.9 * torch.rand(2, 2, 3, 64, 64)
    states = torch.tensor([[-2.0, 0.0], [0.0, 0.0]])[:, None].expand(2, 2, 2)
    standard = model.conditioner.standard_states(states)
    assert standard is not None
    light = torch.zeros(2, LIGHT)
    dark = torch.stack([plain[k] * (1 - model.shade(standard[k], light)) for k in (0, 1)])
    assert (plain - dark).max() > 0.3
    state = model.observe(dark, torch.zeros(1, 2, 2), states)
    torch.testing.assert_close(state.frame, plain[1], rtol=0, atol=1e-5)
    assert state.light is not None
    shown, after = model.imagine(state, torch.zeros(2, 2), None, states[0])
    cover = model.covering.step(state.robot_state, torch.zeros(2, 2), state.before, state.light)
    assert cover is not None
    assert cover.shade_then is not None
    assert cover.shade_then.max() > 0.4
    torch.testing.assert_close(shown, after.frame * (1 - cover.shade_then), rtol=0, atol=1e-5)


def test_a_black_frame_in_a_shade_that_takes_all_light_stays_black():
    robot, shade = torch.zeros(1, 4, 8, 8), torch.ones(1, 1, 8, 8)
    black = torch.zeros(1, 3, 8, 8)
    assert torch.equal(lit(black, Cover(robot, robot, shade, shade)), black)


def test_it_needs_sprites():
    with pytest.raises(UserError, match=r"model.shade needs model.sprites, got 0"):
        dataclasses.replace(SMALL, sprites=0, shade=True)
