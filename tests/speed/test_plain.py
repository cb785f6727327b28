"""The plain reference and the product compute the same loss, gradients and samples."""

from __future__ import annotations

import pytest
import torch

from framecast.clip import Clip
from framecast.models.config import SvgConfig
from framecast.models.course import CourseModel
from framecast.speed.plain import PlainSvg
from tests.models.test_warp_sampler import made_up, random_clip

BETA = 0.01


def pair(image_network: str) -> tuple[CourseModel, PlainSvg, Clip]:
    torch.manual_seed(0)
    config = SvgConfig(image_network=image_network)
    model = CourseModel(config, made_up(64, 64, 3), num_context=2).double()
    clip = random_clip(model.spec, num_frames=4, num_clips=2)
    return model, PlainSvg(model), clip


@pytest.mark.parametrize("teacher_forcing", [True, False])
@pytest.mark.parametrize("image_network", ["dcgan", "vgg"])
def test_loss_and_every_gradient_agree(image_network: str, teacher_forcing: bool):
    model, plain, clip = pair(image_network)
    noise = torch.randn(3, 2, 64, dtype=torch.float64)
    truth = torch.full((3, 2), teacher_forcing)
    ours = model.loss(clip, BETA, truth, noise).total
    theirs, _ = plain.loss(clip.float_frames(torch.float64), BETA, noise, teacher_forcing)
    assert abs(ours.item() - theirs.item()) < 1e-12
    ours.backward()
    theirs.backward()
    compared = 0
    for name, network in plain.named_children():
        pairs = zip(network.parameters(), model.get_submodule(name).parameters(), strict=True)
        for one, other in pairs:
            assert one.grad is not None
            assert other.grad is not None
            torch.testing.assert_close(other.grad, one.grad, rtol=0, atol=1e-9)
            compared += 1
    assert compared == len(list(model.parameters()))


@pytest.mark.parametrize("image_network", ["dcgan", "vgg"])
def test_samples_agree(image_network: str):
    model, plain, clip = pair(image_network)
    model.eval(), plain.eval()
    noise = torch.randn(2, 2, 64, dtype=torch.float64)
    sampler = model.sampler(bfloat16=False)
    context = clip.float_frames(torch.float64)[:2]
    state = sampler.observe(context, clip.actions[:1], None)
    imagined = torch.stack(list(sampler.steps(state, clip.actions[1:], noise)))
    torch.testing.assert_close(imagined, plain.sample(context, noise), rtol=0, atol=1e-9)
