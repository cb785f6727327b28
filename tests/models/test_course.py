"""Laws of the course model, for both image networks where it matters."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from framecast.clip import Clip, ClipSpec
from framecast.errors import UserError
from framecast.models.config import CourseConfig
from framecast.models.course import CourseModel

SMALL = CourseConfig(code_dim=8, latent_dim=4, hidden_dim=16, condition_dim=8)
CONTEXT = 2
ALL_TRUE = torch.ones(5, 3, dtype=torch.bool)


def build(spec: ClipSpec, **changes: object) -> CourseModel:
    torch.manual_seed(0)
    return CourseModel(dataclasses.replace(SMALL, **changes), spec, CONTEXT)


def noise(clip: Clip, steps: int) -> Tensor:
    return torch.randn(steps, clip.batch_size, 4, generator=torch.Generator().manual_seed(1))


def predict(model: CourseModel, clip: Clip, states_given: bool = True) -> Tensor:
    return model.eval().predict(clip, CONTEXT, noise(clip, 4), states_given)


@pytest.mark.parametrize("network", ["dcgan", "vgg"])
@pytest.mark.parametrize("last_frame_skip", [False, True])
def test_batched_and_step_by_step_paths_agree(
    spec: ClipSpec, clip: Clip, network: str, last_frame_skip: bool, monkeypatch: pytest.MonkeyPatch
):
    results = []
    for step_by_step in (False, True):
        model = build(spec, image_network=network, last_frame_skip=last_frame_skip).double()
        if step_by_step:
            general = model._predict_step_by_step
            monkeypatch.setattr(
                model,
                "_predict_from_truth",
                lambda code, skips, latent, condition, general=general: general(
                    clip.float_frames(torch.float64)[:-1], code, skips, latent, condition, ALL_TRUE
                ),
            )
        loss = model.loss(clip, 0.01, ALL_TRUE, noise(clip, 5))
        loss.total.backward()
        results.append((loss.total, {n: p.grad for n, p in model.named_parameters()}))
    (batched, batched_gradients), (general_loss, gradients) = results
    torch.testing.assert_close(batched, general_loss, rtol=1e-9, atol=1e-9)
    for name, gradient in gradients.items():
        torch.testing.assert_close(batched_gradients[name], gradient, rtol=1e-7, atol=1e-9)


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
    model = build(spec, code_dim=32, hidden_dim=64)
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
    with pytest.raises(UserError, match="64x64, got 128x128"):
        build(dataclasses.replace(spec, height=128, width=128))
    with pytest.raises(UserError, match="no states"):
        build(dataclasses.replace(spec, state=None))
