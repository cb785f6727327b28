"""Where in the picture the robot's hand is, learned from recordings alone.

Nobody tells framecast where the camera stands. Recordings hold the robot's position x, y, z beside
every frame, which is enough to learn the map from positions to pixels, in three steps:

1. Roughly: between two frames the picture changes where the arm moved. The middle, or the end on
   one side, of what changed is regressed on the position, for each axis the better of the three.
2. Sharply: pictures cut out around that pixel are aligned; where they agree most is the arm. This
   patch is searched in every frame near where it is expected, and a quadratic map is fitted to
   what was found, robustly, a few times over.
3. The contact: the arm's own changes look the same whether it moves left or right, but pushed
   things change the picture ahead of the hand only. Changes while moving one way minus the other
   way show where things are pushed, across the motion; two directions fix the point.

Shape letters: F frames, N points.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from framecast.data.episodes import EpisodeStore
from framecast.errors import UserError
from framecast.planning.robot import POSITION

Floats = NDArray[np.float64]
METHOD = 1  # raised when the method changes, so that saved maps are learned again
NUM_EPISODES = 160
NUM_TEMPLATES = 1200  # frames in which the patch is searched
MOVED = 0.12  # change of a channel that counts as moved
MIN_MOVED = 25  # pixels
PAD, WIDE, PATCH = 32, 14, 4  # pixels: border, half sizes of the cut-outs
SEARCH, FITS = (5, 5, 3, 3), 4
BESIDE = 5  # pixels from the hand, along its motion, where pushed things show
MAX_RESIDUAL = 2.0  # pixels, median


@dataclass(frozen=True)
class HandEye:
    """A learned HandMap, quadratic in the standardised position.

    Attributes:
        mean, std: (3,) of the positions.
        weights: (10, 2)
        inverse: (6, 2) of pixels at the contact height, quadratic too.
        contact_height: where the recordings are most of the time, in metres.
        residual: median distance between found and fitted pixels.
    """

    mean: Floats
    std: Floats
    weights: Floats
    inverse: Floats
    contact_height: float
    residual: float

    def pixels(self, positions: Floats) -> Floats:
        """Pixels (N, 2) of the hand at positions (N, 3)."""
        return _quadratic((positions - self.mean) / self.std) @ self.weights

    def places(self, pixels: Floats) -> Floats:
        """Positions x, y (N, 2) of the hand seen at pixels (N, 2), at the contact height."""
        return _quadratic(pixels / 32 - 1) @ self.inverse


def saved_hand_eye(file: Path, dataset: Path) -> HandEye:
    """The map of a dataset, from `file` if it was learned before, else learned and written there.

    Raises UserError as `learn_hand_eye` does.
    """
    key = {"dataset": str(dataset.resolve()), "method": METHOD}
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
        if {name: saved.pop(name) for name in key} == key:
            return HandEye(
                np.array(saved["mean"], np.float64).reshape(3),
                np.array(saved["std"], np.float64).reshape(3),
                np.array(saved["weights"], np.float64).reshape(10, 2),
                np.array(saved["inverse"], np.float64).reshape(6, 2),
                float(saved["contact_height"]),
                float(saved["residual"]),
            )
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        pass  # not there, or not what we wrote: it is only a copy of what can be learned again
    eye = learn_hand_eye(EpisodeStore.open(dataset, "train"))
    fields = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in dataclasses.asdict(eye).items()
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(json.dumps(key | fields, indent=1))
    os.replace(partial, file)
    return eye


def learn_hand_eye(store: EpisodeStore, num_episodes: int = NUM_EPISODES) -> HandEye:
    """Raises UserError where positions are not recorded or the arm is not found."""
    columns = _position_columns(store)
    frames, motion, places, moves = _transitions(store, columns, num_episodes)
    mean, std = places.mean(axis=0), places.std(axis=0).clip(1e-6)
    standard, middle = (places - mean) / std, (places - moves / 2 - mean) / std
    some = slice(None, None, max(1, len(frames) // NUM_TEMPLATES))
    found, residual = _sharpened(frames[some], standard[some], _rough(motion, middle))
    if residual > MAX_RESIDUAL:
        raise UserError(
            f"The robot's hand cannot be found in {store.path}: {residual:.1f} pixels are left "
            "between where it is and where its position says. Plan without an approach term."
        )
    found[0] += _contact_offset(motion, middle, moves / std, found)
    height = float(np.median(places[:, 2]))
    eye = HandEye(mean, std, found, np.zeros((6, 2)), height, residual)
    return HandEye(mean, std, found, _inverse(eye, places), height, residual)


def _position_columns(store: EpisodeStore) -> list[int]:
    spec = store.spec.state
    if spec is None or not set(POSITION) <= set(spec.names):
        raise UserError(
            f"{store.path} records no position x, y, z of the hand, so the way from pixels to "
            "metres cannot be learned."
        )
    return [spec.names.index(name) for name in POSITION]


def _transitions(
    store: EpisodeStore, columns: list[int], num_episodes: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """Frames, changes since the frame before, positions and moves of evenly spread episodes."""
    chosen = np.linspace(0, store.num_episodes - 1, min(num_episodes, store.num_episodes))
    parts: list[tuple[Floats, ...]] = []
    for index in chosen.astype(int):
        episode = store.episode(int(index))
        assert episode.states is not None
        frames = episode.frames.astype(np.float32) / 255
        position = episode.states[:, columns].astype(np.float64)
        change = np.abs(frames[1:] - frames[:-1]).max(axis=-1)
        parts.append((frames[1:], change, position[1:], position[1:] - position[:-1]))
    frames, change, place, move = (np.concatenate(part) for part in zip(*parts, strict=True))
    return frames, change, place, move


def _rough(motion: Floats, standard: Floats) -> Floats:
    """Linear weights (4, 2) from what changed: the best of middle, first and last per axis."""
    moved = motion > MOVED
    enough = moved.sum(axis=(1, 2)) > MIN_MOVED
    inputs = _linear(standard[enough])
    columns = []
    for axis in (2, 1):
        profile = moved[enough].sum(axis=3 - axis).astype(np.float64)
        share = np.cumsum(profile, axis=1) / profile.sum(axis=1, keepdims=True)
        grid = np.arange(profile.shape[1]) + 0.5
        ends = [(share < level).sum(axis=1) + 0.5 for level in (0.05, 0.95)]
        choices = [(profile @ grid) / profile.sum(axis=1), *ends]
        fits = [(_robust(inputs, values[:, None]), values) for values in choices]
        explained = [
            1 - np.square(np.minimum(residual, 6)).mean() / values.var()
            for (_, residual), values in fits
        ]
        columns.append(fits[int(np.argmax(explained))][0][0])
    return np.concatenate(columns, axis=1)


def _sharpened(frames: Floats, standard: Floats, rough: Floats) -> tuple[Floats, float]:
    """Quadratic weights (10, 2) by matching the patch that looks the same everywhere."""
    padding = ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0))
    padded = np.pad(frames, padding, constant_values=np.nan)
    guess = _linear(standard) @ rough
    guess = guess + _steadiest(_cut(padded, guess, WIDE))
    residual = float("inf")
    for search in SEARCH[:FITS]:
        patches = _cut(padded, guess, PATCH)
        template = np.nanmedian(patches, axis=0)
        weight = 1 / (np.nanvar(patches, axis=0) + 0.003)
        best = np.full(len(guess), np.inf)
        found = guess.copy()
        for down in range(-search, search + 1):
            for across in range(-search, search + 1):
                shifted = guess + np.array([across, down])
                patch = _cut(padded, shifted, PATCH)
                inside = np.isfinite(patch)
                error = np.where(inside, (patch - template) ** 2, 0) * weight
                cost = error.sum((1, 2, 3)) / np.maximum((inside * weight).sum((1, 2, 3)), 1e-6)
                better = (cost < best) & (inside.mean(axis=(1, 2, 3)) > 0.6)
                best[better] = cost[better]
                found[better] = np.floor(shifted[better]) + 0.5
        good = best < 1.5 * np.median(best[np.isfinite(best)])
        weights, gaps = _robust(_quadratic(standard[good]), found[good])
        residual = float(np.median(gaps))
        guess = _quadratic(standard) @ weights
    return weights, residual


def _steadiest(patches: Floats) -> Floats:
    """Offset (2,) of the pixel that differs least between the cut-outs (F, h, w, C)."""
    unseen = np.isnan(patches[..., 0]).mean(axis=0) > 0.1
    spread = np.where(unseen, np.inf, np.nanstd(patches, axis=0).mean(axis=-1))
    row, column = np.unravel_index(int(spread.argmin()), spread.shape)
    return np.array([column, row]) - float(WIDE)


def _contact_offset(motion: Floats, standard: Floats, moves: Floats, weights: Floats) -> Floats:
    """Pixels (2,) from the matched patch to where things are pushed."""
    padding = ((0, 0), (PAD, PAD), (PAD, PAD))
    changes = np.pad(np.minimum(motion, 0.3), padding, constant_values=np.nan)
    cut = _cut(changes, _quadratic(standard) @ weights, WIDE)
    grid = np.arange(-WIDE, WIDE + 1)
    across, down = np.meshgrid(grid, grid)
    rows, values = [], []
    for axis in range(standard.shape[1]):
        probe = np.zeros((2, standard.shape[1]))
        probe[:, axis] = (1, -1)
        ahead, behind = _quadratic(probe) @ weights
        step = (ahead - behind) / 2
        length = float(np.linalg.norm(step))
        fast = np.abs(moves[:, axis]) > 0.5 * moves[:, axis].std()
        forward, backward = (fast & (sign * moves[:, axis] > 0) for sign in (1, -1))
        if not (forward.any() and backward.any()) or length < 1:
            continue
        way = step / length
        aside = np.array([-way[1], way[0]])
        change = np.nan_to_num(np.nanmean(cut[forward], 0) - np.nanmean(cut[backward], 0))
        along = across * way[0] + down * way[1]
        energy = np.maximum(0, change * np.sign(along)) ** 2 * (np.abs(along) > BESIDE)
        if energy.sum() <= 0:
            continue
        offset = (energy * (across * aside[0] + down * aside[1])).sum() / energy.sum()
        weight = length * moves[:, axis].std()
        rows.append(weight * aside)
        values.append(weight * offset)
    if len(rows) < 2:
        return np.zeros(2)
    solved: Floats = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    return solved


def _inverse(eye: HandEye, places: Floats) -> Floats:
    low, high = places[:, :2].min(axis=0), places[:, :2].max(axis=0)
    grid = np.stack(np.meshgrid(*np.linspace(low, high, 12).T), axis=-1).reshape(-1, 2)
    pixels = eye.pixels(np.c_[grid, np.full(len(grid), eye.contact_height)])
    solved: Floats = np.linalg.lstsq(_quadratic(pixels / 32 - 1), grid, rcond=None)[0]
    return solved


def _linear(values: Floats) -> Floats:
    return np.concatenate([np.ones((len(values), 1)), values], axis=1)


def _quadratic(values: Floats) -> Floats:
    first, second = np.triu_indices(values.shape[1])
    return np.concatenate([_linear(values), values[:, first] * values[:, second]], axis=1)


def _robust(inputs: Floats, outputs: Floats) -> tuple[Floats, Floats]:
    """Least squares with Cauchy weights: weights and the residuals' lengths."""
    trust: NDArray[np.floating] = np.ones(len(inputs))
    for _ in range(15):
        root = np.sqrt(trust)[:, None]
        weights: Floats = np.linalg.lstsq(inputs * root, outputs * root, rcond=None)[0]
        residual: Floats = np.sqrt(np.square(outputs - inputs @ weights).sum(axis=1))
        trust = 1 / (1 + (residual / max(1e-6, 1.5 * float(np.median(residual)))) ** 2)
    return weights, residual


def _cut(images: Floats, pixels: Floats, half: int) -> Floats:
    """Cut-outs (F, 2 half + 1, 2 half + 1, ...) of padded images around pixels (F, 2)."""
    size = images.shape[1]
    corner = np.clip(np.floor(pixels).astype(int) + PAD, half, size - 1 - half)
    grid = np.arange(-half, half + 1)
    rows = corner[:, 1, None, None] + grid[None, :, None]
    columns = corner[:, 0, None, None] + grid[None, None, :]
    cut: Floats = images[np.arange(len(images))[:, None, None], rows, columns]
    return cut
