"""The data contract that every part of framecast speaks.

Time: T frames; `actions[t]` is the command that leads from frame t to frame t + 1, so T frames
have T - 1 actions. Frames stay uint8 until they are on the device, then become floats in [0, 1].

Shape letters: T frames, B batch, C channels, H height, W width, A action, S state.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from framecast.errors import UserError

if TYPE_CHECKING:  # torch takes a second to import, and a spec has no need of it
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class VectorSpec:
    """Names, units and statistics of the numbers in an action or a state.

    The statistics are those of the training split; every field has one entry a dimension.
    A dimension that never changes has `std` 1, so that normalising it gives 0.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        sizes = {field.name: len(getattr(self, field.name)) for field in dataclasses.fields(self)}
        if len(set(sizes.values())) != 1:
            raise UserError(f"Every field of a vector needs one entry a dimension, got {sizes}.")

    @property
    def size(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class ClipSpec:
    """What a clip of this data looks like; travels inside every store and every checkpoint.

    Args:
        fps: frames a second.
        source: one line that says where the recordings come from and what was done to them.
    """

    height: int
    width: int
    channels: int
    fps: float
    action: VectorSpec
    state: VectorSpec | None
    source: str

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str | bytes) -> ClipSpec:
        """Raises UserError when the text is not a clip spec."""
        try:
            fields = json.loads(text)
            state = fields.pop("state")
            return cls(
                action=_vector_from(fields.pop("action")),
                state=None if state is None else _vector_from(state),
                **fields,
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"Expected a clip spec written by framecast, got: {error}.") from None

    def require_same_signals(self, other: ClipSpec, whose: str) -> None:
        """Refuse, by name, data whose frames, actions or states differ from this spec's."""
        for what, mine, theirs in (
            ("frame size", self._size_text(), other._size_text()),
            ("action", _names_of(self.action), _names_of(other.action)),
            ("state", _names_of(self.state), _names_of(other.state)),
        ):
            if mine != theirs:
                raise UserError(
                    f"The model expects {what} {mine}, but {whose} has {theirs}. "
                    "Use a model trained on data of this kind, or import the data to match."
                )

    def _size_text(self) -> str:
        return f"{self.width}x{self.height} with {self.channels} channels"


def _names_of(vector: VectorSpec | None) -> str:
    return "none" if vector is None else f"of {vector.size} numbers ({', '.join(vector.names)})"


def _vector_from(fields: dict[str, Any]) -> VectorSpec:
    return VectorSpec(**{name: tuple(values) for name, values in fields.items()})


@dataclass(frozen=True)
class Clip:
    """A batch of clips, time first.

    Shape:
        frames: (T, B, C, H, W), uint8 in 0..255
        actions: (T - 1, B, A), float32 in the recording's own units
        states: (T, B, S), float32 in the recording's own units, or None
    """

    frames: Tensor
    actions: Tensor
    states: Tensor | None = None

    def __post_init__(self) -> None:
        num_frames, num_actions = len(self.frames), len(self.actions)
        if num_actions != num_frames - 1:
            raise UserError(
                f"A clip of {num_frames} frames needs {num_frames - 1} actions, got {num_actions}. "
                "actions[t] leads from frame t to frame t+1, so the last frame has none; "
                "if your recording has one per frame, pass actions[:-1]."
            )
        if self.states is not None and len(self.states) != num_frames:
            raise UserError(f"{num_frames} frames need {num_frames} states, got {len(self.states)}")

    @property
    def num_frames(self) -> int:
        return len(self.frames)

    @property
    def batch_size(self) -> int:
        return self.frames.shape[1]

    def to(self, device: torch.device) -> Clip:
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Clip:
        return self._map(lambda tensor: tensor.pin_memory())

    def take(self, clips: slice | Tensor) -> Clip:
        """The same moments of some of the clips."""
        return self._map(lambda tensor: tensor[:, clips])

    def first(self, num_frames: int) -> Clip:
        """The first moments of every clip."""
        states = None if self.states is None else self.states[:num_frames]
        return Clip(self.frames[:num_frames], self.actions[: num_frames - 1], states)

    def float_frames(self, dtype: torch.dtype) -> Tensor:
        """Frames as floats in [0, 1]."""
        return self.frames.to(dtype).div_(255)

    def _map(self, function: Any) -> Clip:
        states = None if self.states is None else function(self.states)
        return Clip(function(self.frames), function(self.actions), states)
