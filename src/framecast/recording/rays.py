"""MuJoCo environments without OpenGL: their scene drawn by the ray caster of the built-in world.

Colours are those of the geoms or their materials, light is one lamp above the camera; textures are
not drawn. The picture is square and seen from where the environment's own camera would be.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from framecast.errors import UserError
from framecast.pusher.appearance import Appearance
from framecast.pusher.renderer import Camera, Renderer

Floats = NDArray[np.float64]
AMBIENT = 0.45
DRAWN_SIZE = 128  # pixels a side, before the recorder makes it fit
LAMP_HEIGHT = 1.5  # times the camera's distance
FALLBACK = {"azimuth": 90.0, "elevation": -45.0}  # MuJoCo's own


class PlainAppearance(Appearance):
    """Lambert shading under one lamp, in the model's own colours."""

    def __init__(self, model: Any, light: Floats) -> None:
        self.light = light  # all that the renderer asks of an appearance, beside `shade`
        colours = model.geom_rgba[:, :3].astype(np.float64)
        has_material = model.geom_matid >= 0
        colours[has_material] = model.mat_rgba[model.geom_matid[has_material], :3]
        self.colours: Floats = colours

    def shade(
        self, geom: NDArray[np.int32], point: Floats, normal: Floats, lit: NDArray[np.bool_]
    ) -> Floats:
        """Colours (R, 3) of hit points (R, 3)."""
        to_light = self.light - point
        to_light /= np.linalg.norm(to_light, axis=1, keepdims=True)
        facing = np.abs((normal * to_light).sum(axis=1)) * lit
        shaded: Floats = np.clip(
            self.colours[geom] * (AMBIENT + (1 - AMBIENT) * facing)[:, None], 0, 1
        )
        shaded[geom < 0] = 0
        return shaded


class RayCast(gymnasium.Wrapper[Any, Any, Any, Any]):
    """`render()` by rays. Raises UserError for an environment that is not MuJoCo's."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        inner: Any = env.unwrapped
        if not (hasattr(inner, "model") and hasattr(inner, "data")):
            raise UserError("--render rays draws MuJoCo environments only (model and data).")
        self.camera, light = _camera(inner)
        self.renderer = Renderer(
            inner.model, DRAWN_SIZE, PlainAppearance(inner.model, light), self.camera
        )

    def render(self) -> Any:
        inner: Any = self.env.unwrapped
        return self.renderer.render(inner.data)


def _camera(env: Any) -> tuple[Camera, Floats]:
    """The free camera of Gymnasium's MuJoCo environments, and a lamp above it."""
    renderer = getattr(env, "mujoco_renderer", None)
    config = FALLBACK | (getattr(renderer, "default_cam_config", None) or {})
    centre = np.asarray(config.get("lookat", env.model.stat.center), np.float64)
    distance = float(config.get("distance", 1.5 * env.model.stat.extent))
    azimuth, elevation = (math.radians(config[name]) for name in ("azimuth", "elevation"))
    forward = np.array(
        [
            math.cos(elevation) * math.cos(azimuth),
            math.cos(elevation) * math.sin(azimuth),
            math.sin(elevation),
        ]
    )
    eye = centre - distance * forward
    light = eye + np.array([0.0, 0.0, LAMP_HEIGHT * distance])
    view = float(env.model.vis.global_.fovy)
    return Camera(_triple(eye), _triple(centre), view), light


def _triple(point: Floats) -> tuple[float, float, float]:
    x, y, z = point.tolist()
    return x, y, z
