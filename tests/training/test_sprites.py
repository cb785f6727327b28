"""Sprites are fitted to what moves with the state, and dropped where nothing does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from framecast.data.episodes import Episode, EpisodeStore
from framecast.data.writer import DatasetWriter, Header
from framecast.models.config import WarpConfig
from framecast.models.sprites import Sprites
from framecast.models.warp import WarpModel
from framecast.training import sprites
from framecast.training.sprites import fit_sprites

SMALL = WarpConfig(
    num_flows=2, latent_channels=0, fine_width=8, middle_width=8, coarse_width=8, sprites=1
)
ROBOT = np.array([220, 40, 30])
HALF = 5  # pixels


def episode(seed: int, told: bool, pushes: bool = False) -> Episode:
    """A red square over a background of its own; `told` or not where it is.

    If it `pushes`, something pale stands near it wherever it is, here or there.
    """
    random = np.random.default_rng(seed)
    background = random.integers(60, 180, (1, 1, 3)) + random.integers(-8, 8, (64, 64, 3))
    places = random.uniform(10, 54, (12, 2))
    frames = np.repeat(background[None], len(places), axis=0)
    for frame, (x, y) in zip(frames, places.round().astype(int), strict=True):
        if pushes:
            right, down = np.array([x, y]) + random.integers(-HALF, HALF, 2)
            frame[max(0, down - HALF) : down + HALF, max(0, right - HALF) : right + HALF] = 210
        frame[y - HALF : y + HALF, x - HALF : x + HALF] = ROBOT
    states = places if told else random.uniform(10, 54, places.shape)
    actions = np.diff(states, axis=0).astype(np.float32)
    return Episode(frames.astype(np.uint8), actions, states.astype(np.float32), f"robot {seed}")


def recorded(folder: Path, episodes: list[Episode]) -> EpisodeStore:
    units = ("px", "px")
    header = Header(64, 64, 3, 5.0, ("dx", "dy"), units, ("x", "y"), units, "robot")
    with DatasetWriter(folder, header) as writer:
        for one in episodes:
            writer.add("train", one)
    return EpisodeStore.open(folder, "train")


def fitted(folder: Path, told: bool, pushes: bool = False) -> WarpModel:
    store = recorded(folder, [episode(seed, told, pushes) for seed in range(20)])
    torch.manual_seed(0)
    model = WarpModel(SMALL, store.spec, num_context=2)
    assert isinstance(model.sprites, Sprites)
    steps: list[tuple[int, int]] = []
    fit_sprites(model, store, lambda _, done, of: steps.append((done, of)))
    assert [done for done, _ in steps] == list(range(1, steps[-1][1] + 1))
    assert not any(weight.requires_grad for weight in model.sprites.parameters())
    return model


def test_they_show_a_robot_that_was_never_seen_where_its_state_says(tmp_path: Path):
    model = fitted(tmp_path / "robots", told=True)
    assert model.sprites is not None
    states = torch.tensor([[20.0, 20.0], [44.0, 20.0], [30.0, 45.0]])
    standard = model.conditioner.standard_states(states)
    assert standard is not None
    drawn = model.sprites(standard)
    rows, columns = np.mgrid[:64, :64] + 0.5
    for picture, place in zip(drawn, states.numpy(), strict=True):
        opacity = picture[-1].numpy() > 0.5
        seen = np.array([(columns * opacity).sum(), (rows * opacity).sum()]) / opacity.sum()
        assert np.abs(seen - place).max() < 1.5
        x, y = place.astype(int)
        assert picture[:, y - 2 : y + 2, x - 2 : x + 2].mean(dim=(1, 2)).numpy() == pytest.approx(
            [*ROBOT / 255, 1], abs=0.1
        )


def test_what_is_often_near_the_robot_leaves_no_haze_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    around = np.abs(np.mgrid[:64, :64] + 0.5 - 32).max(axis=0)
    near = torch.from_numpy((around > HALF + 2) & (around < 2 * HALF))
    hazes = []
    for weight in (sprites.HAZE, 0.0):
        monkeypatch.setattr(sprites, "HAZE", weight)
        model = fitted(tmp_path / f"pushing {weight}", told=True, pushes=True)
        assert model.sprites is not None
        assert model.conditioner.state is not None
        opacity = model.sprites(model.conditioner.state(torch.tensor([[32.0, 32.0]])))[0, -1]
        assert opacity[30:34, 30:34].min() > 0.9
        hazes.append(float(opacity[near].mean()))
    assert hazes[0] < 0.6 * hazes[1]


def test_they_are_dropped_where_the_state_says_nothing_of_what_is_seen(tmp_path: Path):
    model = fitted(tmp_path / "strangers", told=False)
    assert model.sprites is not None
    assert float(model.sprites(torch.randn(5, 2))[:, -1].max()) < 1e-6


def test_one_episode_leaves_none_to_judge_them(tmp_path: Path):
    store = recorded(tmp_path / "one", [episode(0, told=True)])
    model = WarpModel(SMALL, store.spec, num_context=2)
    fit_sprites(model, store)
    assert model.sprites is not None
    assert float(model.sprites(torch.randn(5, 2))[:, -1].max()) < 1e-6
