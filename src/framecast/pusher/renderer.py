"""Pictures of a MuJoCo scene by casting rays on the CPU: no OpenGL, no display.

One ray a pixel, four where a pixel lies on an edge; hard shadows of one lamp; Lambert shading. The
scene is cast whole once; after that only the pixels are cast again that a moved geom, or its
shadow, covers or covered. Which pixels those are is decided by bounding spheres, never too few, so
a cached picture equals a picture cast whole.

Shape letters: N pixels, R rays, G geoms.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from framecast.pusher.appearance import Appearance

Floats = NDArray[np.float64]

FAR = 10.0
SHADOW_MARGIN = 2e-3
SEEN_GROUPS = np.array([1, 1, 1, 0, 0, 0], np.uint8)  # what MuJoCo draws by default
BOUNDS_MARGIN = 0.03  # metres
PATCH = 0.03  # metres; more than a pixel shows of the table from one side to the other
EDGE_COSINE = 0.9
SUBPIXELS = np.array([(-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25)])


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks from `eye` to `target`, with `z` up.

    Args:
        view: angle of view from top to bottom, in degrees.
    """

    eye: tuple[float, float, float] = (0.0, -0.46, 0.62)
    target: tuple[float, float, float] = (0.0, 0.018, 0.0)
    view: float = 40.0

    def axes(self) -> Floats:
        """Right, down and forward, as rows."""
        forward = np.subtract(self.target, self.eye)
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, (0.0, 0.0, 1.0))
        right /= np.linalg.norm(right)
        return np.stack([right, np.cross(forward, right), forward])

    def rays(self, size: int, offset: Floats | None = None) -> Floats:
        """Unit directions through the pixel centres, row by row: (size * size, 3)."""
        centres = np.arange(size) + 0.5
        across, down = np.meshgrid(centres, centres)
        points = np.stack([across, down], axis=-1).reshape(-1, 2)
        if offset is not None:
            points = points + offset
        slope = math.tan(math.radians(self.view) / 2)
        plane = (points / size * 2 - 1) * slope
        directions = np.c_[plane, np.ones(len(plane))] @ self.axes()
        unit: Floats = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        return unit

    def project(self, point: Floats, size: int) -> Floats:
        """Pixel coordinates (across, down) of a point in the world."""
        x, y, z = self.axes() @ (np.asarray(point) - self.eye)
        slope = math.tan(math.radians(self.view) / 2)
        pixel: Floats = (np.array([x, y]) / (z * slope) + 1) / 2 * size
        return pixel


