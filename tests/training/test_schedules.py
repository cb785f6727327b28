from __future__ import annotations

import itertools
import math

import pytest
import torch

from framecast.training import schedules
from framecast.training.dynamic_weight import DynamicWeight
from framecast.training.recipe import Recipe
from framecast.training.settings import (
    KLConfig,
    OptimizerConfig,
    TeacherForcingConfig,
    TrainingConfig,
)


def ratios(config: TeacherForcingConfig, steps: int = 100) -> list[float]:
    recipe = Recipe(teacher_forcing=config, training=TrainingConfig(epochs=steps, epoch_size=1))
    return [schedules.teacher_forcing_ratio(recipe, step) for step in range(steps + 1)]


def test_teacher_forcing_falls_from_its_epoch_to_its_bound():
    config = TeacherForcingConfig(1.0, start_decay_epoch=2, decay_step=0.3, lower_bound=0.25)
    assert ratios(config)[:7] == pytest.approx([1, 1, 1, 0.7, 0.4, 0.25, 0.25])


@pytest.mark.parametrize("schedule", ["linear", "inverse_sigmoid", "exponential"])
def test_teacher_forcing_falls_over_its_share_of_the_run(schedule: str):
    config = TeacherForcingConfig(
        0.9, lower_bound=0.1, schedule=schedule, decay_from=0.2, decay_until=0.7
    )
    fall = ratios(config)
    assert fall[:21] == pytest.approx([0.9] * 21)
    assert fall[70:] == pytest.approx([0.1] * 31)
    assert all(before > after for before, after in itertools.pairwise(fall[20:71]))
    middle = {"linear": 0.5, "inverse_sigmoid": 0.5, "exponential": 0.1 + 0.8 / (1 + math.e**5)}
    assert fall[45] == pytest.approx(middle[schedule])


def test_constant_teacher_forcing_is_constant():
    assert set(ratios(TeacherForcingConfig(0.8, schedule="constant", decay_step=0.3))) == {0.8}


def test_the_kl_weight_never_passes_beta_and_multiplies_it():
    for annealing in ("constant", "monotonic", "cyclical"):
        config = KLConfig(beta=0.02, annealing=annealing, ratio=0.5, cycles=3)
        weights = [schedules.kl_weight(config, step, 300) for step in range(300)]
        assert max(weights) == 0.02
        assert (min(weights) == 0.0) == (annealing != "constant")


def test_cyclical_annealing_rises_in_the_given_share_of_every_cycle():
    config = KLConfig(beta=1.0, annealing="cyclical", ratio=0.5, cycles=3)
    weights = [schedules.kl_weight(config, step, 300) for step in range(300)]
    assert weights[:100] == pytest.approx(weights[100:200])
    assert weights[25] == pytest.approx(0.5)
    assert set(weights[50:100]) == {1.0}


def test_monotonic_annealing_rises_once():
    config = KLConfig(beta=1.0, annealing="monotonic", ratio=0.25)
    weights = [schedules.kl_weight(config, step, 100) for step in range(100)]
    assert weights == sorted(weights)
    assert weights[25] == 1.0


def test_the_learning_rate_ends_at_a_hundredth():
    recipe = Recipe(optimizer=OptimizerConfig(lr=0.1, lr_schedule="cosine"))
    assert schedules.learning_rate(recipe, 0) == 0.1
    assert schedules.learning_rate(recipe, recipe.num_steps) == pytest.approx(0.001)


def test_the_learning_rate_warms_up_and_goes_on_from_there():
    optimizer = OptimizerConfig(lr=0.1, lr_schedule="cosine", warmup_steps=10)
    recipe = Recipe(optimizer=optimizer, training=TrainingConfig(epochs=1, epoch_size=100))
    rates = [schedules.learning_rate(recipe, step) for step in range(101)]
    assert rates[:11] == pytest.approx([0.01 * (step + 1) for step in range(10)] + [0.1])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.001)


def test_a_dynamic_weight_finds_the_one_that_holds_the_rate():
    """For a KL that falls with its weight as 1e-3 / weight, target 5 is held at 2e-4."""
    weight = DynamicWeight(
        KLConfig(beta=1.0, target_rate=5.0, dynamic_start=1e-6, dynamic_speed=0.05)
    )
    for _ in range(600):
        weight.follow(1e-3 / weight.value)
    assert weight.value == pytest.approx(2e-4, rel=0.05)


@pytest.mark.parametrize(("kl", "bound"), [(100.0, 1e-5), (0.01, 1e-8)])
def test_a_dynamic_weight_keeps_within_its_bounds(kl: float, bound: float):
    weight = DynamicWeight(KLConfig(beta=1e-5, dynamic_least=1e-8, target_rate=1.0))
    for _ in range(1000):
        weight.follow(kl)
    assert weight.value == bound


@pytest.mark.parametrize("draw", ["batch", "sequence", "frame"])
def test_draws_are_as_many_as_asked_and_as_likely(draw: str):
    config = TeacherForcingConfig(draw=draw)
    drawn = torch.stack(
        [schedules.feed_truth(config, 0.7, (11, 40), seed=1, step=step) for step in range(200)]
    )
    assert abs(float(drawn.float().mean()) - 0.7) < 0.1
    if draw == "batch":
        assert (drawn == drawn[:, :1, :1]).all()
    elif draw == "sequence":
        assert (drawn == drawn[:, :1]).all()
        assert (drawn != drawn[:, :, :1]).any()
    else:
        assert (drawn != drawn[:, :1]).any()


def test_certain_draws_are_certain():
    config = TeacherForcingConfig(draw="frame")
    assert schedules.feed_truth(config, 1.0, (11, 4), seed=1, step=1).all()
    assert not schedules.feed_truth(config, 0.0, (11, 4), seed=1, step=1).any()


def test_noise_is_named_by_seed_and_step():
    shape = (3, 2, 4)
    first = schedules.latent_noise(shape, seed=1, step=2)
    assert (schedules.latent_noise(shape, seed=1, step=2) == first).all()
    for seed, step in ((1, 3), (2, 2), (2, 1)):
        assert (schedules.latent_noise(shape, seed=seed, step=step) != first).all()


def test_the_implied_sigma_makes_the_loss_a_bound():
    """Mean squared error + beta KL and the Gaussian bound have gradients in one ratio."""
    beta, num_pixels = 1e-4, 12_288
    sigma = schedules.implied_pixel_sigma(beta, num_pixels)
    assert sigma == pytest.approx(0.78, abs=0.01)
    assert 1 / (2 * sigma**2) * num_pixels == pytest.approx(1 / beta)
    assert math.isfinite(sigma)
