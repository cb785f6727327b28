"""The shade is fitted to what gets darker beside the robot, and dropped where nothing does."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from framecast.data.episodes import Episode, EpisodeStore
from framecast.data.writer import DatasetWriter, Header
from framecast.models.warp import WarpModel
from framecast.training import shade
from framecast.training.shade import fit_shade
from tests.training import test_sprites

SMALL = dataclasses.replace(test_sprites.SMALL, shade=True)
SIDE, HALF, FRAMES = 32, 3, 10
LOST = 0.5


def episode(seed: int, side: int, casts: bool = True) -> Episode:
    """A red square that casts a shadow to its left (`side` -1) or right, over grey of its own."""
    random = np.random.default_rng(seed)
    grey = random.integers(120, 220) + random.integers(-8, 8, (SIDE, SIDE, 1))
    places = random.uniform(10, SIDE - 10, (FRAMES, 2))
    frames = np.repeat(np.repeat(grey, 3, axis=2)[None], FRAMES, axis=0).astype(np.float64)
    for frame, (x, y) in zip(frames, places.round().astype(int), strict=True):
        if casts:
            frame[shadow(x, y, side)] *= 1 - LOST
        frame[y - HALF : y + HALF, x - HALF : x + HALF] = (220, 40, 30)
    actions = np.diff(places, axis=0).astype(np.float32)
    return Episode(frames.astype(np.uint8), actions, places.astype(np.float32), f"robot {seed}")


def shadow(x: int, y: int, side: int) -> tuple[slice, slice]:
    begins = x + HALF if side > 0 else x - 3 * HALF
    return slice(y - HALF, y + HALF), slice(max(0, begins), begins + 2 * HALF)


def fitted(folder: Path, casts: bool) -> WarpModel:
    units = ("px", "px")
    header = Header(SIDE, SIDE, 3, 5.0, ("dx", "dy"), units, ("x", "y"), units, "robot")
    with DatasetWriter(folder, header) as writer:
        for seed in range(60):
            writer.add("train", episode(seed, 1 if seed % 2 else -1, casts))
    store = EpisodeStore.open(folder, "train")
    torch.manual_seed(0)
    model = WarpModel(SMALL, store.spec, num_context=2)
    steps: list[tuple[int, int]] = []
    fit_shade(model, store, lambda _, done, of: steps.append((done, of)))
    assert [done for done, _ in steps] == list(range(1, steps[-1][1] + 1))
    return model


def drawn(model: WarpModel, seen: Episode, asked: Episode) -> np.ndarray:
    """The shade for the first state of one episode in the light of another."""
    assert model.shade is not None
    frames = torch.from_numpy(seen.frames[:2]).permute(0, 3, 1, 2)[:, None].float() / 255
    assert seen.states is not None
    assert asked.states is not None
    states = model.conditioner.standard_states(torch.from_numpy(seen.states[:2])[:, None])
    state = model.conditioner.standard_states(torch.from_numpy(asked.states[:1]))
    assert state is not None
    light = model.covering.light(frames, states)
    assert light is not None
    with torch.no_grad():
        return model.shade(state, light)[0, 0].numpy()


def test_it_lies_where_the_light_of_an_unseen_episode_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shade, "STEPS", 300)
    monkeypatch.setattr(shade, "RATE", 6e-3)
    model = fitted(tmp_path / "robots", casts=True)
    assert model.shade is not None
    assert not any(weight.requires_grad for weight in model.shade.parameters())
    found = {}
    for side in (-1, 1):
        shares = []
        for seed in range(100, 120):
            asked = episode(seed, side)
            assert asked.states is not None
            x, y = asked.states[0].round().astype(int)
            picture = drawn(model, episode(seed + 1000, side), asked)
            here = picture[shadow(x, y, side)].mean()
            shares.append((here, picture[shadow(x, y, -side)].mean()))
        found[side] = np.mean(shares, axis=0)
    for here, opposite in found.values():
        assert here > 0.7 * LOST
        assert opposite < 0.2 * LOST


def test_it_is_dropped_where_nothing_gets_darker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shade, "STEPS", 60)
    model = fitted(tmp_path / "robots", casts=False)
    one = episode(100, 1)
    assert float(drawn(model, one, one).max()) < 1e-6
