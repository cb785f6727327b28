"""How things are pushed is learned from recordings, and left alone where it cannot be."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from framecast.clip import Clip, ClipSpec
from framecast.data.episodes import Episode, EpisodeStore
from framecast.data.windows import Windows
from framecast.models.config import WarpConfig
from framecast.models.sprites import bent
from framecast.models.thing_motion import ThingMotion
from framecast.models.things import CROP, FACTS
from framecast.models.warp import WarpModel
from framecast.training import things as fitting
from framecast.training.things import fit_things
from tests.models.test_sprites import paint
from tests.training.test_sprites import recorded

SMALL = WarpConfig(
    num_flows=2,
    latent_channels=0,
    fine_width=8,
    middle_width=8,
    coarse_width=8,
    guided_flows=True,
    sprites=1,
    things=2,
)
ROBOT, THING = (1.0, 0.0, 0.0), (40, 90, 220)
HALF, NUM_FRAMES = 5, 8


def episode(seed: int, pushes: bool) -> Episode:
    """A red square that goes right, and pushes a blue one before it, if it `pushes`."""
    random = np.random.default_rng(seed)
    x, y = random.uniform(8, 14), random.uniform(20, 44)
    robot = np.stack([x + np.cumsum(random.uniform(2, 5, NUM_FRAMES)), np.full(NUM_FRAMES, y)], 1)
    robot = robot.round()
    side = robot[0, 0] + 2 * HALF + random.integers(0, 9)
    frames = np.full((NUM_FRAMES, 64, 64, 3), 120, np.uint8)
    for frame, (right, down) in zip(frames, robot.astype(int), strict=True):
        if pushes:
            side = max(side, right + 2 * HALF)
        else:
            side += random.integers(-3, 4)
        _paint(frame, int(side), int(y), THING)
        _paint(frame, right, down, (255, 0, 0))
    actions = np.diff(robot, axis=0).astype(np.float32)
    return Episode(frames, actions, (robot - 32).astype(np.float32), f"push {seed}")


def _paint(frame: np.ndarray, x: int, y: int, colour: tuple[int, int, int]) -> None:
    frame[y - HALF : y + HALF, max(0, x - HALF) : x + HALF] = colour


def fitted(store: EpisodeStore, **changes: object) -> WarpModel:
    torch.manual_seed(0)
    model = WarpModel(dataclasses.replace(SMALL, **changes), store.spec, num_context=2).eval()
    conditioner, sprites = model.conditioner, model.sprites
    assert sprites is not None
    assert conditioner.state is not None
    paint(sprites, 0, ROBOT, HALF)
    for axis in range(2):  # drawn where the state says
        weight = -2 * conditioner.state.std[axis] / 64
        sprites.pose.weight.data[2 + 3 * axis, axis] = weight
        middle = 2 * conditioner.state.mean[axis] / 64
        sprites.pose.bias.data[2 + 3 * axis] = -middle
    scale = conditioner.state.std
    conditioner.next_state = lambda state, action, _: (  # type: ignore[method-assign]
        state
        + (conditioner.action(action) * conditioner.action.std + conditioner.action.mean) / scale
    )
    told: list[str] = []
    fit_things(model, store, lambda what, *_: told.append(what))
    assert set(told) == {
        "following what is pushed",
        "how things are pushed",
    }
    assert model.things is not None
    assert not any(weight.requires_grad for weight in model.things.parameters())
    return model


@pytest.fixture(scope="module")
def pushes(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    folder = tmp_path_factory.mktemp("pushes") / "data"
    return recorded(folder, [episode(seed, pushes=True) for seed in range(60)])


@torch.no_grad()
def predicted(model: WarpModel, clip: Clip) -> torch.Tensor:
    """By how much the thing of each clip has moved at every later frame: (P, B)."""
    frames = clip.float_frames(model.dtype)
    assert clip.states is not None
    state = model.observe(frames[:2], clip.actions[:1], clip.states[:2])
    ways = []
    for action, given in zip(clip.actions[1:], clip.states[2:], strict=True):
        _, state = model.imagine(state, action, None, given)
        assert state.things is not None
        ways.append(state.things.poses[..., 0].sum(dim=1))
    return torch.stack(ways)


def true_ways(clip: Clip) -> torch.Tensor:
    blue = (clip.frames[:, :, 2] > 200) & (clip.frames[:, :, 0] < 100)
    right = (blue * torch.arange(64)).amax(dim=(2, 3))
    return (right[2:] - right[1]).float()


def test_it_says_how_far_things_will_be_pushed(pushes: EpisodeStore, tmp_path: Path):
    model = fitted(pushes)
    unseen = recorded(tmp_path / "unseen", [episode(seed, pushes=True) for seed in range(100, 112)])
    windows = Windows(unseen, NUM_FRAMES)
    clip = windows.at(windows.starts)
    true, made = true_ways(clip), predicted(model, clip)
    assert (true[-1] > 6).sum() > 8
    assert (made - true).abs().mean() < 0.25 * true.mean()
    assert (made - true)[true == 0].abs().max() < 1.5


@torch.no_grad()
def test_the_hand_is_found_among_the_things_that_it_pushes(pushes: EpisodeStore):
    model = fitted(pushes)
    assert model.things is not None
    states = torch.tensor([[-16.0, -8.0], [0.0, 4.0], [12.0, 8.0]])  # pixels from the middle
    places = model.things.hand(bent(model.conditioner.standard_states(states)))
    ahead, aside = (places - states).T
    assert ((ahead > -2) & (ahead < 2 * HALF + 2)).all(), "in the robot or before it"
    assert aside.abs().max() < 2


@torch.no_grad()
def test_a_hand_is_found_whichever_way_it_pushes_and_among_what_it_does_not_push(spec: ClipSpec):
    torch.manual_seed(0)
    motion = ThingMotion(2, spec, num_condition=6)
    state, ahead = torch.randn(400, 2), functional.normalize(torch.randn(400, 2))
    ahead[:, 0] += (state[:, 0] > 0) * 2.0  # pushed to the right where it is on the right
    ahead = functional.normalize(ahead)
    middles = 8 * state + 5 * ahead
    middles[:60] += torch.tensor([25.0, 10.0])  # what moves there is not pushed by the hand
    told = torch.zeros(400, 6 + FACTS)
    told[:, motion.of_state] = state
    told[:, 6:8] = middles / 32
    steps = torch.cat([2 * ahead, torch.zeros(400, 1)], dim=1)
    assert fitting._place_hand(motion, fitting._Samples(torch.zeros(400, 1, 1, 1), told, steps))
    asked = torch.tensor([[0.0, 0.0], [1.0, -1.0], [-1.0, 0.5]])
    torch.testing.assert_close(motion.hand(bent(asked)), 8 * asked, rtol=0, atol=0.8)


def test_it_says_where_it_cannot_tell_how_far(spec: ClipSpec):
    torch.manual_seed(0)
    motion = ThingMotion(2, spec, num_condition=6)
    told, steps = torch.zeros(1500, 6 + FACTS), torch.randn(1500, 3)
    open_ahead = torch.arange(1500) % 2 == 0
    told[:, 0] = open_ahead.float()
    steps = torch.tensor([2.0, 0.0, 0.0]) + steps * torch.where(open_ahead, 1.5, 0.3)[:, None]
    crops = torch.zeros(1500, 4 + 2 * spec.channels, CROP, CROP, dtype=torch.int8)
    fitting._fit(motion, fitting._Samples(crops, told, steps), lambda *_: None)
    with torch.no_grad():
        made, spread = motion(crops[:2].float(), told[:2])
    torch.testing.assert_close(made[:, 0], torch.tensor([2.0, 2.0]), rtol=0, atol=0.3)
    torch.testing.assert_close(spread[:, 0], torch.tensor([1.5, 0.3]), rtol=0.2, atol=0)


def test_in_a_mirror_too(pushes: EpisodeStore):
    model = fitted(pushes, mirror="dx,x")
    assert model.mirror is not None
    windows = Windows(pushes, NUM_FRAMES)
    clip = windows.at(windows.starts[:8])
    true, made = true_ways(clip), predicted(model, model.mirror.clip(clip))
    assert (made + true).abs().mean() < 0.4 * true.mean()  # standing still has 1


def test_where_nothing_can_be_told_things_stay(tmp_path: Path):
    store = recorded(tmp_path / "restless", [episode(seed, pushes=False) for seed in range(24)])
    model = fitted(store)
    assert model.things is not None
    assert all(
        float(layer.weight.abs().max()) == 0 for layer in (model.things.step, model.things.weigh)
    )


def test_a_model_without_things_has_nothing_to_fit(pushes: EpisodeStore):
    model = WarpModel(dataclasses.replace(SMALL, things=0), pushes.spec, num_context=2)
    fit_things(model, pushes, lambda *_: pytest.fail("nothing to fit"))


def test_too_few_recordings_are_no_reason_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = recorded(tmp_path / "one", [episode(0, pushes=True)])
    monkeypatch.setattr(fitting, "_fit", lambda *_: pytest.fail("too few to learn from"))
    model = WarpModel(SMALL, store.spec, num_context=2).eval()
    fit_things(model, store)
    assert model.things is not None
    assert float(model.things.step.weight.abs().max()) == 0
