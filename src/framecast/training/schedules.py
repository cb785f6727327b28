"""What changes during a run, each a pure function of the step: a resumed run needs no memory.

Shape letters: T frames, B batch, Z latent.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from framecast.training.recipe import Recipe
from framecast.training.settings import ClipsConfig, KLConfig, TeacherForcingConfig

FINAL_LR_SHARE = 0.01
ACTIVE_NATS = 0.01  # a dimension with less says next to nothing (Burda 2016)


def teacher_forcing_ratio(recipe: Recipe, step: int) -> float:
    """Probability of being fed the true frame at this step."""
    config = recipe.teacher_forcing
    if config.schedule == "constant":
        return config.start
    if config.schedule == "epochs":
        epochs_decayed = max(0, step // recipe.training.epoch_size - config.start_decay_epoch)
        return max(config.lower_bound, config.start - config.decay_step * epochs_decayed)
    fall = config.decay_until - config.decay_from
    position = min(1.0, max(0.0, (step / recipe.num_steps - config.decay_from) / fall))
    left = _share_left(config, position)
    return config.lower_bound + (config.start - config.lower_bound) * left


def horizon(config: ClipsConfig, step: int, num_steps: int) -> int:
    """Frames predicted at this step: grows evenly from first_horizon to the whole horizon."""
    if not config.first_horizon:
        return config.horizon
    grown = min(1.0, step / num_steps / config.full_horizon_at)
    return round(config.first_horizon + (config.horizon - config.first_horizon) * grown)


def _share_left(config: TeacherForcingConfig, position: float) -> float:
    """What is left of a decay, from 1 at position 0 to 0 at position 1.

    The curves of Bengio 2015, moved and stretched so that both ends are met exactly.
    """
    if config.schedule == "linear":
        return 1 - position
    curve = _sigmoid_curve if config.schedule == "inverse_sigmoid" else _exponential_curve
    first, last = curve(0.0, config.steepness), curve(1.0, config.steepness)
    return (curve(position, config.steepness) - last) / (first - last)


def _sigmoid_curve(position: float, steepness: float) -> float:
    return 1 / (1 + math.exp(min(500.0, steepness * (position - 0.5))))


def _exponential_curve(position: float, steepness: float) -> float:
    return math.exp(-steepness * position)


def kl_weight(config: KLConfig, step: int, num_steps: int) -> float:
    """Beta at this step: the maximum times the annealing (Fu 2019 for cyclical).

    A dynamic weight depends on what was measured, so it is not a function of the step: see
    `DynamicWeight`.
    """
    if config.annealing in ("constant", "dynamic"):
        return config.beta
    cycles = config.cycles if config.annealing == "cyclical" else 1
    position = (step / num_steps * cycles) % 1.0
    return config.beta * min(1.0, position / config.ratio)


def learning_rate(recipe: Recipe, step: int) -> float:
    """A linear warm-up, then constant, or a half cosine from lr to 1% of it."""
    lr, warmup = recipe.optimizer.lr, recipe.optimizer.warmup_steps
    if step < warmup:
        return lr * (step + 1) / warmup
    if recipe.optimizer.lr_schedule == "constant":
        return lr
    progress = min(1.0, (step - warmup) / max(1, recipe.num_steps - warmup))
    share = (1 + math.cos(math.pi * progress)) / 2
    return lr * (FINAL_LR_SHARE + (1 - FINAL_LR_SHARE) * share)


def feed_truth(
    config: TeacherForcingConfig, ratio: float, shape: tuple[int, int], seed: int, step: int
) -> Tensor:
    """Which inputs of this step's batch are true frames: (T - 1, B) bool."""
    num_frames, batch_size = shape
    drawn = {"batch": (1, 1), "sequence": (1, batch_size), "frame": shape}[config.draw]
    draws = torch.rand(drawn, generator=_generator(seed, step, stream=0))
    return (draws < ratio).expand(num_frames, batch_size)


def latent_noise(shape: tuple[int, int, int], seed: int, step: int) -> Tensor:
    """Standard normal noise of a step's batch: (T, B, Z)."""
    return torch.randn(shape, generator=_generator(seed, step, stream=1))


def implied_pixel_sigma(beta: float, num_pixels: int) -> float:
    """The pixel noise for which `mean squared error + beta * KL` is an evidence lower bound.

    With D numbers a frame, |x - y|^2 / (2 sigma^2) + KL has the same minimum as
    |x - y|^2 / D + beta KL where sigma = sqrt(beta D / 2).
    """
    return math.sqrt(beta * num_pixels / 2)


def active_dimensions(kl_per_dimension: Tensor) -> int:
    """How many latent dimensions carry more than a hundredth of a nat a frame."""
    return int((kl_per_dimension > ACTIVE_NATS).sum())


def _generator(seed: int, step: int, stream: int) -> torch.Generator:
    # Distinct odd multipliers keep the streams of neighbouring steps and seeds apart.
    mixed = seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + stream * 0x94D049BB133111EB
    return torch.Generator().manual_seed(mixed % 2**63)
