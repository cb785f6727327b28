"""Sprites are drawn where the state says, one over the other."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from framecast.clip import ClipSpec
from framecast.models.sprites import SPAN, UNSEEN, Sprites, behind, guessed, over
from tests.conftest import vector

RED = (1.0, 0.0, 0.0)
BLUE = (0.0, 0.0, 1.0)
CERTAIN = 20.0  # logit


def paint(sprites: Sprites, number: int, colour: tuple[float, ...], half: int) -> None:
    """A square of this colour and twice `half` pixels a side in the middle of a sprite."""
    picture = sprites.pictures[number]
    middle = slice(picture.shape[1] // 2 - half, picture.shape[1] // 2 + half)
    picture.fill_(-CERTAIN)
    picture[-1] = UNSEEN
    picture[-1, middle, middle] = CERTAIN
    for channel, value in enumerate(colour):
        picture[channel] = CERTAIN * (2 * value - 1)


@torch.no_grad()
def test_without_a_fit_the_robot_covers_nothing(spec: ClipSpec):
    assert float(Sprites(2, spec)(torch.randn(3, 2)).abs().max()) < 1e-7


@torch.no_grad()
def test_a_sprite_goes_with_the_state(spec: ClipSpec):
    sprites = Sprites(1, spec)
    paint(sprites, 0, RED, 4)
    # Its place in the sprite goes left where the robot goes right.
    sprites.pose.weight[2, 0] = -2 * 8 / 64
    sprites.pose.weight[5, 1] = -2 * 8 / 64
    drawn = sprites(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, -2.0]]))
    for picture, (x, y) in zip(drawn, [(32, 32), (40, 32), (32, 16)], strict=True):
        assert picture[:, y - 3 : y + 3, x - 3 : x + 3].mean(dim=(1, 2)).tolist() == pytest.approx(
            [1, 0, 0, 1], abs=1e-6
        )
        assert picture[-1].sum() == pytest.approx(64, abs=1)


@torch.no_grad()
def test_the_last_sprite_lies_on_top(spec: ClipSpec):
    sprites = Sprites(2, spec)
    paint(sprites, 0, BLUE, 8)
    paint(sprites, 1, RED, 4)
    drawn = sprites(torch.zeros(1, 2))[0]
    assert drawn[:, 32, 32].tolist() == pytest.approx([*RED, 1], abs=1e-6)
    assert drawn[:, 32, 26].tolist() == pytest.approx([*BLUE, 1], abs=1e-6)
    assert drawn[:, 32, 20].tolist() == pytest.approx([0, 0, 0, 0], abs=1e-6)


def test_a_layer_hides_as_much_as_it_is_opaque():
    picture = torch.tensor([[[0.2], [0.4]]])
    layer = torch.tensor([[[0.75], [0.0], [0.75]]])  # of colour (1, 0), opacity .75
    torch.testing.assert_close(over(picture, layer), torch.tensor([[[0.8], [0.1]]]))


def test_behind_the_robot_is_what_was_expected_there():
    expected = torch.rand(2, 3, 4, 4)
    robot = robot_of(4, 4, (slice(None), slice(0, 1)))
    frame = torch.where(robot[:, -1:] > 0, robot[:, :-1], torch.rand(2, 3, 4, 4))
    seen = behind(frame, expected, robot)
    torch.testing.assert_close(seen[..., 0], expected[..., 0])
    torch.testing.assert_close(seen[..., 1:], frame[..., 1:])


def test_what_has_another_colour_than_the_robot_stays_where_that_may_be():
    frame = torch.tensor(BLUE)[None, :, None, None].expand(1, 3, 1, 4).clone()
    frame[0, :, 0, 1] = torch.tensor(RED) * 0.9  # the robot, not quite as it is drawn
    robot = robot_of(1, 4, (slice(None), slice(0, 2)), opacity=0.5)
    seen = behind(frame, torch.zeros_like(frame), robot)
    torch.testing.assert_close(seen[..., 0], frame[..., 0])
    assert seen[..., 1].max() < 0.05
    torch.testing.assert_close(seen[..., 2:], frame[..., 2:])


@pytest.mark.parametrize("size", [(64, 64), (40, 48)])
def test_before_anything_is_known_the_colours_around_are_guessed(size: tuple[int, int]):
    robot = robot_of(*size, (slice(4, 12), slice(2, 8)))
    table = torch.full((1, 3, *size), 0.3)
    table[..., size[1] // 2 :] = 0.6
    frame = torch.where(robot[:, -1:] > 0, robot[:, :-1], table)
    shown = guessed(frame, robot)
    assert (shown[..., 4:12, 2:8] - 0.3).abs().max() < 0.1
    torch.testing.assert_close(shown[..., 12:, :], frame[..., 12:, :])
    everywhere = robot_of(*size, (slice(None), slice(None)))
    assert guessed(everywhere[:, :-1], everywhere).isfinite().all()  # nothing else seen at all


def robot_of(height: int, width: int, place: tuple[slice, slice], opacity: float = 1.0) -> Tensor:
    """A red robot, as sprites draw it, in a part of the picture."""
    robot = torch.zeros(1, 4, height, width)
    robot[(0, slice(None), *place)] = opacity * torch.tensor([*RED, 1.0])[:, None, None]
    return robot


def test_where_there_are_many_states_the_map_is_linear_in_them(spec: ClipSpec):
    assert spec.state is not None
    few, many = Sprites(1, spec), Sprites(1, wide(spec))
    assert few.pose.in_features == 2 + 3
    assert many.pose.in_features == 26
    assert many(torch.randn(2, 26)).shape == (2, 4, 64, 64)
    assert round(SPAN * 64) == few.pictures.shape[-1]


def wide(spec: ClipSpec) -> ClipSpec:
    return dataclasses.replace(spec, state=vector(tuple(f"joint{k}" for k in range(26))))
