"""The course family's sampler imagines what the model imagines."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from framecast.clip import Clip
from framecast.models.config import CourseConfig, SpatialConfig, SvgConfig
from framecast.models.course import CourseModel
from tests.models.test_warp_sampler import made_up, random_clip

SMALL = {"image_width": 4, "code_dim": 6, "latent_dim": 3, "hidden_dim": 5, "condition_dim": 4}
WIDE = {"image_width": 64, "hidden_dim": 8}  # wide enough for patches to be gathered


def trained_looking(config: CourseConfig) -> CourseModel:
    """A model whose batch norms have seen something, so that folding them is not the identity."""
    torch.manual_seed(0)
    model = CourseModel(config, made_up(64, 64, 3), num_context=2)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, 0.0, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.normal_(layer.bias, 0.0, 0.1)
        elif isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
    return model.eval()


def sampled(model: CourseModel, clip: Clip, noise: Tensor | None, bfloat16: bool) -> Tensor:
    sampler = model.sampler(bfloat16)
    assert clip.states is not None
    state = sampler.observe(clip.float_frames(model.dtype)[:2], clip.actions[:1], clip.states[:2])
    branched = state.repeat(2).take(torch.arange(0, 6, 2))
    return torch.stack(list(sampler.steps(branched, clip.actions[1:], noise)))


@pytest.mark.parametrize(
    "config",
    [
        CourseConfig(**SMALL),
        CourseConfig(**WIDE),
        CourseConfig(**SMALL, image_network="vgg", condition_network="convolution"),
        SvgConfig(**SMALL, last_frame_skip=True, condition="action"),
        SvgConfig(**SMALL, image_network="vgg", prior="fixed", published_skips=True),
        SpatialConfig(**SMALL),
        CourseConfig(**{**SMALL, "latent_dim": 0}, norm="group"),
    ],
    ids=lambda config: f"{config.kind}-{config.image_network}-{config.image_width}-{config.norm}",
)
def test_the_sampler_equals_the_model_in_double_precision(config: CourseConfig):
    model = trained_looking(config).double()
    clip = random_clip(model.spec)
    noise = torch.randn(4, 3, model.latent_dim, dtype=torch.float64) if model.latent_dim else None
    expected = model.predict(clip, 2, noise, states_given=False)
    imagined = sampled(model, clip, noise, bfloat16=False)
    torch.testing.assert_close(imagined.float(), expected, rtol=0, atol=1e-7)
    assert float((imagined[0] - imagined[-1]).abs().max()) > 1e-3, "the frames do differ"


def test_sampling_leaves_the_model_as_it_is():
    model = trained_looking(CourseConfig(**SMALL))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sampled(model, random_clip(model.spec), None, bfloat16=True)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_bfloat16_is_close():
    model = trained_looking(dataclasses.replace(CourseConfig(), **WIDE))
    clip = random_clip(model.spec)
    noise = torch.randn(4, 3, model.latent_dim)
    expected = model.predict(clip, 2, noise, states_given=False)
    imagined = sampled(model, clip, noise, bfloat16=True)
    assert float((imagined - expected).square().mean()) < 1e-4
