"""A random bin of objects under a gripper, as one MuJoCo model.

What is seen (shapes, colours, places, light) comes from one random stream, what is hidden (masses,
their distribution, frictions) from another: the same scene can be given fresh hidden physics.
Everything is written into the MJCF text, because a mass changed after compiling leaves the model
inconsistent. Lengths are metres, masses kilograms; x is right, y away from the camera, z up.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from framecast.pusher.objects import Thing, random_thing

BIN_HALF = (0.27, 0.23)
WALL_HEIGHT = 0.035
WALL_HALF = 0.009
UNSEEN_GROUP = 3  # high walls that keep things in the bin, but are not drawn
REACH_LOW = (-0.22, -0.18, 0.025)
REACH_HIGH = (0.22, 0.18, 0.12)
ARM_BODIES = ("arm", "finger_left", "finger_right")
NUM_THINGS = (4, 8)
CONTROL_HZ = 5
TIMESTEP = 0.01
FINGER_OPEN = 0.028
MASS_RANGE = (0.06, 0.30)
FRICTION_RANGE = (0.30, 0.70)

FOREARM = ((0.0, 0.0, 0.12), (0.0, 0.16, 0.46))
FOREARM_PIECES = 5  # short pieces have tight bounding spheres, which the renderer lives by
ARM_PARTS = """
      <geom name="wrist" type="cylinder" size=".021 .028" pos="0 0 .075" rgba=".74 .13 .10 1"/>
      <geom name="palm" type="box" size=".044 .017 .013" pos="0 0 .045" rgba=".17 .18 .21 1"/>
      <geom name="elbow" type="sphere" size=".031" pos="0 .012 .118" rgba=".87 .87 .85 1"/>"""
FINGER = """
      <body name="finger_{side}" pos="0 0 .012" gravcomp="1">
        <joint name="finger_{side}" type="slide" axis="{sign} 0 0" range="0 .032" limited="true"
               damping="4"/>
        <geom name="finger_{side}" type="box" size=".007 .013 .030" pos="{x} 0 0" mass=".08"
              rgba=".16 .17 .20 1" friction=".4"/>
      </body>"""
ACTUATORS = """
    <position joint="x" kp="1600" kv="80" forcerange="-25 25"/>
    <position joint="y" kp="1600" kv="80" forcerange="-25 25"/>
    <position joint="z" kp="1600" kv="80" forcerange="-25 25"/>
    <position joint="yaw" kp="4" kv=".3"/>
    <position joint="finger_left" kp="80" kv="6"/>
    <position joint="finger_right" kp="80" kv="6"/>"""


@dataclass(frozen=True)
class Scene:
    """What can be seen of an episode's start.

    Attributes:
        places: (N, 3) x, y and yaw of every thing.
        start: (3,) the end effector.
        light: (3,) position of the lamp.
        table, wall: (3,) colours in [0, 1].
        grain: seed of the table's texture.
    """

    things: tuple[Thing, ...]
    places: NDArray[np.float64]
    start: NDArray[np.float64]
    light: NDArray[np.float64]
    ambient: float
    table: NDArray[np.float64]
    wall: NDArray[np.float64]
    grain: int


def random_scene(
    random: np.random.Generator, shapes: tuple[str, ...], brightness_range: tuple[float, float]
) -> Scene:
    """Draw everything that can be seen: objects of these shapes on a table of such brightness."""
    count = int(random.integers(NUM_THINGS[0], NUM_THINGS[1] + 1))
    hues = (random.uniform() + np.arange(count) / count + random.uniform(-0.04, 0.04, count)) % 1
    things = tuple(random_thing(random, hue, shapes) for hue in hues)
    angle = random.uniform(0, 2 * math.pi)
    warmth = random.uniform(-0.06, 0.06)
    brightness = random.uniform(*brightness_range)
    return Scene(
        things=things,
        places=_places(random, [thing.radius for thing in things]),
        start=random.uniform(REACH_LOW, REACH_HIGH),
        light=np.array([0.35 * math.cos(angle), 0.35 * math.sin(angle) - 0.15, 1.1]),
        ambient=random.uniform(0.38, 0.5),
        table=np.clip([brightness + warmth, brightness, brightness - 1.6 * warmth], 0, 1),
        wall=random.uniform(0.25, 0.4) + np.array([0.0, 0.01, 0.03]),
        grain=int(random.integers(2**31)),
    )


def to_mjcf(scene: Scene, hidden: np.random.Generator) -> str:
    """The MuJoCo model of a scene with hidden masses and frictions."""
    assets, bodies = [], []
    for index, (thing, (x, y, yaw)) in enumerate(zip(scene.things, scene.places, strict=True)):
        mass = math.exp(hidden.uniform(*np.log(MASS_RANGE)))
        share = hidden.dirichlet([2.0] * len(thing.parts))
        friction = hidden.uniform(*FRICTION_RANGE)
        name = f"thing_{index}"
        geoms = "".join(
            part.mjcf(f"{name}_{number}", thing.colour, mass * max(0.1, part_share), friction)
            for number, (part, part_share) in enumerate(zip(thing.parts, share, strict=True))
        )
        assets += [part.asset(f"{name}_{number}") for number, part in enumerate(thing.parts)]
        half = yaw / 2
        bodies.append(
            f'<body name="{name}" pos="{x} {y} {thing.rest_height}" '
            f'quat="{math.cos(half)} 0 0 {math.sin(half)}"><freejoint/>{geoms}</body>'
        )
    x, y, z = scene.start
    return f"""
