"""How the pusher's scene looks: colours, the table's texture, the lamp.

Colours are linear steps in [0, 1]. Shape letters: R rays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from framecast.pusher.scene import BIN_HALF, Scene

Floats = NDArray[np.float64]

TEXTURE_SIZE = 128
TEXTURE_CONTRAST = 0.16
TEXTURE_SPAN = 1.6  # metres that the texture covers before it repeats
OUTSIDE_SHADE = 0.62
HIGHLIGHT = 0.12


class Appearance:
    """Shades hit points of one model's geoms."""

    def __init__(self, model: Any, scene: Scene) -> None:
        self.light = scene.light
        self.ambient = scene.ambient
        self.table_colour = scene.table
        self.table = int(model.geom("table").id)
        self.colours: Floats = model.geom_rgba[:, :3].astype(np.float64)
        self.texture = _texture(np.random.default_rng(scene.grain))

    def shade(
        self,
        geom: NDArray[np.int32],
        point: Floats,
        normal: Floats,
        lit: NDArray[np.bool_],
    ) -> Floats:
        """Colours (R, 3) of hit points (R, 3): Lambert with a soft highlight under one lamp."""
        colour = self.colours[geom]
        on_table = geom == self.table
        colour[on_table] = self._table_colour(point[on_table])
        to_light = self.light - point
        to_light /= np.linalg.norm(to_light, axis=1, keepdims=True)
        facing = np.maximum(0, (normal * to_light).sum(axis=1)) * lit
        brightness = self.ambient + (1 - self.ambient) * facing
        shine = HIGHLIGHT * facing**8 * ~on_table
        shaded: Floats = np.clip(colour * brightness[:, None] + shine[:, None], 0, 1)
        shaded[geom < 0] = 0
        return shaded

    def _table_colour(self, point: Floats) -> Floats:
        cell = (point[:, :2] / TEXTURE_SPAN % 1 * TEXTURE_SIZE).astype(int) % TEXTURE_SIZE
        grain = self.texture[cell[:, 1], cell[:, 0]]
        inside = (np.abs(point[:, :2]) < BIN_HALF).all(axis=1)
        shade = grain * np.where(inside, 1.0, OUTSIDE_SHADE)
        colours: Floats = self.table_colour * shade[:, None]
        return colours


def _texture(random: np.random.Generator) -> Floats:
    """Smooth noise with a grain in one direction, around 1; it repeats without a seam."""
    frequency = np.fft.fftfreq(TEXTURE_SIZE) * TEXTURE_SIZE
    across, along = np.meshgrid(frequency, frequency)
    stretch = random.uniform(1.0, 6.0)
    if random.uniform() < 0.5:
        across, along = along, across
    amplitude = 1 / (1 + ((across / 3) ** 2 + (stretch * along / 3) ** 2)) ** 1.1
    spectrum = amplitude * np.fft.fft2(random.normal(size=(TEXTURE_SIZE, TEXTURE_SIZE)))
    noise = np.fft.ifft2(spectrum).real
    noise /= np.abs(noise).max()
    return 1 + TEXTURE_CONTRAST * noise
