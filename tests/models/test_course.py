"""Laws of the course model and its relatives."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from framecast.clip import Clip, ClipSpec
from framecast.errors import UserError
from framecast.models.config import CourseConfig, SpatialConfig, SvgConfig
from framecast.models.course import CourseModel
from framecast.models.dcgan import DcganEncoder
from framecast.models.layers import ImageSpec
from framecast.models.vgg import VggEncoder

SIZES = {"code_dim": 8, "latent_dim": 4, "hidden_dim": 16, "condition_dim": 8, "image_width": 4}
SMALL = CourseConfig(**SIZES)
# One of each: every published relative, every extra of the course, every switch.
FAMILY = {
    "course": SMALL,
    "vgg": CourseConfig(**SIZES, image_network="vgg"),
    "last_frame_skip": CourseConfig(**SIZES, last_frame_skip=True),
    "group": CourseConfig(**SIZES, norm="group", predictor_norm="none"),
    "learned_prior": CourseConfig(**SIZES, prior="learned", condition_latents=True),
    "convolution": CourseConfig(**SIZES, condition_network="convolution"),
    "hierarchical": CourseConfig(**SIZES, prior="learned", latent_levels=3),
    "svg_fp": SvgConfig(**SIZES, prior="fixed", published_skips=True),
    "svg_lp": SvgConfig(**SIZES, condition="action"),
    "spatial": SpatialConfig(**SIZES, condition="action+state"),
    "spatial_vgg": SpatialConfig(
        **SIZES, image_network="vgg", condition="action", condition_network="convolution"
    ),
    "prior_share": CourseConfig(**SIZES, prior_share=0.4),
    "learned_prior_share": CourseConfig(
        **SIZES, prior="learned", latent_levels=2, condition_latents=True, prior_share=0.7
    ),
    "deterministic": CourseConfig(**SIZES | {"latent_dim": 0}),
    "deterministic_spatial": SpatialConfig(**SIZES | {"latent_dim": 0}),
}
CONTEXT = 2
ALL_TRUE = torch.ones(5, 3, dtype=torch.bool)


def build(spec: ClipSpec, **changes: object) -> CourseModel:
    return lively(dataclasses.replace(SMALL, **changes), spec)


def member(name: str, spec: ClipSpec) -> CourseModel:
    return lively(FAMILY[name], spec)


def lively(config: CourseConfig, spec: ClipSpec) -> CourseModel:
    """With weights large enough that a narrow, untrained network hands its inputs on."""
    torch.manual_seed(0)
    model = CourseModel(config, spec, CONTEXT)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)
    return model


def noise(clip: Clip, steps: int, size: int = 4) -> Tensor:
    return torch.randn(steps, clip.batch_size, size, generator=torch.Generator().manual_seed(1))


def predict(model: CourseModel, clip: Clip, states_given: bool = True) -> Tensor:
    return model.eval().predict(clip, CONTEXT, noise(clip, 4, model.latent_dim), states_given)


@pytest.mark.parametrize("name", FAMILY)
def test_batched_and_step_by_step_paths_agree(
    spec: ClipSpec, clip: Clip, name: str, monkeypatch: pytest.MonkeyPatch
):
    """Where every draw says "true frame", in float64: loss, gradients, running statistics."""
    results = []
    for step_by_step in (False, True):
        model = member(name, spec).double()
        if step_by_step:
            general, frames = model._predict_step_by_step, clip.float_frames(torch.float64)[:-1]
            monkeypatch.setattr(
                model,
                "_predict_from_truth",
                lambda *parts, general=general, frames=frames: general(
                    frames, *parts, ALL_TRUE, [False] * len(ALL_TRUE)
                )[0],
            )
        loss = model.loss(clip, 0.01, ALL_TRUE, noise(clip, 5, model.latent_dim))
        loss.total.backward()
        results.append((loss.total.detach(), model))
    (batched, fast), (general_loss, general) = results
    torch.testing.assert_close(batched, general_loss, rtol=1e-9, atol=1e-9)
    for (key, mine), theirs in zip(fast.named_parameters(), general.parameters(), strict=True):
        if mine.grad is None or theirs.grad is None:
            assert mine.grad is theirs.grad, key
        else:
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-7, atol=1e-9, msg=key)
    for mine, theirs in zip(fast.buffers(), general.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("name", ["prior_share", "learned_prior_share"])
@pytest.mark.parametrize("true", [True, False])
def test_members_that_draw_from_the_prior_do_not_see_the_frame_to_predict(
    spec: ClipSpec, clip: Clip, name: str, true: bool, monkeypatch: pytest.MonkeyPatch
):
    model = member(name, spec).double().eval()
    count = int(model.config.prior_share * clip.batch_size)
    assert 0 < count < clip.batch_size
    fed, predicted = ALL_TRUE if true else torch.zeros_like(ALL_TRUE), []
    decode = model._decode

    def watched(*parts: Any) -> Tensor:
        predicted.append(decode(*parts))
        return predicted[-1]

    monkeypatch.setattr(model, "_decode", watched)
    last = clip.frames.clone()
    last[-1] = 255 - last[-1]
    results = []
    for frames in (clip.frames, last):
        predicted.clear()
        other = Clip(frames, clip.actions, clip.states)
        model.loss(other, 0.01, fed, noise(clip, 5, model.latent_dim))
        results.append(torch.cat(predicted)[-1])
    same = (results[0] == results[1]).flatten(1).all(dim=1)
    assert same.tolist() == [member < count for member in range(clip.batch_size)]


@pytest.mark.parametrize("name", FAMILY)
def test_every_relative_is_a_video_model(spec: ClipSpec, clip: Clip, name: str):
    """It learns from a mixed diet, and its futures know neither later frames nor batch mates."""
    model = member(name, spec).double()
    mixed = torch.rand(5, 3, generator=torch.Generator().manual_seed(2)) < 0.5
    loss = model.loss(clip, 0.01, mixed, noise(clip, 5, model.latent_dim))
    loss.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    if model.latent_dim:
        torch.testing.assert_close(loss.kl_per_dimension.sum(), loss.kl)
        assert loss.kl_per_dimension.shape == (model.latent_dim,)
    else:
        assert loss.kl_per_dimension is None

    future = predict(model, clip)
    assert future.shape == (4, 3, 3, 64, 64)
    frames = clip.frames.clone()
    frames[CONTEXT:] = 0
    assert (predict(model, Clip(frames, clip.actions, clip.states)) == future).all()
    alone = clip.take(slice(1, 2))
    alone = model.predict(alone, CONTEXT, noise(clip, 4, model.latent_dim)[:, 1:2], True)
    torch.testing.assert_close(alone, future[:, 1:2])
    other = model.predict(clip, CONTEXT, noise(clip, 4, model.latent_dim) + 1, True)
    assert bool((other != future).any()) == bool(model.latent_dim)


@pytest.mark.parametrize("kind", [CourseConfig, SpatialConfig])
@pytest.mark.parametrize("network", ["dcgan", "vgg"])
def test_larger_and_grey_frames_are_taken(spec: ClipSpec, network: str, kind: type[CourseConfig]):
    spec = dataclasses.replace(spec, height=128, width=128, channels=1)
    frames = torch.randint(0, 256, (4, 2, 1, 128, 128), dtype=torch.uint8)
    clip = Clip(frames, torch.randn(3, 2, 2), torch.randn(4, 2, 2))
    model = CourseModel(kind(**SIZES, image_network=network), spec, CONTEXT)
    fed = torch.zeros(3, 2, dtype=torch.bool)
    assert torch.isfinite(model.loss(clip, 0.1, fed, torch.zeros(3, 2, model.latent_dim)).total)
    with torch.no_grad():
        assert model.eval().predict(clip, CONTEXT, None, True).shape == (2, 2, 1, 128, 128)


def test_the_published_dimensions_are_the_published_ones():
    """dcgan_128 and vgg_128 of SVG: five resolutions, the coarsest two of 512 channels."""
    for network in (DcganEncoder, VggEncoder):
        encoder = network(ImageSpec(3, 128, code_dim=128)).eval()
        _, skips = encoder(torch.zeros(1, 3, 128, 128), num_steps=1)
        assert [skip.shape[1] for skip in skips] == [64, 128, 256, 512, 512]


def test_published_skips_come_from_the_frame_before_the_last_of_the_context(
    spec: ClipSpec, clip: Clip
):
    """The course's come from the last: only those hear of it through the decoder."""
    sources = {}
    for name in ("svg_fp", "svg_lp"):
        model = member(name, spec).eval()
        state = model.observe(
            clip.float_frames(torch.float32)[:CONTEXT], clip.actions[: CONTEXT - 1], None
        )
        for index in range(CONTEXT):
            _, skips = model._encode(clip.float_frames(torch.float32)[index : index + 1])
            expected = model.decoder.skip_halves([skip[0] for skip in skips])
            if torch.allclose(expected[0], state.skip_halves[0]):
                sources[name] = index
    assert sources == {"svg_fp": CONTEXT - 2, "svg_lp": CONTEXT - 1}


