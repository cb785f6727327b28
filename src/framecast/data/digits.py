"""Stochastic moving digits, as in the SVG paper: two digits that bounce with a random new speed.

The frames are grey (three equal channels), there is no action and no state: when a digit meets a
wall nothing seen before tells where it goes. Digits are scikit-learn's (8x8 scans, always there)
or MNIST's, where the user has its file; both are drawn 32 pixels tall.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from framecast.data.episodes import Episode
from framecast.data.header import Header
from framecast.errors import UserError

MNIST_MAGIC = 0x00000803
MAX_IMAGES = 1_000_000
ASSUMED_FPS = 10.0
Images = NDArray[np.uint8]  # (N, digit, digit)


@dataclass(frozen=True)
class Digits:
    """What moves and how.

    Args:
        max_speed: pixels a frame each way; drawn evenly again at every wall, away from it.
    """

    images: Images
    source: str
    size: int = 64
    num_digits: int = 2
    num_frames: int = 30
    max_speed: int = 4

    def header(self) -> Header:
        return Header(
            *(self.size, self.size, 3, ASSUMED_FPS, (), (), (), ()),
            source=f"{self.num_digits} stochastic moving digits of {self.source}",
        )

    def episode(self, seed: int, index: int) -> Episode:
        """The same for the same seed and index."""
        random = np.random.default_rng([seed, index])
        canvas = np.zeros((self.num_frames, self.size, self.size), np.uint16)
        for image in self.images[random.integers(len(self.images), size=self.num_digits)]:
            side = len(image)
            for frame, (x, y) in zip(canvas, self._path(side, random), strict=True):
                frame[y : y + side, x : x + side] += image
        grey = np.minimum(canvas, 255).astype(np.uint8)
        frames = np.repeat(grey[..., None], 3, axis=-1)
        actions = np.zeros((self.num_frames - 1, 0), np.float32)
        return Episode(frames, actions, None, f"digits {index}")

    def _path(self, side: int, random: np.random.Generator) -> list[tuple[int, int]]:
        """Left upper corners over time."""
        limit = self.size - side
        position = random.integers(0, limit + 1, size=2)
        speed = random.integers(-self.max_speed, self.max_speed + 1, size=2)
        path = []
        for _ in range(self.num_frames):
            path.append((int(position[0]), int(position[1])))
            position = position + speed
            for axis in range(2):
                if not 0 <= position[axis] <= limit:
                    away = 1 if position[axis] < 0 else -1
                    position[axis] = np.clip(position[axis], 0, limit)
                    speed = random.integers(-self.max_speed, self.max_speed + 1, size=2)
                    speed[axis] = away * random.integers(1, self.max_speed + 1)
        return path


def scikit_digits(side: int) -> Images:
    """scikit-learn's 1,797 scans, enlarged. Raises UserError where it is not installed."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UserError(
            "The digits come from scikit-learn, which is not installed: "
            "pip install 'framecast[digits]', or give a file of MNIST images with --images."
        ) from None
    scans = np.asarray(load_digits().images)  # (N, 8, 8), 0..16
    return _resized(np.minimum(scans * (255 / 16), 255).astype(np.uint8), side)


def mnist_digits(path: Path, side: int) -> Images:
    """MNIST's `train-images-idx3-ubyte`, plain or gzipped. Raises UserError for another file."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            magic, count, height, width = struct.unpack(">IIII", file.read(16))
            if magic != MNIST_MAGIC or count > MAX_IMAGES or (height, width) != (28, 28):
                raise UserError(f"{path} is not a file of MNIST images (idx3-ubyte, 28x28).")
            pixels = file.read(count * height * width)
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise UserError(f"{path} is not a file of MNIST images ({error}).") from None
    if not count or len(pixels) != count * height * width:
        raise UserError(f"{path} is cut off: {len(pixels)} bytes of pixels for {count} images.")
    return _resized(np.frombuffer(pixels, np.uint8).reshape(count, height, width), side)


def _resized(images: Images, side: int) -> Images:
    pictures = (Image.fromarray(image) for image in images)
    bigger = [picture.resize((side, side), Image.Resampling.BICUBIC) for picture in pictures]
    return np.stack([np.asarray(picture) for picture in bigger])
