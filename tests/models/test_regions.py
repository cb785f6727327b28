"""Regions are what has one colour and the size of a thing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from framecast.models.regions import find_regions

TABLE = (0.6, 0.58, 0.55)
RED, BLUE, GREEN = (0.8, 0.2, 0.2), (0.2, 0.3, 0.9), (0.2, 0.8, 0.3)


def table_with(*things: tuple[slice, slice, tuple[float, ...]], height: int = 64) -> Tensor:
    """A picture (1, 3, height, 64) with things of these rows, columns and colours on a table."""
    picture = torch.tensor(TABLE)[None, :, None, None].expand(1, 3, height, 64).clone()
    for rows, columns, colour in things:
        picture[0, :, rows, columns] = torch.tensor(colour)[:, None, None]
    return picture


def test_things_that_touch_are_told_apart_by_their_colours():
    upper, lower = (slice(10, 18), slice(20, 30)), (slice(18, 24), slice(20, 28))
    regions = find_regions(table_with((*lower, RED), (*upper, BLUE)), 4)
    labels = regions.labels[0]
    assert (labels[upper] == 0).all(), "from the top to the bottom"
    assert (labels[lower] == 1).all()
    assert int((labels >= 0).sum()) == 8 * 10 + 6 * 8
    assert regions.middles[0].tolist() == [[25, 14], [24, 21], [0, 0], [0, 0]]


def test_a_shadow_divides_no_thing_and_is_none():
    picture = table_with((slice(30, 42), slice(30, 42), RED))
    picture[:, :, 20:60, 36:50] *= 0.4
    labels = find_regions(picture, 4).labels[0]
    assert (labels[30:42, 30:42] == 0).all()
    assert int((labels >= 0).sum()) == 144


def test_ground_specks_and_what_is_long_are_no_things():
    picture = table_with(
        (slice(0, 25), slice(0, 25), BLUE),  # too large
        (slice(50, 52), slice(10, 12), RED),  # too small
        (slice(60, 63), slice(20, 60), GREEN),  # too long
    )
    assert (find_regions(picture, 4).labels == -1).all()
    assert (find_regions(table_with(), 4).labels == -1).all()


def test_the_largest_are_taken():
    things = [(slice(8 * k, 8 * k + 2 + k), slice(10, 16), RED) for k in range(1, 6)]
    labels = find_regions(table_with(*things), 2).labels[0]
    assert labels[:, 10].unique().tolist() == [-1, 0, 1]
    assert (labels[32:38, 10] == 0).all()
    assert (labels[40:47, 10] == 1).all()


def test_the_edge_that_is_mixed_with_the_table_belongs_to_a_thing():
    picture = table_with((slice(20, 30), slice(20, 30), RED))
    picture[0, :, 20:30, 30] = (torch.tensor(RED)[:, None] + torch.tensor(TABLE)[:, None]) / 2
    assert (find_regions(picture, 4).labels[0, 20:30, 30] == 0).all()


def test_a_picture_has_the_same_regions_whatever_is_beside_it():
    pictures = torch.rand(3, 3, 24, 40).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    together = find_regions(pictures, 5)
    for number, picture in enumerate(pictures):
        alone = find_regions(picture[None], 5)
        assert torch.equal(alone.labels[0], together.labels[number])
        assert torch.equal(alone.middles[0], together.middles[number])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_winding_region_is_one(channels: int):
    """As long a way from one end to the other as fits into a thing."""
    picture = torch.full((1, channels, 64, 64), 0.2)
    winding = torch.zeros(19, 19, dtype=torch.bool)
    for row in range(0, 18, 5):
        winding[row : row + 2] = True
        winding[row + 2 : row + 5, 17 * (row % 2) : 17 * (row % 2) + 2] = True
    picture[0, :, 20:39, 20:39][:, winding] = 0.9 if channels == 1 else torch.tensor(RED)[:, None]
    labels = find_regions(picture, 4).labels[0]
    assert torch.equal(labels[20:39, 20:39] == 0, winding)
    assert int((labels >= 0).sum()) == int(winding.sum())
