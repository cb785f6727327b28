from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from framecast.clip import Clip, ClipSpec
from framecast.data.augment import augment, in_mirror, with_states_moved
from framecast.mirror import Mirror


def test_a_clip_is_moved_as_a_whole(clip: Clip):
    moved = augment(clip, 4, 0.0, np.random.default_rng(0))
    inner = clip.frames[:, 0, :, 10:-10, 10:-10]
    offsets = [
        (across, down)
        for across in range(-4, 5)
        for down in range(-4, 5)
        if (moved.frames[:, 0, :, 10 - down : 54 - down, 10 - across : 54 - across] == inner).all()
    ]
    assert len(offsets) == 1
    assert (moved.actions == clip.actions).all()


def test_brightness_scales_a_channel_by_one_gain_in_all_frames(clip: Clip):
    dark = Clip(clip.frames // 2, clip.actions, clip.states)
    bright = augment(dark, 0, 0.2, np.random.default_rng(1)).frames[:, 0].float()
    before = dark.frames[:, 0].float()
    gains = (bright.sum((0, 2, 3)) / before.sum((0, 2, 3)))[:, None, None]
    torch.testing.assert_close(bright, before * gains, rtol=0, atol=1.0)
    assert ((gains > 0.7) & (gains < 1.3) & (gains != 1)).all()


def test_nothing_asked_is_nothing_done(clip: Clip):
    assert (augment(clip, 0, 0.0, np.random.default_rng(0)).frames == clip.frames).all()


def test_half_of_the_clips_are_seen_in_the_mirror_each_as_a_whole(clip: Clip, spec: ClipSpec):
    mirror = Mirror("dx,x", spec)
    image = mirror.clip(clip)
    turned = 0
    for seed in range(40):
        seen = in_mirror(clip, mirror, np.random.default_rng(seed))
        for index in range(clip.batch_size):
            source = image if (seen.frames[:, index] == image.frames[:, index]).all() else clip
            turned += source is image
            for name in ("frames", "actions", "states"):
                assert (getattr(seen, name)[:, index] == getattr(source, name)[:, index]).all()
    assert 40 < turned < 80  # of 120


def test_states_are_moved_by_a_constant_that_keeps_them_in_range(clip: Clip, spec: ClipSpec):
    state = replace(spec.state, names=("dx", "y"), low=(-6.0, -9.0), high=(4.0, 9.0))
    moved = with_states_moved(clip, replace(spec, state=state), 1.0, np.random.default_rng(0))
    assert (moved.frames == clip.frames).all()
    by = (moved.states - clip.states)[0]
    torch.testing.assert_close(moved.states - clip.states, by.expand(6, 3, 2))
    assert len(by.unique()) == by.numel()
    assert (moved.states >= torch.tensor(state.low)).all()
    assert (moved.states <= torch.tensor(state.high)).all()
    torch.testing.assert_close(moved.actions[..., 0], clip.actions[..., 0] + by[:, 0])
    assert (moved.actions[..., 1] == clip.actions[..., 1]).all()


def test_states_that_leave_no_room_and_clips_without_states_stay(clip: Clip, spec: ClipSpec):
    state = replace(spec.state, low=(-0.1, -0.1), high=(0.1, 0.1))
    moved = with_states_moved(clip, replace(spec, state=state), 1.0, np.random.default_rng(0))
    assert (moved.states == clip.states).all()
    bare = Clip(clip.frames, clip.actions, None)
    assert with_states_moved(bare, spec, 1.0, np.random.default_rng(0)) is bare
