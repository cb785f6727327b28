from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from framecast.clip import Clip, ClipSpec
from framecast.data.augment import StateShift, augment, in_mirror
from framecast.data.episodes import EpisodeStore
from framecast.data.header import Header
from framecast.data.windows import Windows
from framecast.data.writer import DatasetWriter
from framecast.errors import UserError
from framecast.mirror import Mirror
from tests.conftest import moving_square


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


def stored(folder: Path, kinds: tuple[str, ...], states: tuple[str, ...] = ("d1", "y")):
    """One split of squares whose second action has the name of the first state."""
    units = ("px", "px")
    header = Header(64, 64, 3, 5.0, ("d0", "d1"), units, states, units, "squares", kinds)
    with DatasetWriter(folder, header) as writer:
        for seed in range(3):
            writer.add("train", moving_square(seed))
    return EpisodeStore.open(folder, "train")


@pytest.mark.parametrize("kinds", [(), ("displacement", "target")])
def test_states_are_moved_by_a_constant_within_their_range_with_their_targets(
    tmp_path: Path, kinds: tuple[str, ...]
):
    store = stored(tmp_path / "data", kinds)
    clip = Windows(store, 4).sample(0, 0, 5)
    moved = StateShift(1.0, store)(clip, np.random.default_rng(0))
    assert (moved.frames == clip.frames).all()
    by = (moved.states - clip.states)[0]
    torch.testing.assert_close(moved.states - clip.states, by.expand(4, 5, 2), rtol=0, atol=1e-4)
    assert len(by.unique()) == by.numel()
    assert (moved.states >= torch.tensor(store.spec.state.low) - 1e-4).all()
    assert (moved.states <= torch.tensor(store.spec.state.high) + 1e-4).all()
    torch.testing.assert_close(moved.actions[..., 1], clip.actions[..., 1] + by[:, 0])
    assert (moved.actions[..., 0] == clip.actions[..., 0]).all()


def test_a_displacement_is_not_moved_whatever_its_name(tmp_path: Path):
    store = stored(tmp_path / "data", ("target", "displacement"))
    clip = Windows(store, 4).sample(0, 0, 5)
    moved = StateShift(1.0, store)(clip, np.random.default_rng(0))
    assert (moved.actions == clip.actions).all()
    assert (moved.states != clip.states).any()


def test_targets_whose_states_are_not_known_are_refused(tmp_path: Path):
    store = stored(tmp_path / "data", ("target", "target"), ("x", "y"))
    with pytest.raises(UserError, match=r"d0, d1\) none has a state's name \(x, y\)"):
        StateShift(1.0, store)


def test_clips_without_states_are_not_moved(tmp_path: Path):
    store = stored(tmp_path / "data", ())
    clip = Windows(store, 4).sample(0, 0, 5)
    bare = Clip(clip.frames, clip.actions, None)
    assert StateShift(1.0, store)(bare, np.random.default_rng(0)) is bare
