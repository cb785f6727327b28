"""Things are cut out of a picture and drawn where they have been pushed."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from framecast.clip import ClipSpec
from framecast.models.sprites import Cover
from framecast.models.thing_motion import ThingMotion, near, planes
from framecast.models.things import CROP, SLANT, Things
from tests.models.test_regions import BLUE, RED, TABLE, table_with

UPPER, LOWER = (slice(16, 24), slice(20, 32)), (slice(44, 52), slice(40, 52))
CONDITION = 2 + 2 + 2  # action, state, its change


@pytest.fixture
def motion(spec: ClipSpec) -> ThingMotion:
    torch.manual_seed(0)
    return with_hand(ThingMotion(3, spec, CONDITION))


@pytest.fixture
def things(motion: ThingMotion) -> Things:
    """Two pictures of a red and a blue thing."""
    picture = table_with((*UPPER, RED), (*LOWER, BLUE))
    return motion.find(picture.repeat(2, 1, 1, 1))


def with_hand(motion: ThingMotion, *place: float) -> ThingMotion:
    """The same with a hand that is always there, in units from the picture's middle."""
    nn.init.zeros_(motion.hand.weight)
    motion.hand.bias.data.copy_(torch.tensor(place or (-6.0, -8.0)))
    return motion


def pushed(things: Things, member: int, number: int, *pose: float) -> Things:
    poses = things.poses.clone()
    poses[member, number] = torch.tensor(pose)
    return things.posed(poses)


def robot_at(rows: slice, columns: slice, members: int = 2) -> Tensor:
    robot = torch.zeros(members, 4, 64, 64)
    robot[:, :, rows, columns] = 1.0
    return robot


def test_a_thing_that_has_not_moved_is_where_it_was_to_the_bit(things: Things):
    assert torch.equal(things.posed(things.poses).picture, things.still)
    there = pushed(things, 0, 0, 6.0, 3.0, 0.0)
    assert torch.equal(there.picture[1], things.still[1])
    back = pushed(there, 0, 0, 0.0, 0.0, 0.0)
    assert torch.equal(back.picture, things.still)
    assert back.steps[0, 0].tolist() == [-6, -3, 0]


def test_a_pushed_thing_leaves_the_table_and_covers_what_is_where_it_comes(things: Things):
    there = pushed(things, 0, 0, 6.0, 3.0, 0.0)
    expected = table_with((slice(19, 27), slice(26, 38), RED), (*LOWER, BLUE))[0]
    torch.testing.assert_close(there.picture[0], expected, rtol=0, atol=1e-5)
    over = pushed(things, 0, 0, 20.0, 28.0, 0.0).picture[0]
    torch.testing.assert_close(over[:, *LOWER], torch.tensor(RED)[:, None, None].expand(3, 8, 12))
    assert things.taken.sum() == 2 * 2 * 8 * 12
    assert there.taken[0].sum() == pytest.approx(2 * 8 * 12, abs=1e-3)
    assert things.moved.sum() == 0
    assert there.moved[0, 0, 19:27, 26:38].min() == pytest.approx(1, abs=1e-5)
    assert there.moved.sum() == pytest.approx(8 * 12, abs=1e-3), "not the blue one"


def test_what_lies_lower_in_the_picture_is_in_front(things: Things):
    both = pushed(things, 0, 0, 20.0, 25.0, 0.0)
    both = both.posed(both.poses + 1e-6 * (torch.arange(3) == 1)[None, :, None])
    torch.testing.assert_close(both.picture[0, :, 46, 46], torch.tensor(BLUE), rtol=0, atol=1e-4)


def test_a_thing_turns_on_a_plane_that_is_seen_at_an_angle(things: Things):
    turned = pushed(things, 0, 0, 0.0, 0.0, math.pi / 2)
    rows, columns = (turned.picture[0, 0] - turned.picture[0, 1] > 0.3).nonzero().T
    assert int(columns.max() - columns.min()) + 1 == pytest.approx(8 / SLANT, abs=1.1)
    assert int(rows.max() - rows.min()) + 1 == pytest.approx(12 * SLANT, abs=1.1)
    torch.testing.assert_close(turned.picture[0, :, 20, 20], torch.tensor(TABLE), rtol=0, atol=0.05)