def test_a_frame_fed_back_carries_gradients_or_does_not(spec: ClipSpec, clip: Clip):
    """Without them the loss is the same and only its gradient differs."""
    losses, gradients = [], []
    for carries in (True, False):
        model = member("course", spec)
        model.feedback_gradient = carries
        fed = torch.zeros_like(ALL_TRUE)
        loss = model.loss(clip, 0.0, fed, noise(clip, 5)).total
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append(model.decoder.paint.conv.weight.grad)
    assert losses[0] == losses[1]
    assert (gradients[0] != gradients[1]).any()


def test_running_statistics_of_true_frames_are_left_alone_by_frames_fed_back(
    spec: ClipSpec, clip: Clip
):
    def statistics(fed: Tensor, feedback_statistics: str) -> Tensor:
        model = build(spec, feedback_statistics=feedback_statistics)
        model.loss(clip, 0.0, fed, noise(clip, 5))
        return model.encoder.blocks[0].norm.running_mean

    none_true = torch.zeros_like(ALL_TRUE)
    truth = statistics(ALL_TRUE, "batch")
    assert (statistics(none_true, "running") == truth).all()
    assert (statistics(none_true, "batch") != truth).any()


def test_being_fed_predictions_changes_the_loss_but_not_within_the_context(
    spec: ClipSpec, clip: Clip
):
    def loss(feed_truth: Tensor) -> Tensor:
        return build(spec).loss(clip, 0.0, feed_truth, noise(clip, 5)).reconstruction

    context_only = ALL_TRUE.clone()
    context_only[:CONTEXT] = False
    torch.testing.assert_close(loss(context_only), loss(ALL_TRUE), rtol=0, atol=0)
    assert loss(torch.zeros_like(ALL_TRUE)) != loss(ALL_TRUE)


