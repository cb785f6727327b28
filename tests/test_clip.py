from __future__ import annotations

import pytest
import torch

from framecast.clip import Clip, ClipSpec
from framecast.errors import UserError
from tests.conftest import vector


def test_a_spec_survives_json(spec: ClipSpec):
    assert ClipSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"state": 3}', "not json"])
def test_text_that_is_no_spec_is_refused(text: str):
    with pytest.raises(UserError, match="clip spec"):
        ClipSpec.from_json(text)


def test_one_action_a_frame_is_refused_with_advice():
    frames = torch.zeros(5, 1, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(UserError, match=r"5 frames needs 4 actions, got 5.*actions\[:-1\]"):
        Clip(frames, torch.zeros(5, 1, 2))


def test_data_with_other_actions_is_refused_by_name(spec: ClipSpec):
    other = ClipSpec(64, 64, 3, 5.0, vector(("joint",)), spec.state, "other")
    with pytest.raises(UserError, match=r"2 numbers \(dx, dy\), but here has of 1 numbers"):
        spec.require_same_signals(other, whose="here")
