"""Predicting in the mirror too: where left and right are alike, a model can be asked twice.

The clip and its mirror image are rolled out side by side, and the frame that is shown is the mean
of both, the second turned back. The model's own errors differ between the two, what cannot
be foreseen does not. A future whose motion is drawn by noise is not asked for twice: the mean of
two would be neither. Things are moved once for both, drawn or not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from torch import Tensor

from framecast.mirror import Mirror
from framecast.models.base import RolloutState
from framecast.models.things import Things


@dataclass(frozen=True)
class MirroredState(RolloutState):
    """Attributes:
    mirrored: of the same kind, the rollout of the mirror image; None without one, and inside of
        one.
    things: of the last context frame, where they are by now; None before that, and where none are
        looked for
    light: (B, L) as the context shows it; None where the robot's shadow is not drawn
    """

    mirrored: Any = field(default=None, kw_only=True)
    things: Things | None = field(default=None, kw_only=True)
    light: Tensor | None = field(default=None, kw_only=True)


State = TypeVar("State", bound=MirroredState)
# The last argument: the things after the step, where they are known.
Imagine = Callable[
    [State, Tensor, Tensor | None, Tensor | None, Things | None], tuple[Tensor, State]
]


def imagine_both(
    imagine: Imagine[State],
    mirror: Mirror | None,
    state: State,
    action: Tensor,
    noise: Tensor | None,
    robot_state: Tensor | None,
    alone: bool,
) -> tuple[Tensor, State]:
    """One step of a model, and where there is a mirror the mean with that of the mirror image.

    Each of the two goes on from its own frame; things are moved once for both, for a mean of two
    places is neither.

    Args:
        alone: leave the mirror image from now on
    """
    frame, following = imagine(state, action, noise, robot_state, None)
    if mirror is None or state.mirrored is None:
        return frame, following
    if alone:
        return frame, replace(following, mirrored=None)
    turned = (mirror.action(action), noise, mirror.state(robot_state))
    things = None if following.things is None else following.things.in_a_mirror()
    other, mirrored = imagine(state.mirrored, *turned, things)
    return (frame + mirror.picture(other)) / 2, replace(following, mirrored=mirrored)
