"""Everything a model makes lies where the model lies.

The meta device has shapes and no numbers; like a GPU it refuses what was left on the processor.
"""

from __future__ import annotations

import contextlib

import pytest
import torch

from framecast.clip import Clip
from framecast.models.base import VideoModel
from framecast.models.config import CourseConfig, ModelConfig, SpatialConfig, SvgConfig, WarpConfig
from framecast.models.registry import build
from tests.models.test_warp_sampler import made_up, random_clip

META = torch.device("meta")
SMALL = {"image_width": 4, "code_dim": 6, "latent_dim": 3, "hidden_dim": 5, "condition_dim": 4}
CONFIGS: list[ModelConfig] = [
    CourseConfig(**SMALL, condition_network="convolution", latent_levels=2),
    SvgConfig(**SMALL, image_network="vgg", condition="action+state"),
    SpatialConfig(**SMALL, last_frame_skip=True),
    WarpConfig(fine_width=8, middle_width=16, coarse_width=8, latent_channels=1),
]


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch: pytest.MonkeyPatch):
    """It knows no meta device."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _: False)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
@pytest.mark.parametrize("fed_back", [False, True])
def test_a_loss_and_its_gradients_stay_on_the_device(
    config: ModelConfig, fed_back: bool, monkeypatch: pytest.MonkeyPatch
):
    # Which steps feed predictions back is asked of numbers, which there are none of.
    monkeypatch.setattr(
        VideoModel, "steps_fed_back", staticmethod(lambda _: [False] * 2 + [fed_back] * 3)
    )
    model = build(config, made_up(64, 64, 3), 2).to(META).train()
    clip = random_clip(model.spec).to(META)
    noise = torch.empty(5, 3, model.latent_dim, device=META)
    truth = torch.ones(5, 3, dtype=torch.bool, device=META)
    loss = model.loss(clip, 1e-4, truth, noise)
    loss.total.backward()
    assert loss.total.device == META
    assert all(p.grad is None or p.grad.device == META for p in model.parameters())


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
def test_futures_are_imagined_on_the_device(config: ModelConfig):
    model = build(config, made_up(64, 64, 3), 2).to(META).eval()
    clip: Clip = random_clip(model.spec).to(META)
    assert clip.states is not None
    frames = clip.float_frames(torch.float32)[:2]
    state = model.observe(frames, clip.actions[:1], clip.states[:2])
    noise = torch.empty(4, 3, model.latent_dim, device=META)
    future = model.rollout(state, clip.actions[1:], noise)
    assert future.device == META
    assert future.shape == (4, 3, 3, 64, 64)
