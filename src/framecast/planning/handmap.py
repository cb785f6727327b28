"""Where in the picture the robot's hand is: what planners ask of such a map, and the known one.

Learning one from recordings is in handeye.py.

Shape letters: N points.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from framecast.pusher.renderer import Camera

Floats = NDArray[np.float64]
CONTACT_HEIGHT = 0.03  # metres, of the built-in pusher


class HandMap(Protocol):
    """Where in the picture the robot's hand is.

    Attributes:
        contact_height: where the hand pushes things, in metres.
    """

    @property
    def contact_height(self) -> float: ...

    def pixels(self, positions: Floats) -> Floats:
        """Pixels (N, 2) of the hand at positions (N, 3)."""
        ...

    def places(self, pixels: Floats) -> Floats:
        """Positions x, y (N, 2) of the hand seen at pixels (N, 2), at the contact height."""
        ...


class KnownCamera:
    """The map of the built-in pusher, whose camera is known: nothing is learned.

    Args:
        size: pixels of the picture a side.
    """

    contact_height = CONTACT_HEIGHT

    def __init__(self, size: int) -> None:
        self.camera, self.size = Camera(), size

    def pixels(self, positions: Floats) -> Floats:
        return np.stack([self.camera.project(place, self.size) for place in positions])

    def places(self, pixels: Floats) -> Floats:
        slope = math.tan(math.radians(self.camera.view) / 2)
        plane = (pixels / self.size * 2 - 1) * slope
        rays = np.c_[plane, np.ones(len(plane))] @ self.camera.axes()
        length = (self.contact_height - self.camera.eye[2]) / rays[:, 2:]
        places: Floats = (self.camera.eye + length * rays)[:, :2]
        return places
