"""The mirror image of a clip."""

from __future__ import annotations

import pytest
import torch

from framecast.clip import Clip, ClipSpec
from framecast.errors import UserError
from framecast.mirror import Mirror


def test_left_becomes_right_and_the_named_signals_change_their_sign(spec: ClipSpec, clip: Clip):
    image = Mirror("dx, x", spec).clip(clip)
    torch.testing.assert_close(image.frames[..., 0], clip.frames[..., -1])
    torch.testing.assert_close(image.actions, clip.actions * torch.tensor([-1.0, 1.0]))
    assert image.states is not None
    assert clip.states is not None
    torch.testing.assert_close(image.states, clip.states * torch.tensor([-1.0, 1.0]))


def test_the_image_of_the_image_is_the_clip(spec: ClipSpec, clip: Clip):
    mirror = Mirror("dy,x", spec)
    twice = mirror.clip(mirror.clip(clip))
    torch.testing.assert_close(twice.frames, clip.frames)
    torch.testing.assert_close(twice.actions, clip.actions)
    torch.testing.assert_close(twice.states, clip.states)


def test_a_clip_without_states_has_an_image_without(spec: ClipSpec, clip: Clip):
    assert Mirror("dx", spec).clip(Clip(clip.frames, clip.actions)).states is None


@pytest.mark.parametrize("names", ["dx,gx", "dx,,x", " "])
def test_a_name_that_is_no_signal_is_refused(names: str, spec: ClipSpec):
    with pytest.raises(UserError, match="its signals are dx, dy, x, y"):
        Mirror(names, spec)