def test_in_a_mirror_they_are_drawn_as_in_a_picture_that_is_flipped(things: Things):
    poses = torch.zeros(2, 3, 3)
    poses[0, 0], poses[1, 1] = torch.tensor([6.2, 3.0, 0.4]), torch.tensor([-4.0, 2.5, -1.0])
    there = things.posed(poses)
    mirrored = things.in_a_mirror().posed(poses * torch.tensor([-1.0, 1.0, -1.0]))
    for name in ("picture", "taken", "moved"):
        one, other = getattr(there, name), getattr(mirrored, name)
        torch.testing.assert_close(one.flip(-1), other, rtol=0, atol=1e-5)
    torch.testing.assert_close(there.in_a_mirror().homes, mirrored.homes)
    torch.testing.assert_close(there.in_a_mirror().steps, mirrored.steps)
    assert torch.equal(there.in_a_mirror().in_a_mirror().labels, there.labels)


def test_a_crop_shows_a_thing_in_its_middle_and_all_else_where_it_is(things: Things):
    there = pushed(things, 1, 1, 5.0, -7.0, 0.0)
    cover = Cover(robot_at(slice(30, 34), slice(0, 64)), robot_at(slice(0, 64), slice(50, 54)))
    picked = torch.tensor([0, 1]), torch.tensor([0, 1])
    crops = there.crops(planes(cover), *picked)
    assert crops.shape == (2, 10, CROP, CROP)
    half = CROP // 2
    assert crops[0, 0, half - 4 : half + 4, half - 6 : half + 6].min() == pytest.approx(1, abs=1e-5)
    assert crops[0, 0].sum() == pytest.approx(96, abs=1e-3)
    torch.testing.assert_close(crops[1, 0], crops[0, 0])
    # Around the second thing, whose middle is at (51, 41): the first is out of sight.
    assert crops[1, 1].max() < 1e-5
    shown = cover.now[1, -1, 25:57, 35:64]
    torch.testing.assert_close(crops[1, 5, :, : 64 - 35], shown, rtol=0, atol=1e-5)
    assert (crops[1, 2:, :, 64 - 35 :] == 0).all()


def test_things_that_no_robot_is_near_are_not_asked_for(things: Things):
    nowhere = torch.zeros(2, 4, 64, 64)
    assert len(near(things, Cover(nowhere, nowhere))[0]) == 0
    beside = robot_at(slice(16, 24), slice(34, 38))
    beside[1] = 0
    members, numbers = near(things, Cover(nowhere, beside))
    assert members.tolist() == [0]
    assert numbers.tolist() == [0]


def test_without_a_fit_things_stay(motion: ThingMotion, things: Things):
    robot = robot_at(slice(0, 64), slice(0, 64))
    for noise in (None, torch.randn(2, 3, 2)):
        after = motion.advance(things, Cover(robot, robot), torch.randn(2, CONDITION), noise)
        assert torch.equal(after.picture, things.still)


@torch.no_grad()
def test_things_move_as_the_network_says_and_not_by_less_than_is_seen(
    motion: ThingMotion, things: Things
):
    robot = robot_at(*UPPER)
    motion.step.bias.copy_(torch.tensor([3.0, -2.0, 2.0]))
    once = motion.advance(things, Cover(robot, robot), torch.randn(2, CONDITION))
    assert once.poses[:, 0].tolist() == [[3, -2, 0.5]] * 2
    assert (once.poses[:, 1:] == 0).all(), "far from the robot, and not there at all"
    twice = motion.advance(once, Cover(robot, robot), torch.randn(2, CONDITION))
    assert twice.poses[:, 0].tolist() == [[6, -4, 1]] * 2
    assert torch.equal(twice.steps, once.steps)
    motion.step.bias.copy_(torch.tensor([0.1, 0.1, 2.0]))
    still = motion.advance(twice, Cover(robot, robot), torch.randn(2, CONDITION))
    assert torch.equal(still.poses, twice.poses)
    assert (still.steps == 0).all()


