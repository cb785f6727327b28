"""Other views of the same clips, for data sets of a few episodes.

A clip is moved and brightened as a whole, so that what happens in it, and what the actions mean,
stays the same. Shape letters: T frames, B batch, C H W image, A action, S state.
"""

from __future__ import annotations

import numpy as np
import torch

from framecast.clip import Clip
from framecast.data.episodes import EpisodeStore
from framecast.errors import UserError
from framecast.mirror import Mirror

CHANNEL_SHARE = 0.3  # how much each colour channel is brightened apart from the others


def augment(clip: Clip, shift: int, brightness: float, random: np.random.Generator) -> Clip:
    """Every clip moved by up to `shift` pixels each way and brightened by up to 1 +- `brightness`.

    What moves into the picture repeats its border.
    """
    height, width = clip.frames.shape[-2:]
    frames = clip.frames.clone()
    for index in range(clip.batch_size):
        across, down = random.integers(-shift, shift + 1, size=2).tolist()
        rows = (torch.arange(height) + down).clamp(0, height - 1)
        columns = (torch.arange(width) + across).clamp(0, width - 1)
        gain = 1 + brightness * random.uniform(-1, 1)
        gains = gain + CHANNEL_SHARE * brightness * random.uniform(-1, 1, frames.shape[2])
        moved = clip.frames[:, index][..., rows, :][..., columns].float()
        brightened = moved * torch.from_numpy(gains).float()[:, None, None]
        frames[:, index] = brightened.round().clamp(0, 255).to(torch.uint8)
    return Clip(frames, clip.actions, clip.states)


class StateShift:
    """Moves the states of every clip, each number by its own constant, and targets with them.

    A joint that rests tells a model which of a few episodes it sees. Here it rests anywhere, and
    how a state changes is as it was. The constant is drawn evenly from `share` of the room that the
    range of the training split leaves to the whole clip. Targets are the actions that have a
    state's name, but for those that are known to be displacements. Clips without states stay.

    Raises UserError where all actions are targets and none has a state's name.
    """

    def __init__(self, share: float, store: EpisodeStore) -> None:
        self.share = share
        self.state = store.spec.state
        states = () if self.state is None else self.state.names
        names, kinds = store.spec.action.names, store.action_kinds
        self.targets = [
            index
            for index, name in enumerate(names)
            if name in states and (not kinds or kinds[index] == "target")
        ]
        self.of_targets = [states.index(names[index]) for index in self.targets]
        if states and not self.targets and kinds and set(kinds) == {"target"}:
            raise UserError(
                "clips.state_shift moves actions that are targets together with the states of the "
                f"same name, and of the targets of {store.path} ({', '.join(names)}) none has a "
                f"state's name ({', '.join(states)}). Set it to 0."
            )

    def __call__(self, clip: Clip, random: np.random.Generator) -> Clip:
        if clip.states is None or self.state is None:
            return clip
        down = (torch.tensor(self.state.low) - clip.states.amin(dim=0)).clamp(max=0)  # (B, S)
        up = (torch.tensor(self.state.high) - clip.states.amax(dim=0)).clamp(min=0)
        chance = torch.from_numpy(random.random(down.shape)).float()
        moved = self.share * torch.lerp(down, up, chance)
        actions = clip.actions.clone()
        actions[:, :, self.targets] += moved[:, self.of_targets]
        return Clip(clip.frames, actions, clip.states + moved)


def in_mirror(clip: Clip, mirror: Mirror, random: np.random.Generator) -> Clip:
    """Every second clip in the mirror, by lot."""
    turned = torch.from_numpy(random.random(clip.batch_size) < 0.5)[:, None]
    image = mirror.clip(clip)
    states = clip.states
    if states is not None and image.states is not None:
        states = torch.where(turned, image.states, states)
    return Clip(
        torch.where(turned[..., None, None], image.frames, clip.frames),
        torch.where(turned, image.actions, clip.actions),
        states,
    )
