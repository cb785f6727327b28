"""Which worlds there are: the usual one, and one that a model has not seen.

In the shifted world the tables are darker, the objects have other shapes, the camera stands
elsewhere, and the arm moves less than it is told. Physics, light and gripper are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from framecast.pusher.objects import SHAPES, UNUSUAL_SHAPES
from framecast.pusher.renderer import Camera


@dataclass(frozen=True)
class Domain:
    """
    Attributes:
        shapes: of the objects.
        brightness: of the table, from the darkest to the lightest.
        action_scale: metres the arm tries to move for a metre it is told.
    """

    shapes: tuple[str, ...]
    brightness: tuple[float, float]
    camera: Camera
    action_scale: float


USUAL = Domain(SHAPES, (0.42, 0.72), Camera(), 1.0)
SHIFTED = Domain(UNUSUAL_SHAPES, (0.24, 0.36), Camera(eye=(0.13, -0.43, 0.60)), 0.7)
