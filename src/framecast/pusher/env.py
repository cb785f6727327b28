"""The pusher world as a Gymnasium environment.

A gripper over a bin of objects, seen by a fixed camera. There is no task: the reward is always 0
and an episode never ends by itself. Past frames and commands do not determine the future: masses,
frictions, execution noise and the drift of the gripper's yaw come from a hidden random stream.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

from framecast.pusher.appearance import Appearance
from framecast.pusher.domains import SHIFTED, USUAL
from framecast.pusher.policy import RandomPusherPolicy
from framecast.pusher.renderer import Renderer
from framecast.pusher.scene import (
    ARM_BODIES,
    CONTROL_HZ,
    FINGER_OPEN,
    REACH_HIGH,
    REACH_LOW,
    TIMESTEP,
    Scene,
    random_scene,
    to_mjcf,
)

MAX_STEP = (0.05, 0.05, 0.03)  # metres a control step
MAX_LAG = 0.01  # metres; a blocked arm does not save up commands
EXECUTION_NOISE = 0.001  # metres, standard deviation a step
YAW_DRIFT = 0.02  # radians, standard deviation a step
SETTLE_STEPS = 20
SUBSTEPS = round(1 / (CONTROL_HZ * TIMESTEP))
Observation = dict[str, NDArray[Any]]
WHOLE_STATE = mujoco.mjtState.mjSTATE_INTEGRATION

# MuJoCo's own handler appends every warning to MUJOCO_LOG.TXT in the working directory; `step`
# reads them from the simulation's data instead.
mujoco.set_mju_user_warning(lambda _: None)


@dataclass(frozen=True)
class Snapshot:
    """One moment of a scene: the physics, the arm's target and drift, the hidden random stream.

    Masses and frictions belong to the scene and are no part of it. Opaque outside this module.
    """

    physics: NDArray[np.float64]
    target: NDArray[np.float64]
    yaw: float
    hidden: dict[str, Any]


class PusherEnv(gymnasium.Env[Observation, NDArray[np.float32]]):
    """Push objects about in a bin.

    Observation:
        pixels: (image_size, image_size, 3) uint8
        state: (3,) float32, the end effector's x, y, z in metres

    Action, (4,) float32: the commanded displacement dx, dy, dz in metres, and the gripper, from -1
    (open) to 1 (closed). Commands beyond the reach are cut off at its border.

    `reset(seed=s, options={"hidden_seed": h})`: `s` decides all that can be seen at the start, `h`
    the hidden physics; without it, that follows from `s`.

    `info` holds the truth that no model sees: `object_positions` (N, 3) in metres,
    `object_shapes`, and `contact`, whether the gripper touches an object.

    `shifted` makes the world of domains.py that a model trained in the usual one has not seen.

    Raises RuntimeError when the simulation diverges.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": CONTROL_HZ}  # noqa: RUF012
    action_names = ("dx", "dy", "dz", "gripper")
    action_units = ("m", "m", "m", "1")
    state_names = ("x", "y", "z")
    state_units = ("m", "m", "m")
    simulator_version = f"MuJoCo {mujoco.__version__}"

    def __init__(
        self, image_size: int = 64, render_mode: str | None = None, shifted: bool = False
    ) -> None:
        self.image_size = image_size
        self.render_mode = render_mode
        self.domain = SHIFTED if shifted else USUAL
        self.camera = self.domain.camera
        shape = (image_size, image_size, 3)
        low, high = np.array(REACH_LOW) - 0.05, np.array(REACH_HIGH) + 0.05
        self.observation_space = gymnasium.spaces.Dict(  # type: ignore[assignment]
            {
                "pixels": gymnasium.spaces.Box(0, 255, shape, np.uint8),
                "state": gymnasium.spaces.Box(
                    low.astype(np.float32), high.astype(np.float32), dtype=np.float32
                ),
            }
        )
        self.bound = np.array([*MAX_STEP, 1.0], np.float32)
        self.action_space = gymnasium.spaces.Box(-self.bound, self.bound, dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed)
        visible_seed, default_hidden_seed = self.np_random.integers(2**63, size=2).tolist()
        seen = (self.domain.shapes, self.domain.brightness)
        self.scene: Scene = random_scene(np.random.default_rng(visible_seed), *seen)
        self._build((options or {}).get("hidden_seed", default_hidden_seed))
        self._home = self.scene.start.copy()
        self._target = self.scene.start.copy()
        self._yaw = 0.0
        self._raise_above_things()
        self._command(gripper=-1.0)
        mujoco.mj_forward(self.model, self.data)
        return self._observation(), self._info()

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        noise = self._hidden.normal(0, EXECUTION_NOISE, 3)
        self._advance(action, noise, self._hidden.normal(0, YAW_DRIFT))
        mujoco.mj_forward(self.model, self.data)
        return self._observation(), 0.0, False, False, self._info()

    def try_out(self, action: NDArray[np.float32]) -> NDArray[np.float64]:
        """A step without noise and without a picture, for planning in the simulator itself.

        Returns the places (N, 3) of the objects. Take a `snapshot` before, `restore` it after.
        """
        self._advance(action, np.zeros(3), 0.0)
        mujoco.mj_kinematics(self.model, self.data)
        places: NDArray[np.float64] = self.data.xpos[self._things].copy()
        return places

    def snapshot(self) -> Snapshot:
        """The present moment, for `restore` and `resume` in the same episode."""
        physics = np.zeros(mujoco.mj_stateSize(self.model, WHOLE_STATE))
        mujoco.mj_getState(self.model, self.data, physics, WHOLE_STATE)
        return Snapshot(
            physics, self._target.copy(), self._yaw, dict(self._hidden.bit_generator.state)
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a moment of this episode; the same actions then lead to the same frames."""
        mujoco.mj_setState(self.model, self.data, snapshot.physics, WHOLE_STATE)
        self._hidden.bit_generator.state = snapshot.hidden
        self._target, self._yaw = snapshot.target.copy(), snapshot.yaw
        mujoco.mj_forward(self.model, self.data)

    def resume(self, snapshot: Snapshot, hidden_seed: int) -> tuple[Observation, dict[str, Any]]:
        """Go on from a moment of this episode under the hidden physics of another seed.

        What can be seen stays as it was; the same commands lead to another future.
        """
        self._build(hidden_seed)
        fresh = dict(self._hidden.bit_generator.state)
        self.restore(replace(snapshot, hidden=fresh))
        return self._observation(), self._info()

    def render(self) -> NDArray[np.uint8]:
        """The present picture, (image_size, image_size, 3) uint8."""
        return self.renderer.render(self.data)

    def default_policy(self) -> RandomPusherPolicy:
        """The policy that `framecast record` uses here."""
        return RandomPusherPolicy(self.bound)

    def end_effector(self) -> NDArray[np.float64]:
        """x, y, z in metres."""
        position: NDArray[np.float64] = self.data.site("end_effector").xpos
        return position.copy()

    def _build(self, hidden_seed: int) -> None:
        """The physics of this scene, with the masses and frictions of a hidden seed."""
        self._hidden = np.random.default_rng(hidden_seed)
        self.model: Any = mujoco.MjModel.from_xml_string(to_mjcf(self.scene, self._hidden))
        self.data: Any = mujoco.MjData(self.model)
        things = range(len(self.scene.things))
        self._things = np.array([self.model.body(f"thing_{index}").id for index in things])
        self._arm = np.array([self.model.body(name).id for name in ARM_BODIES])
        self.renderer = Renderer(
            self.model, self.image_size, Appearance(self.model, self.scene), self.camera
        )

    def _advance(
        self, action: NDArray[np.float32], noise: NDArray[np.float64], yaw_noise: float
    ) -> None:
        command = np.clip(action, -self.bound, self.bound).astype(np.float64)
        moved = self.domain.action_scale * command[:3] + noise
        position = self.end_effector()  # behind the target where something blocks the way
        lag = np.clip(self._target - position, -MAX_LAG, MAX_LAG)
        self._target = np.clip(position + lag + moved, REACH_LOW, REACH_HIGH)
        self._yaw = 0.9 * self._yaw + yaw_noise
        self._command(gripper=float(command[3]))
        mujoco.mj_step(self.model, self.data, nstep=SUBSTEPS)
        if self.data.warning.number.any():
            raise RuntimeError("the pusher's simulation diverged")

    def _raise_above_things(self) -> None:
        """Start above whatever lies under the gripper."""
        gaps = np.linalg.norm(self.scene.places[:, :2] - self._home[:2], axis=1)
        radii = np.array([thing.radius for thing in self.scene.things])
        if (gaps < radii + 0.06).any():
            self._target[2] = REACH_HIGH[2]
        self.data.qpos[2] = self._target[2] - self._home[2]

    def _command(self, gripper: float) -> None:
        opening = FINGER_OPEN * (1 - gripper) / 2
        self.data.ctrl[:] = [*(self._target - self._home), self._yaw, opening, opening]

    def _observation(self) -> Observation:
        return {"pixels": self.render(), "state": self.end_effector().astype(np.float32)}

    def _info(self) -> dict[str, Any]:
        return {
            "object_positions": self.data.xpos[self._things].astype(np.float32),
            "object_shapes": tuple(thing.shape for thing in self.scene.things),
            "contact": self._touching(),
        }

    def _touching(self) -> bool:
        bodies = self.model.geom_bodyid[self.data.contact.geom]
        arm = np.isin(bodies, self._arm).any(axis=-1)
        things = np.isin(bodies, self._things).any(axis=-1)
        return bool((arm & things).any())
