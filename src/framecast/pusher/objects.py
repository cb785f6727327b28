"""The things that lie in the bin: shapes made of simple parts.

Lengths are metres. A part's place is relative to the thing's origin, which lies at `rest_height`
above the table.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHAPES = ("box", "cylinder", "l", "t", "mug", "hull")
UNUSUAL_SHAPES = ("bar", "cross")


@dataclass(frozen=True)
class Part:
    """One MuJoCo geom.

    Attributes:
        kind: box, cylinder or mesh.
        size: half sizes of a box; radius and half height of a cylinder.
        vertices: corners of a convex hull, (V, 3); empty for the others.
    """

    kind: str
    size: tuple[float, ...]
    place: tuple[float, float, float] = (0.0, 0.0, 0.0)
    vertices: tuple[tuple[float, float, float], ...] = ()

    def mjcf(self, name: str, colour: NDArray[np.float64], mass: float, friction: float) -> str:
        shape = f'mesh="{name}"' if self.kind == "mesh" else f'size="{_text(self.size)}"'
        return (
            f'<geom name="{name}" type="{self.kind}" {shape} pos="{_text(self.place)}" '
            f'mass="{mass:.5f}" friction="{friction:.4f} .003 .0001" rgba="{_text(colour)} 1"/>'
        )

    def asset(self, name: str) -> str:
        if self.kind != "mesh":
            return ""
        corners = " ".join(_text(vertex) for vertex in self.vertices)
        return f'<mesh name="{name}" vertex="{corners}"/>'


@dataclass(frozen=True)
class Thing:
    """One object.

    Attributes:
        radius: of a vertical cylinder around it.
        colour: (3,) in [0, 1].
    """

    shape: str
    parts: tuple[Part, ...]
    radius: float
    rest_height: float
    colour: NDArray[np.float64]


def random_thing(random: np.random.Generator, hue: float, shapes: tuple[str, ...]) -> Thing:
    """A thing of one of these shapes and of random size in a colour of this hue."""
    shape = str(random.choice(shapes))
    scale = random.uniform(0.85, 1.25)
    height = scale * random.uniform(0.014, 0.024)  # half the height
    saturation, value = random.uniform(0.55, 0.9), random.uniform(0.6, 0.95)
    parts = _PARTS[shape](random, scale, height)
    return Thing(
        shape=shape,
        parts=parts,
        radius=max(_reach(part) for part in parts),
        rest_height=height,
        colour=np.array(colorsys.hsv_to_rgb(hue, saturation, value)),
    )


def _box(random: np.random.Generator, scale: float, height: float) -> tuple[Part, ...]:
    half_x, half_y = scale * random.uniform(0.018, 0.042, size=2)
    return (Part("box", (half_x, half_y, height)),)


def _cylinder(random: np.random.Generator, scale: float, height: float) -> tuple[Part, ...]:
    return (Part("cylinder", (scale * random.uniform(0.020, 0.034), height)),)


def _corner(random: np.random.Generator, scale: float, height: float) -> tuple[Part, ...]:
    long, thick = scale * 0.040, scale * 0.013
    foot = (thick - long, -long + thick, 0.0)
    return (
        Part("box", (thick, long, height), (-long + thick, 0.0, 0.0)),
        Part("box", (long - thick, thick, height), (thick, foot[1], 0.0)),
    )


def _tee(random: np.random.Generator, scale: float, height: float) -> tuple[Part, ...]:
    long, thick = scale * 0.040, scale * 0.013
    return (
        Part("box", (long, thick, height), (0.0, long - thick, 0.0)),
        Part("box", (thick, long - thick, height), (0.0, -thick, 0.0)),
    )


def _mug(random: np.random.Generator, scale: float, height: float) -> tuple[Part, ...]:
    radius = scale * random.uniform(0.024, 0.030)
    handle = (scale * 0.010, scale * 0.006, 0.6 * height)
    return (
        Part("cylinder", (radius, height)),
        Part("box", handle, (radius + handle[0] * 0.8, 0.0, 0.0)),
    )


def _hull(random: np.random.Generator, scale: float, height: float) -> tuple[Part, ...]:
    """An irregular prism of 5 to 7 corners, narrower at the top."""
    corners = int(random.integers(5, 8))
    angles = np.sort(random.uniform(0, 2 * math.pi, corners))
    angles = (angles + np.linspace(0, 2 * math.pi, corners, endpoint=False)) / 2
    radii = scale * random.uniform(0.026, 0.042, corners)
    rim = np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
    top = random.uniform(0.6, 0.95)
    rings = [np.c_[rim * width, np.full(corners, z)] for width, z in ((1, -height), (top, height))]
    vertices = tuple(tuple(float(x) for x in row) for row in np.concatenate(rings))
    return (Part("mesh", (), vertices=vertices),)  # type: ignore[arg-type]


def _bar(random: np.random.Generator, scale: float, height: float) -> tuple[Part, ...]:
    return (Part("box", (scale * random.uniform(0.044, 0.056), scale * 0.011, height)),)


def _cross(random: np.random.Generator, scale: float, height: float) -> tuple[Part, ...]:
    long, thick = scale * random.uniform(0.030, 0.042), scale * 0.011
    arm = (long - thick) / 2
    return (
        Part("box", (long, thick, height)),
        Part("box", (thick, arm, height), (0.0, thick + arm, 0.0)),
        Part("box", (thick, arm, height), (0.0, -thick - arm, 0.0)),
    )


_PARTS = {
    "box": _box,
    "cylinder": _cylinder,
    "l": _corner,
    "t": _tee,
    "mug": _mug,
    "hull": _hull,
    "bar": _bar,
    "cross": _cross,
}


def _reach(part: Part) -> float:
    if part.kind == "mesh":
        return float(np.linalg.norm(np.array(part.vertices)[:, :2], axis=1).max())
    if part.kind == "cylinder":
        return part.size[0] + math.hypot(*part.place[:2])
    return float(np.linalg.norm(np.abs(part.place[:2]) + np.array(part.size[:2])))


def _text(values: tuple[float, ...] | NDArray[np.float64]) -> str:
    return " ".join(f"{value:.5f}" for value in values)
