"""Predicting in the mirror too: where left and right are alike, a model can be asked twice.

The clip and its mirror image are rolled out side by side, and the frame that is shown is the mean
of both, the second turned back. The model's own errors differ between the two, what cannot
be foreseen does not. A future that is drawn by noise is not asked for twice: the mean of two would
be neither.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from torch import Tensor

from framecast.mirror import Mirror
from framecast.models.base import RolloutState


@dataclass(frozen=True)
class MirroredState(RolloutState):
    """Attributes:
    mirrored: of the same kind, the rollout of the mirror image; None without one, and inside of
        one.
    """

    mirrored: Any = field(default=None, kw_only=True)


State = TypeVar("State", bound=MirroredState)


def imagine_both(
    imagine: Callable[[State, Tensor, Tensor | None, Tensor | None], tuple[Tensor, State]],
    mirror: Mirror | None,
    state: State,
    action: Tensor,
    noise: Tensor | None,
    robot_state: Tensor | None,
) -> tuple[Tensor, State]:
    """One step of a model, and where there is a mirror the mean with that of the mirror image.

    Each of the two goes on from its own frame.
    """
    frame, following = imagine(state, action, noise, robot_state)
    if mirror is None or state.mirrored is None:
        return frame, following
    if noise is not None and noise.shape[-1]:
        return frame, replace(following, mirrored=None)
    turned = (mirror.action(action), noise, mirror.state(robot_state))
    other, mirrored = imagine(state.mirrored, *turned)
    return (frame + mirror.picture(other)) / 2, replace(following, mirrored=mirrored)