def test_an_action_changes_only_the_frames_after_it(spec: ClipSpec, clip: Clip):
    model = build(spec)
    plain = predict(model, clip, states_given=False)
    actions = clip.actions.clone()
    actions[3] += 1.0  # leads from frame 3 to frame 4, the third predicted
    turned = predict(model, Clip(clip.frames, actions, clip.states), states_given=False)
    torch.testing.assert_close(turned[:2], plain[:2], rtol=0, atol=0)
    assert (turned[2:] != plain[2:]).flatten(2).any(dim=2).all()


def test_a_given_state_changes_only_the_frames_after_its_own(spec: ClipSpec, clip: Clip):
    model = build(spec)
    states = clip.states.clone()
    states[3] += 1.0  # the state at frame 3 is first used to predict frame 4
    plain, turned = predict(model, clip), predict(model, Clip(clip.frames, clip.actions, states))
    torch.testing.assert_close(turned[:2], plain[:2], rtol=0, atol=0)
    assert (turned[2:] != plain[2:]).flatten(2).any(dim=2).all()


def test_a_rollout_ignores_frames_past_the_context(spec: ClipSpec, clip: Clip):
    frames = clip.frames.clone()
    frames[CONTEXT:] = 0
    model = build(spec)
    changed = predict(model, Clip(frames, clip.actions, clip.states))
    torch.testing.assert_close(changed, predict(model, clip), rtol=0, atol=0)