@torch.no_grad()
def test_what_the_hand_does_not_reach_stays(motion: ThingMotion, things: Things):
    robot = robot_at(slice(0, 64), slice(0, 64))
    motion.step.bias.copy_(torch.tensor([3.0, -2.0, 2.0]))
    after = motion.advance(things, Cover(robot, robot), torch.randn(2, CONDITION))
    assert (after.poses[:, 0, 0] == 3).all()
    assert (after.poses[:, 1] == 0).all(), "30 units from the hand"


@torch.no_grad()
def test_in_a_picture_of_another_size_things_move_by_as_much_of_it(spec: ClipSpec):
    torch.manual_seed(0)
    motion = with_hand(ThingMotion(2, spec, CONDITION))
    torch.nn.init.normal_(motion.step.weight, 0.0, 1.0)
    small = table_with((*UPPER, RED))
    told, poses = torch.randn(1, CONDITION), []
    for factor in (1, 2):
        picture, robot = (
            x.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
            for x in (small, robot_at(slice(14, 22), slice(28, 36), members=1))
        )
        after = motion.advance(motion.find(picture), Cover(robot, robot), told)
        poses.append(after.poses[0, 0] / torch.tensor([factor, factor, 1]))
    assert poses[0].abs().min() > 0.05
    torch.testing.assert_close(poses[0], poses[1], rtol=0.1, atol=0.05)


@torch.no_grad()
def test_a_drawn_way_differs_from_the_expected_by_its_spread(motion: ThingMotion, things: Things):
    robot, condition = robot_at(slice(0, 64), slice(0, 64)), torch.randn(2, CONDITION)
    cover, noise = Cover(robot, robot), torch.randn(2, 3, 2)
    spread = torch.tensor([0.5, 2.0])
    motion.step.bias.copy_(torch.tensor([3.0, -2.0, 2.0]))
    motion.spread.bias.copy_(2 * spread.log())
    expected = motion.advance(things, cover, condition).poses[:, 0]
    gap = motion.advance(things, cover, condition, noise).poses[:, 0] - expected
    torch.testing.assert_close(gap[:, :2], noise[:, 0] * spread)
    assert (gap[:, 2] == 0).all(), "turns are as expected"


def test_a_picture_without_things_stays(motion: ThingMotion):
    things = motion.find(table_with())
    robot = robot_at(slice(0, 64), slice(0, 64), members=1)
    after = motion.advance(things, Cover(robot, robot), torch.randn(1, CONDITION))
    assert torch.equal(after.picture, things.still)
    assert things.taken.max() == 0


@torch.no_grad()
def test_with_a_mirror_a_step_is_the_mean_of_what_is_said_of_both(spec: ClipSpec):
    torch.manual_seed(0)
    signs = torch.tensor([-1.0, 1.0] * (CONDITION // 2))
    offsets = torch.zeros(CONDITION).index_fill(0, torch.tensor([0, 2]), 0.3)
    motion = with_hand(ThingMotion(3, spec, CONDITION, (signs, offsets)), 0.0, -2.0)
    torch.nn.init.normal_(motion.hand.weight[:, 1], 0.0, 1.0)
    torch.nn.init.normal_(motion.step.weight, 0.0, 1.0)
    things = motion.find(table_with((*UPPER, RED), (*LOWER, BLUE)))
    things = things.posed(torch.tensor([[1.0, 2.0, 0.2], [-3.0, 0.5, 0.0], [0.0, 0.0, 0.0]])[None])
    robot = torch.rand(1, 4, 64, 64)
    cover, condition = Cover(robot, robot.flip(2)), torch.randn(1, CONDITION)
    turned = Cover(cover.now.flip(-1), cover.then.flip(-1))
    after = motion.advance(things, cover, condition)
    mirrored = motion.advance(things.in_a_mirror(), turned, condition * signs + offsets)
    assert after.steps[0, :2].abs().max() > 0.1
    torch.testing.assert_close(after.poses, mirrored.in_a_mirror().poses, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after.steps, mirrored.in_a_mirror().steps, rtol=1e-4, atol=1e-4)
