"""What the robot covers in a picture: by itself, and by its shadow.

Both are drawn from its state, by sprites (sprites.py) and by the shade (shade.py), which depends on
the light too.

Shape letters: T steps, K frames, B batch, A action, S state, L numbers of the light, C H W image.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from framecast.models.conditioning import Conditioner
from framecast.models.shade import Shade
from framecast.models.sprites import Cover, Sprites


@dataclass(frozen=True)
class Covering:
    """The parts of a model that draw its robot.

    Without sprites nothing is covered, and every cover is None; so is the light without a shade.
    """

    conditioner: Conditioner
    sprites: Sprites | None
    shade: Shade | None

    def light(self, frames: Tensor, states: Tensor | None) -> Tensor | None:
        """The light in the frames (K, B, C, H, W) of a context, (B, L); states standardised."""
        if self.shade is None or self.sprites is None or states is None:
            return None
        return self.shade.light(frames, self.sprites(states), states)

    def sequence(
        self, actions: Tensor, states: Tensor | None, light: Tensor | None
    ) -> list[Cover | None]:
        """At every step of a sequence (T, B, A), (T + 1, B, S)."""
        if states is None or self.sprites is None or not len(actions):
            return [None] * len(actions)
        following = self.conditioner.next_states(actions, states)
        now, then = self.sprites(states[:-1]), self.sprites(following)
        shades = self._lost(states[:-1], now, light), self._lost(following, then, light)
        cover = Cover(now, then, *shades)
        return [cover.at(step) for step in range(len(actions))]

    def step(
        self, state: Tensor | None, action: Tensor, before: Tensor | None, light: Tensor | None
    ) -> Cover | None:
        """At one step of a rollout, whose present frame has no shade; before as it is recalled."""
        if state is None or self.sprites is None:
            return None
        following = self.conditioner.next_state(state, action, before)
        then = self.sprites(following)
        return Cover(self.sprites(state), then, None, self._lost(following, then, light))

    def still(self, state: Tensor | None, light: Tensor | None) -> Cover | None:
        """In one frame, as if the robot stayed where it is."""
        if state is None or self.sprites is None:
            return None
        robot = self.sprites(state)
        shade = self._lost(state, robot, light)
        return Cover(robot, robot, shade, shade)

    def _lost(self, states: Tensor, robot: Tensor, light: Tensor | None) -> Tensor | None:
        """To the shadow of a robot (..., C + 1, H, W) that is drawn for these states (..., S)."""
        if self.shade is None or light is None:
            return None
        lights = light.expand(*states.shape[:-1], -1).reshape(-1, light.shape[-1])
        lost: Tensor = self.shade(states.reshape(-1, states.shape[-1]), lights)
        opacity = robot[..., -1:, :, :]
        return lost.view(opacity.shape) * (1 - opacity)