def test_predicted_states_ignore_states_past_the_context(spec: ClipSpec, clip: Clip):
    states = clip.states.clone()
    states[CONTEXT:] = 7.0
    model = build(spec)
    changed = predict(model, Clip(clip.frames, clip.actions, states), states_given=False)
    plain = predict(model, clip, states_given=False)
    torch.testing.assert_close(changed, plain, rtol=0, atol=0)


def test_a_future_does_not_depend_on_its_batch_mates(spec: ClipSpec, clip: Clip):
    model = build(spec).double()
    alone = model.eval().predict(clip.take(slice(1, 2)), CONTEXT, noise(clip, 4)[:, 1:2], True)
    torch.testing.assert_close(alone, predict(model, clip)[:, 1:2])


def test_the_noise_names_the_future(spec: ClipSpec, clip: Clip):
    model = build(spec).eval()
    torch.testing.assert_close(predict(model, clip), predict(model, clip), rtol=0, atol=0)
    other = model.predict(clip, CONTEXT, noise(clip, 4) + 1, True)
    assert (other != predict(model, clip)).any()


def test_branching_a_state_equals_rolling_out_from_it(spec: ClipSpec, clip: Clip):
    model = build(spec).double().eval()
    with torch.no_grad():
        frames = clip.float_frames(torch.float64)[:CONTEXT]
        state = model.observe(frames, clip.actions[:1], clip.states[:CONTEXT])
        frame, after = model.imagine(state, clip.actions[1])
        twice, branched = model.imagine(state.repeat(2), clip.actions[1].repeat_interleave(2, 0))
        again, _ = model.imagine(after, clip.actions[2])
        branch, _ = model.imagine(branched.take(torch.tensor([0, 2, 4])), clip.actions[2])
    torch.testing.assert_close(twice[::2], frame)
    torch.testing.assert_close(branch, again)


@pytest.mark.parametrize("condition", ["none", "action", "action+state"])
def test_a_model_listens_to_its_condition_and_to_nothing_else(
    spec: ClipSpec, clip: Clip, condition: str
):
    model = build(spec, condition=condition)
    plain = predict(model, clip)
    other_actions = predict(model, Clip(clip.frames, clip.actions + 1, clip.states))
    other_states = predict(model, Clip(clip.frames, clip.actions, clip.states + 1))
    assert (other_actions != plain).any() == (condition != "none")
    assert (other_states != plain).any() == (condition == "action+state")


def test_one_clip_can_be_overfitted(spec: ClipSpec):
    frames = torch.zeros(4, 1, 3, 64, 64, dtype=torch.uint8)
    for step in range(4):
        frames[step, :, :, 20:40, 8 + 10 * step : 18 + 10 * step] = 200
    clip = Clip(frames.repeat(1, 2, 1, 1, 1), torch.ones(3, 2, 2), torch.zeros(4, 2, 2))
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, code_dim=32, hidden_dim=64, image_width=16)
    model = CourseModel(config, spec, CONTEXT)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    fed = torch.ones(3, 2, dtype=torch.bool)
    losses = []
    for _ in range(60):
        loss = model.loss(clip, 1e-6, fed, torch.zeros(3, 2, 4))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append(float(loss.reconstruction.detach()))
    assert losses[-1] < losses[0] / 15


def test_data_the_model_cannot_take_is_refused(spec: ClipSpec):
    with pytest.raises(UserError, match="64x64 or 128x128, got 96x96"):
        build(dataclasses.replace(spec, height=96, width=96))
    with pytest.raises(UserError, match="context of at least 2, got 1"):
        CourseModel(FAMILY["svg_fp"], spec, num_context=1)
    with pytest.raises(UserError, match="no states"):
        build(dataclasses.replace(spec, state=None))
