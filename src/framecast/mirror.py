"""The mirror image of a clip, for worlds in which left and right are alike.

Shape letters: A action, S state, W width of a picture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from framecast.clip import Clip, ClipSpec, VectorSpec
from framecast.errors import UserError, did_you_mean


class Mirror(nn.Module):
    """Turns left into right: pictures are flipped, and some signals change their sign.

    Args:
        names: of these signals, with commas between them. An action and a state of the same name
            both change.

    Raises UserError for a name that is neither an action's nor a state's.
    """

    of_action: Tensor
    of_state: Tensor

    def __init__(self, names: str, spec: ClipSpec) -> None:
        super().__init__()
        chosen = [name.strip() for name in names.split(",")]
        known = [*spec.action.names, *(spec.state.names if spec.state else ())]
        for name in chosen:
            if name not in known:
                raise UserError(
                    f"mirror ({names}) names {name!r}, which this data does not have: its signals "
                    f"are {', '.join(known)}.{did_you_mean(name, known)}"
                )
        self.register_buffer("of_action", _signs(spec.action, chosen), persistent=False)
        self.register_buffer("of_state", _signs(spec.state, chosen), persistent=False)

    def picture(self, picture: Tensor) -> Tensor:
        """(..., W), flipped; twice gives the picture itself."""
        return picture.flip(-1)

    def action(self, action: Tensor) -> Tensor:
        """(..., A) in the recording's units."""
        return action * self.of_action.to(action.dtype)

    def state(self, state: Tensor | None) -> Tensor | None:
        """(..., S) in the recording's units."""
        return None if state is None else state * self.of_state.to(state.dtype)

    def clip(self, clip: Clip) -> Clip:
        return Clip(self.picture(clip.frames), self.action(clip.actions), self.state(clip.states))


def mirror_of(names: str, spec: ClipSpec) -> Mirror | None:
    """The mirror of these names; none where nothing is named. Raises UserError as Mirror does."""
    return Mirror(names, spec) if names else None


def _signs(signals: VectorSpec | None, chosen: list[str]) -> Tensor:
    names = signals.names if signals else ()
    return torch.tensor([-1.0 if name in chosen else 1.0 for name in names])
