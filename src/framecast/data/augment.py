"""Other views of the same clips, for data sets of a few episodes.

A clip is moved and brightened as a whole, so that what happens in it, and what the actions mean,
stays the same. Shape letters: T frames, B batch, C H W image, A action, S state.
"""

from __future__ import annotations

import numpy as np
import torch

from framecast.clip import Clip, ClipSpec
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


def with_states_moved(
    clip: Clip, spec: ClipSpec, share: float, random: np.random.Generator
) -> Clip:
    """Every clip's states, each number by its own constant, with the actions of the same name.

    A joint that rests tells a model which of a few episodes it sees. Here it rests anywhere, and
    how a state changes is as it was. The constant is drawn evenly from `share` of the room that the
    range of the training split leaves to the whole clip. Clips without states stay as they are.
    """
    if clip.states is None or spec.state is None:
        return clip
    down = (torch.tensor(spec.state.low) - clip.states.amin(dim=0)).clamp(max=0)  # (B, S)
    up = (torch.tensor(spec.state.high) - clip.states.amax(dim=0)).clamp(min=0)
    chance = torch.from_numpy(random.random(down.shape)).float()
    moved = share * torch.lerp(down, up, chance)
    names = spec.state.names
    targets = [index for index, name in enumerate(spec.action.names) if name in names]
    actions = clip.actions.clone()
    actions[:, :, targets] += moved[:, [names.index(spec.action.names[it]) for it in targets]]
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
