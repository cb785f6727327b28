"""Things are followed, and what was hidden is believed only if that is borne out."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from framecast.clip import ClipSpec
from framecast.data.windows import Windows
from framecast.models.sprites import Cover, guessed, over
from framecast.models.thing_motion import ThingMotion
from framecast.training import tracks
from framecast.training.tracks import Watched, followed
from tests.models.test_regions import BLUE, table_with
from tests.training.test_sprites import recorded
from tests.training.test_things import episode

ROBOT = (0.9, 0.1, 0.1)
HALF, ROW = 5, 32


def watched(spec: ClipSpec, things: list[int], robots: list[int]) -> Watched:
    """A blue thing, and a wider robot over it, whose middles are in these columns of each frame."""
    frames, drawn = [], []
    for thing, robot in zip(things, robots, strict=True):
        rows, columns = slice(ROW - HALF, ROW + HALF), slice(thing - HALF, thing + HALF)
        layer = torch.zeros(1, 4, 64, 64)
        colours = torch.tensor([*ROBOT, 1.0])[:, None, None]
        layer[0, :, ROW - 8 : ROW + 8, max(0, robot - 8) : robot + 8] = colours
        frames.append(over(table_with((rows, columns, BLUE)), layer))
        drawn.append(layer)
    covers = [Cover(now, then) for now, then in itertools.pairwise(drawn)]
    nothing = torch.zeros(len(covers), 1, 0)
    shown = torch.stack(frames)
    things_found = ThingMotion(2, spec, 6).find(guessed(shown[0], drawn[0]))
    return Watched(things_found, shown, drawn, covers, nothing)


def track(things: list[int], robots: list[int], spec: ClipSpec) -> tuple[Tensor, Tensor]:
    """Ways across (T,) of the one thing, and whether they are believed."""
    found = followed(watched(spec, things, robots))
    poses, sure = found.poses, found.sure
    assert poses[:, 0, 0, 1:].abs().max() < 1
    assert (poses[:, 0, 1] == 0).all(), "there is no second thing"
    return poses[:, 0, 0, 0], sure[:, 0, 0]


def test_a_thing_is_followed_as_it_is_pushed(spec: ClipSpec):
    ways, sure = track([30, 30, 33, 37, 40, 40], [10, 16, 20, 24, 27, 24], spec)
    assert ways.tolist() == pytest.approx([0, 0, 3, 7, 10, 10], abs=0.5)
    assert sure.all()


def test_what_is_hidden_and_found_again_where_it_was_has_stayed(spec: ClipSpec):
    ways, sure = track([30] * 5, [10, 20, 30, 40, 50], spec)
    assert ways.tolist() == pytest.approx([0] * 5, abs=0.5)
    assert sure.all()


def test_what_is_found_elsewhere_may_have_gone_at_any_step_that_hid_it(spec: ClipSpec):
    ways, sure = track([30, 30, 32, 35, 35], [10, 20, 32, 35, 54], spec)
    assert sure.tolist() == [True, True, False, False, True]
    assert float(ways[-1]) == pytest.approx(5, abs=0.5)


def test_what_is_not_seen_again_is_not_believed(spec: ClipSpec):
    _, sure = track([30, 30, 30, 30], [10, 20, 30, 30], spec)
    assert sure.tolist() == [True, True, False, False]


def test_windows_from_all_over_the_recordings_are_followed_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = recorded(tmp_path / "pushes", [episode(seed, pushes=True) for seed in range(12)])
    windows = Windows(store, 4)
    assert sorted(np.concatenate(tracks.parts_of(windows))) == windows.starts.tolist()
    monkeypatch.setattr(tracks, "MAX_WINDOWS", 9)
    starts = np.concatenate(tracks.parts_of(windows)).tolist()
    assert starts == sorted(set(starts))
    assert len(starts) == 9
    assert set(starts) <= set(windows.starts.tolist())
    assert starts[-1] - starts[0] > len(store.pixels) / 2
