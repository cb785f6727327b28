"""Where the pusher's arm and objects are in a picture, true or imagined.

Detectors err by themselves, so that every error measured through one stands beside the same
detector's error on the true pictures.

Shape letters: H W picture, B pictures, N objects, K templates of h x w pixels.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from framecast.data.episodes import EpisodeStore
from framecast.errors import UserError
from framecast.pusher.renderer import Camera
from framecast.pusher.scene import Scene

Floats = NDArray[np.float64]
Pictures = NDArray[np.uint8]

FIT_FRAMES = 2000
ELSEWHERE = 4  # patches a picture that show something else
BANDS = 3  # the arm looks larger near the camera
ABOVE, BELOW, BESIDE = 16, 8, 9  # pixels around the end effector that a filter sees
APART = 3  # pixels from the end effector, from which on a patch shows something else
RIDGE = 1e-2  # variance added to every number of a patch, of colours in [0, 1]
PATCH = (3, ABOVE + BELOW + 1, 2 * BESIDE + 1)
ARM_COLOUR = (0.74, 0.13, 0.10)
LEAST_PIXELS = 4
FURTHEST = 0.20  # metres that an object is looked for around its last seen place


class ArmDetector:
    """Where the end effector is in a picture: linear discriminant filters on its surroundings.

    The filter is C^-1 (m - n), with m the average patch around the end effector, n and C average
    and covariance of patches from anywhere else (Hariharan 2012): what is common is whitened away.

    Args:
        filters: (K, 3, h, w)
        biases: (K,)
    """

    DESCRIPTION: ClassVar[str] = (
        "linear discriminant filters on colours around the end effector, learned from the training "
        "split's pictures and states; errors are across the line of sight, in metres at the "
        "distance of the bin's middle"
    )

    def __init__(self, filters: Tensor, biases: Tensor) -> None:
        self.filters, self.biases = filters, biases

    @classmethod
    def fitted(cls, path: Path) -> ArmDetector:
        """Fitted to a store. Raises UserError when it is missing or has no positions."""
        store = EpisodeStore(path)
        if store.state is None or store.state.shape[1] != 3:
            raise UserError(f"{path} has no positions of an end effector to fit a detector to.")
        rows = np.unique(np.linspace(0, len(store.pixels) - 1, FIT_FRAMES).astype(int))
        colours = _colours(store.pixels[rows])
        places = pixels_of(np.asarray(store.state[rows], np.float64), store.spec.height)
        arm = _patches(colours, places)
        others = _patches(
            colours.repeat_interleave(ELSEWHERE, dim=0), _elsewhere(places, store.spec.height)
        )
        centre = others.mean(axis=0)
        scatter = (others - centre).T @ (others - centre) / len(others)
        scatter += RIDGE * np.eye(len(scatter))
        bands = np.array_split(np.argsort(places[:, 1]), BANDS)
        means = np.stack([arm[band].mean(axis=0) for band in bands])
        filters = np.linalg.solve(scatter, (means - centre).T).T
        biases = -((means + centre) * filters).sum(axis=1) / 2
        shaped = torch.from_numpy(filters).float().reshape(BANDS, *PATCH)
        return cls(shaped, torch.from_numpy(biases).float())

    def __call__(self, pictures: Pictures) -> Floats:
        """(..., H, W, 3) -> (..., 2) pixels across and down."""
        shape, size = pictures.shape[:-3], pictures.shape[-2]
        best = self._scores_of(pictures).argmax(dim=1).numpy()
        found: Floats = np.stack([best % size, best // size], axis=1) + 0.5
        return found.reshape(*shape, 2)

    def strengths(self, pictures: Pictures) -> NDArray[np.float32]:
        """(..., H, W, 3) -> (...): how much the place found looks like the end effector."""
        strongest: NDArray[np.float32] = self._scores_of(pictures).amax(dim=1).numpy()
        return strongest.reshape(pictures.shape[:-3])

    def _scores_of(self, pictures: Pictures) -> Tensor:
        """(..., H, W, 3) -> (B, H * W)"""
        flat = pictures.reshape(-1, *pictures.shape[-3:])
        parts = [self._scores(_colours(flat[i : i + 16])) for i in range(0, len(flat), 16)]
        return torch.cat(parts).flatten(1)

    def _scores(self, colours: Tensor) -> Tensor:
        """How much every pixel looks like the end effector: (B, H, W)."""
        return functional.conv2d(_padded(colours), self.filters, self.biases).amax(dim=1)


def pixels_of(places: Floats, size: int) -> Floats:
    """Where the built-in camera shows places in the world: (..., 3) -> (..., 2)."""
    camera = Camera()
    seen = (places - np.array(camera.eye)) @ camera.axes().T
    slope = math.tan(math.radians(camera.view) / 2)
    pixels: Floats = (seen[..., :2] / (seen[..., 2:] * slope) + 1) / 2 * size
    return pixels


def metres_a_pixel(size: int) -> float:
    """At the distance of the bin's middle."""
    camera = Camera()
    distance = float(np.linalg.norm(np.subtract(camera.target, camera.eye)))
    return 2 * distance * math.tan(math.radians(camera.view) / 2) / size