class Renderer:
    """Draws one model; `render` after every change of the simulation.

    Args:
        size: pixels a side.
        appearance: colours, texture and light.
        camera: where it looks from.
    """

    def __init__(
        self, model: Any, size: int, appearance: Appearance, camera: Camera | None = None
    ) -> None:
        self.model = _with_roomy_bounds(model)
        self.size = size
        self.appearance = appearance
        self.camera = camera or Camera()
        self.eye = np.array(self.camera.eye)
        self.rays = self.camera.rays(size)
        self.subrays = np.stack([self.camera.rays(size, offset) for offset in SUBPIXELS], axis=1)
        # A pixel is a cone around its ray; this is the cone's radius at distance 1.
        self.pixel_spread = math.sqrt(2) * math.tan(math.radians(self.camera.view) / 2) / size
        self.forget()

    def forget(self) -> None:
        """Cast everything anew at the next picture."""
        count = self.size**2
        self.places: Floats | None = None
        self.geom = np.full(count, -1, np.int32)
        self.point = np.zeros((count, 3))
        self.normal = np.zeros((count, 3))
        self.lit = np.zeros(count, bool)
        self.colour = np.zeros((count, 3))

    def render(self, data: Any) -> NDArray[np.uint8]:
        """The picture of this state: (size, size, 3) uint8."""
        places = np.concatenate([data.geom_xpos, data.geom_xmat], axis=1)
        if self.places is None:
            seen = shaded = np.arange(self.size**2)
        else:
            moved = np.flatnonzero((places != self.places).any(axis=1))
            before, after = self.places[moved, :3], places[moved, :3]
            path = np.linalg.norm(after - before, axis=1)
            radii = self.model.geom_rbound[moved] + path / 2
            seen, shaded = self._touched((before + after) / 2, radii)
        self.places = places
        self._cast(data, seen)
        self._shade_centres(data, shaded)
        self._smooth_edges(data, shaded)
        picture = self.colour.reshape(self.size, self.size, 3)
        return (picture * 255 + 0.5).astype(np.uint8)

    def _touched(self, centres: Floats, radii: Floats) -> tuple[Any, Any]:
        """Pixels that these spheres can cover, and those that they can cover or shade."""
        to_eye = centres - self.eye
        spread = self.pixel_spread * np.linalg.norm(to_eye, axis=1)
        covers = _near_beams(self.rays, None, to_eye, radii + spread)
        light = self.appearance.light
        beams = self.point - light
        length = np.sqrt(np.einsum("ij,ij->i", beams, beams))
        beams /= length[:, None]
        # A pixel shows a patch, not a point: a shadow may touch the one and miss the other.
        shades = _near_beams(beams, length, centres - light, radii + PATCH)
        return np.flatnonzero(covers), np.flatnonzero(covers | shades)

    def _cast(self, data: Any, pixels: Any) -> None:
        geom, distance, normal = self._multi_ray(data, self.eye, self.rays[pixels])
        self.geom[pixels] = geom
        self.point[pixels] = self.eye + self.rays[pixels] * distance[:, None]
        self.normal[pixels] = normal

    def _shade_centres(self, data: Any, pixels: Any) -> None:
        lit = self._lit(data, self.point[pixels])
        self.lit[pixels] = lit
        self.colour[pixels] = self.appearance.shade(
            self.geom[pixels], self.point[pixels], self.normal[pixels], lit
        )

    def _smooth_edges(self, data: Any, pixels: Any) -> None:
        """Four rays for every pixel whose neighbours show something else."""
        edges = self._edges()
        grown = np.zeros((self.size, self.size), bool)
        grown.flat[pixels] = True
        padded = np.pad(grown, 1)
        grown |= padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
        inner = np.flatnonzero(grown.ravel() & ~edges)
        self.colour[inner] = self.appearance.shade(
            self.geom[inner], self.point[inner], self.normal[inner], self.lit[inner]
        )
        chosen = np.flatnonzero(grown.ravel() & edges)
        rays = self.subrays[chosen].reshape(-1, 3)
        geom, distance, normal = self._multi_ray(data, self.eye, rays)
        points = self.eye + rays * distance[:, None]
        colours = self.appearance.shade(geom, points, normal, self._lit(data, points))
        self.colour[chosen] = colours.reshape(-1, len(SUBPIXELS), 3).mean(axis=1)

    def _edges(self) -> NDArray[np.bool_]:
        size = self.size
        geom = self.geom.reshape(size, size)
        lit = self.lit.reshape(size, size)
        normal = self.normal.reshape(size, size, 3)
        edges = np.zeros((size, size), bool)
        for first, second in (
            (np.s_[:, :-1], np.s_[:, 1:]),
            (np.s_[:-1, :], np.s_[1:, :]),
        ):
            differ = (geom[first] != geom[second]) | (lit[first] != lit[second])
            differ |= (normal[first] * normal[second]).sum(axis=-1) < EDGE_COSINE
            edges[first] |= differ
            edges[second] |= differ
        flat: NDArray[np.bool_] = edges.ravel()
        return flat

    def _lit(self, data: Any, points: Floats) -> NDArray[np.bool_]:
        """Whether the lamp's ray to each point meets nothing before it."""
        light = self.appearance.light
        beams = points - light
        length = np.linalg.norm(beams, axis=1)
        _, distance, _ = self._multi_ray(data, light, beams / length[:, None], normals=False)
        reached: NDArray[np.bool_] = distance >= length - SHADOW_MARGIN
        return reached

    def _multi_ray(
        self, data: Any, origin: Floats, rays: Floats, normals: bool = True
    ) -> tuple[NDArray[np.int32], Floats, Floats]:
        count = len(rays)
        geom = np.full(count, -1, np.int32)
        distance = np.full(count, FAR)
        normal = np.zeros((count, 3))
        if count:
            mujoco.mj_multiRay(
                self.model,
                data,
                origin,
                np.ascontiguousarray(rays).ravel(),
                SEEN_GROUPS,
                True,
                -1,
                geom,
                distance,
                normal.ravel() if normals else None,
                count,
                FAR,
            )
        missed = geom < 0
        distance[missed] = FAR
        return geom, distance, normal


def _with_roomy_bounds(model: Any) -> Any:
    """A copy of the model whose bodies have larger bounding boxes.

    `mj_multiRay` drops a body by the angles of its box's corners, which now and then cuts off a
    sliver of it (seen with MuJoCo 3.17 against `mj_ray`), and which one depends on the hidden
    masses. With boxes this much larger no pixel differed any more.
    """
    roomy = copy.copy(model)
    roomy.bvh_aabb[: model.nbvhstatic, 3:] += BOUNDS_MARGIN
    return roomy


def _near_beams(
    beams: Floats, length: Floats | None, centres: Floats, radii: Floats
) -> NDArray[np.bool_]:
    """Which beams from the origin (R, 3), of this length, pass through any of these spheres."""
    toward = beams @ centres.T
    along = np.maximum(toward, 0)
    if length is not None:
        np.minimum(along, length[:, None], out=along)
    # |centre - along * beam|^2 without its constant part |centre|^2
    gap = along * (along - 2 * toward)
    limit = radii**2 - np.einsum("ij,ij->i", centres, centres)
    near: NDArray[np.bool_] = (gap <= limit).any(axis=1)
    return near