<mujoco>
  <option timestep="{TIMESTEP}" integrator="implicitfast" iterations="12" ls_iterations="8"
          cone="pyramidal"/>
  <default><geom condim="3" solref=".02 1"/></default>
  <asset>{"".join(assets)}</asset>
  <worldbody>
    <geom name="table" type="plane" size="2 2 .1" friction=".05 .003 .0001"/>
    {_walls(scene)}
    <body name="arm" pos="{x} {y} {z}" gravcomp="1">
      <inertial pos="0 0 0" mass="1" diaginertia=".002 .002 .002"/>
      <joint name="x" type="slide" axis="1 0 0"/>
      <joint name="y" type="slide" axis="0 1 0"/>
      <joint name="z" type="slide" axis="0 0 1"/>
      <joint name="yaw" type="hinge" axis="0 0 1"/>
      <site name="end_effector" pos="0 0 0" size=".004"/>{ARM_PARTS}{_forearm()}
      {FINGER.format(side="left", sign=-1, x=-0.009)}
      {FINGER.format(side="right", sign=1, x=0.009)}
    </body>
    {"".join(bodies)}
  </worldbody>
  <actuator>{ACTUATORS}
  </actuator>
  <contact>
    {"".join(f'<exclude body1="world" body2="{part}"/>' for part in ARM_BODIES)}
    <exclude body1="finger_left" body2="finger_right"/>
  </contact>
</mujoco>"""


def _forearm() -> str:
    joints = np.linspace(*FOREARM, FOREARM_PIECES + 1)
    return "".join(
        f'<geom type="capsule" size=".022" fromto="{start[0]} {start[1]} {start[2]} '
        f'{end[0]} {end[1]} {end[2]}" rgba=".74 .13 .10 1"/>'
        for start, end in itertools.pairwise(joints)
    )


def _walls(scene: Scene) -> str:
    (half_x, half_y), thick, tall = BIN_HALF, WALL_HALF, WALL_HEIGHT / 2
    colour = " ".join(f"{value:.3f}" for value in scene.wall)
    sides = {
        "right": (half_x + thick, 0, thick, half_y + 2 * thick),
        "left": (-half_x - thick, 0, thick, half_y + 2 * thick),
        "back": (0, half_y + thick, half_x, thick),
        "front": (0, -half_y - thick, half_x, thick),
    }
    seen = (
        f'<geom name="wall_{name}" type="box" pos="{x} {y} {tall}" size="{sx} {sy} {tall}" '
        f'rgba="{colour} 1" friction=".05"/>'
        for name, (x, y, sx, sy) in sides.items()
    )
    unseen = (
        f'<geom type="box" pos="{x} {y} .1" size="{sx} {sy} .1" group="{UNSEEN_GROUP}" '
        'friction=".05"/>'
        for x, y, sx, sy in sides.values()
    )
    return "".join((*seen, *unseen))


def _places(random: np.random.Generator, radii: list[float]) -> NDArray[np.float64]:
    """Places without overlap; the gaps shrink where the bin is crowded."""
    places = np.zeros((0, 3))
    for index, radius in enumerate(radii):
        gap = 0.012
        while True:
            inner = np.array(BIN_HALF) - radius - 0.004
            place = np.append(random.uniform(-inner, inner), random.uniform(0, 2 * math.pi))
            distances = np.linalg.norm(places[:, :2] - place[:2], axis=1)
            if (distances > np.array(radii[:index]) + radius + gap).all():
                break
            gap -= 0.0004
        places = np.vstack([places, place])
    return places