def _colours(pictures: Pictures) -> Tensor:
    """(B, H, W, 3) bytes -> (B, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 255


def _padded(colours: Tensor) -> Tensor:
    return functional.pad(colours, (BESIDE, BESIDE, ABOVE, BELOW), mode="replicate")


def _patches(colours: Tensor, places: Floats) -> NDArray[np.float32]:
    """What lies around these pixels, one a picture: (B, 3 * h * w)."""
    padded = _padded(colours)
    corners = np.floor(places).clip(0, colours.shape[-1] - 1).astype(int)
    _, height, width = PATCH
    patches = [
        frame[:, down : down + height, across : across + width]
        for frame, (across, down) in zip(padded, corners.tolist(), strict=True)
    ]
    return torch.stack(patches).flatten(1).numpy()


def _elsewhere(places: Floats, size: int) -> Floats:
    """Random pixels that are not the end effector's: (B * ELSEWHERE, 2)."""
    random = np.random.default_rng(0)
    places = places.repeat(ELSEWHERE, axis=0)
    drawn = random.uniform(0, size, places.shape)
    for _ in range(10):
        near = np.abs(drawn - places).max(axis=1) < APART
        drawn[near] = random.uniform(0, size, (int(near.sum()), 2))
    return drawn


class ObjectDetector:
    """Centre of every object on the table, from the pixels that have its colour.

    Args:
        last: (H, W, 3) the last context frame; how far an object has gone is measured from there.
        places: (N, 3) where the objects are in it, in metres.
    """

    DESCRIPTION: ClassVar[str] = (
        "centroid of the pixels of an object's hue, projected onto the table, relative to the last "
        "context frame; an object that is not seen is taken to have stayed"
    )

    def __init__(self, scene: Scene, camera: Camera, last: Pictures, places: Floats) -> None:
        self.camera, self.size, self.places = camera, len(last), places
        colours = [*(thing.colour for thing in scene.things), scene.table, scene.wall, ARM_COLOUR]
        self.hues = _chroma(np.array(colours))  # (N + 3, 3)
        table = self.hues[len(places)]
        # Half way to the table's hue, a pixel is more table than object.
        self.limits = np.square(self.hues - table).sum(axis=1) / 4
        down, across = np.mgrid[: self.size, : self.size] + 0.5
        self.grid = np.stack([across.ravel(), down.ravel()])  # (2, H * W)
        home = np.stack([camera.project(place, self.size) for place in places])
        far = np.linalg.norm(self.grid.T - home[:, None], axis=-1) * metres_a_pixel(self.size)
        self.near = np.zeros((len(self.hues), self.size**2), bool)
        self.near[: len(places)] = far < FURTHEST
        self.anchor = self._on_table(self._centroids(last))

    def __call__(self, pictures: Pictures) -> Floats:
        """(..., H, W, 3) -> (..., N, 2) in metres."""
        flat = pictures.reshape(-1, *pictures.shape[-3:])
        seen = np.stack([self._on_table(self._centroids(picture)) for picture in flat])
        gone = np.nan_to_num(seen - self.anchor)
        found: Floats = (self.places[:, :2] + gone).reshape(*pictures.shape[:-3], -1, 2)
        return found

    def areas(self, pictures: Pictures) -> Floats:
        """(..., H, W, 3) -> (..., N) pixels that have an object's colour, near its first place."""
        flat = pictures.reshape(-1, *pictures.shape[-3:])
        counts = np.stack([self._counted(picture)[0] for picture in flat])
        areas: Floats = counts.reshape(*pictures.shape[:-3], -1)
        return areas

    def _centroids(self, picture: Pictures) -> Floats:
        """Pixel coordinates (N, 2), across and down; NaN where too few pixels are seen."""
        count, sums = self._counted(picture)
        centres: Floats = sums / np.maximum(count, 1)[:, None]
        centres[count < LEAST_PIXELS] = np.nan
        return centres

    def _counted(self, picture: Pictures) -> tuple[Floats, Floats]:
        """Pixels of every object (N,), and the sums of their coordinates (N, 2)."""
        hue = _chroma(picture.reshape(-1, 3).astype(np.float64) / 255)
        # The nearest hue, from |a - b|^2 = |a|^2 - 2 a b + |b|^2.
        rest = np.square(self.hues).sum(axis=1) - 2 * hue @ self.hues.T  # (H * W, N + 3)
        nearest = rest.argmin(axis=1)
        pixels = np.arange(len(nearest))
        distance = rest[pixels, nearest] + np.square(hue).sum(axis=1)
        mine = (distance < self.limits[nearest]) & self.near[nearest, pixels]
        count = np.bincount(nearest[mine], minlength=len(self.hues))
        sums = [np.bincount(nearest[mine], axis[mine], len(self.hues)) for axis in self.grid]
        number = len(self.places)
        totals = np.stack(sums, axis=1)[:number].astype(np.float64)
        return count[:number].astype(np.float64), totals

    def _on_table(self, pixels: Floats) -> Floats:
        """Pixels (..., N, 2) -> places (..., N, 2) at the objects' heights."""
        slope = math.tan(math.radians(self.camera.view) / 2)
        plane = (pixels / self.size * 2 - 1) * slope
        ones = np.ones((*plane.shape[:-1], 1))
        directions = np.concatenate([plane, ones], axis=-1) @ self.camera.axes()
        eye = np.array(self.camera.eye)
        reach = (self.places[:, 2] - eye[2]) / directions[..., 2]
        places: Floats = eye[:2] + reach[..., None] * directions[..., :2]
        return places


def _chroma(colours: Floats) -> Floats:
    """Colour without brightness: the parts add up to 1."""
    chroma: Floats = colours / (colours.sum(axis=-1, keepdims=True) + 1e-3)
    return chroma
