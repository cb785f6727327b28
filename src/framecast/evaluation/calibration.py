"""Does the model believe its own uncertainty? Samples against what came true.

Everything is taken on frames of 8 bits, as the truth is; a true pixel equal to several samples
shares its rank evenly among the places it could have. docs/protocols.md has formulas and sources.

Shape letters: S samples, P predicted frames, B clips, D numbers of a frame, C H W image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from framecast.models.threads import in_threads

Floats = NDArray[np.float64]

MOTION = 12  # of 255: a pixel that differs by more from the last context frame is in motion
LEVELS = (0.5, 0.8, 0.9)
CALIBRATION_TEXT = (
    "frames of 8 bits; ranks with ties shared evenly; expected motion: where the mean sample "
    f"differs by more than {MOTION}/255 from the last context frame; true motion: where the truth "
    "does; energy score and spread: unbiased (fair) estimates"
)


@dataclass(frozen=True)
class Calibration:
    """What is kept of a group of clips.

    Attributes:
        ranks: (S + 1,) number of true pixels above 0, 1, .. S samples, over all pixels.
        moving_ranks: the same, where the model expects motion.
        energy: (P, B) energy score of every frame, in root mean squares of pixels.
        energy_future: (B,) energy score of the whole future.
        spread: (P, B) variance among the samples, mean over the pixels in true motion.
        error: (P, B) squared error of the mean sample there.
    """

    ranks: Floats
    moving_ranks: Floats
    energy: Floats
    energy_future: Floats
    spread: Floats
    error: Floats

    @classmethod
    def of(cls, samples: Tensor, true: Tensor, last: Tensor) -> Calibration:
        """
        Args:
            samples: (S, P, B, C, H, W) uint8, at least two
            true: (P, B, C, H, W) uint8
            last: (B, C, H, W) uint8, the last context frame
        """

        def of_clip(clip: int) -> Calibration:
            return cls._of_clip(samples[:, :, clip], true[:, clip], last[clip])

        parts = in_threads(of_clip, range(samples.shape[2]), samples.device)
        return cls(
            np.sum([part.ranks for part in parts], axis=0),
            np.sum([part.moving_ranks for part in parts], axis=0),
            np.concatenate([part.energy for part in parts], axis=1),
            np.concatenate([part.energy_future for part in parts]),
            np.concatenate([part.spread for part in parts], axis=1),
            np.concatenate([part.error for part in parts], axis=1),
        )

    @classmethod
    def _of_clip(cls, samples: Tensor, true: Tensor, still: Tensor) -> Calibration:
        """Of (S, P, C, H, W), (P, C, H, W) and (C, H, W)."""
        num_samples, horizon = samples.shape[:2]
        ranks, moving_ranks = np.zeros((2, num_samples + 1))
        energy, spread, error = np.full((3, horizon, 1), np.nan)
        to_truth = torch.zeros(num_samples, dtype=torch.float64)
        within = torch.zeros(num_samples, num_samples, dtype=torch.float64)
        for step, truth in enumerate(true):
            drawn = samples[:, step]
            numbers = drawn.float()
            mean = numbers.mean(dim=0)
            below, ties = _count(drawn < truth), _count(drawn == truth)
            expected = _in_motion(mean, still)
            ranks += rank_counts(below, ties, num_samples)
            moving_ranks += rank_counts(below[:, expected], ties[:, expected], num_samples)
            a, b = squared_distances(numbers, truth)
            energy[step] = energy_score(a, b)
            to_truth += a
            within += b
            moved = _in_motion(truth.float(), still)
            if bool(moved.any()):
                varied = (numbers - mean).square_().mean(dim=0)[:, moved].mean()
                spread[step] = float(varied) * num_samples / (num_samples - 1) / 255**2
                error[step] = float((mean - truth)[:, moved].square().mean()) / 255**2
        future = np.array([energy_score(to_truth / horizon, within / horizon)])
        return cls(ranks, moving_ranks, energy, future, spread, error)


def _count(chosen: Tensor) -> Tensor:
    """How many along the first dimension; adding up bytes as such spares a copy of eight times."""
    dtype = torch.uint8 if len(chosen) < 256 else torch.int32
    return chosen.view(torch.uint8).sum(dim=0, dtype=dtype).long()


def rank_counts(below: Tensor, ties: Tensor, num_samples: int) -> Floats:
    """How many true values have rank 0 .. S, a tie counting in equal parts for all its ranks."""
    low = below.flatten().cpu().numpy()
    high = low + ties.flatten().cpu().numpy() + 1
    share = 1 / (high - low)
    rises = np.bincount(low, weights=share, minlength=num_samples + 2)
    falls = np.bincount(high, weights=share, minlength=num_samples + 2)
    counts: Floats = np.cumsum(rises - falls)[: num_samples + 1]
    return counts


def squared_distances(samples: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared difference a pixel, of samples (S, ...) to the truth (S,) and among them (S, S).

    Numbers from 0 to 255 in, differences of numbers from 0 to 1 out.
    """
    numbers = samples.flatten(1).float()
    to_truth = (numbers - truth.flatten()).square_().mean(dim=1).double()
    return to_truth / 255**2, pairwise_squares(numbers, numbers) / 255**2


def pairwise_squares(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared difference of every pair: (S, D), (M, D) -> (S, M)."""
    size, same = first.shape[1], first is second
    centre = first.mean(dim=0)  # products of small numbers keep their digits
    first = first - centre
    second = first if same else second - centre
    products = (first @ second.T).double()
    lengths = [products.diag()] * 2 if same else [_squared_length(x) for x in (first, second)]
    distances = (lengths[0][:, None] + lengths[1] - 2 * products).clamp_(min=0) / size
    return distances.fill_diagonal_(0) if same else distances


def _squared_length(numbers: Tensor) -> Tensor:
    return numbers.square().sum(dim=1).double()


def energy_score(to_truth: Tensor, within: Tensor) -> float:
    """E|X - y| - E|X - X'| / 2 (Gneiting and Raftery 2007) from squared distances; X' is not X."""
    num_samples = len(to_truth)
    among = within.sqrt().sum() / (num_samples * (num_samples - 1))
    return float(to_truth.sqrt().mean() - among / 2)


def summary(parts: list[Calibration]) -> dict[str, Any]:
    """What is written of all groups of clips together."""
    ranks = sum((part.ranks for part in parts), np.zeros(len(parts[0].ranks)))
    moving = sum((part.moving_ranks for part in parts), np.zeros(len(ranks)))
    energy, spread, error = (
        np.concatenate([getattr(part, name) for part in parts], axis=1)
        for name in ("energy", "spread", "error")
    )
    num_samples = len(ranks) - 1
    future = np.concatenate([part.energy_future for part in parts])
    return {
        "num_samples": num_samples,
        "rank_histogram": {"all": _shares(ranks), "expected_motion": _shares(moving)},
        "coverage": {"all": coverage(ranks), "expected_motion": coverage(moving)},
        "energy_score": float(energy.mean()),
        "energy_score_per_step": energy.mean(axis=1).tolist(),
        "energy_score_of_the_future": float(future.mean()),
        "diversity": _root_mean(spread),
        "diversity_per_step": [_root_mean(step) for step in spread],
        # For samples from the truth's own distribution the ratio is 1 (Fortin 2014).
        "spread_over_error": _ratio((num_samples + 1) / num_samples * spread, error),
    }


def coverage(ranks: Floats) -> list[dict[str, float]]:
    """How often the truth lies within central intervals of the samples, beside how often it should.

    With S samples the interval from the a-th to the a-th last should hold it (S + 1 - 2a) of
    S + 1 times; the a closest to each of the usual levels is taken.
    """
    num_samples, total = len(ranks) - 1, ranks.sum()
    levels = {}
    for level in LEVELS:
        a = max(1, round((1 - level) * (num_samples + 1) / 2))
        nominal = (num_samples + 1 - 2 * a) / (num_samples + 1)
        if nominal > 0 and total > 0:
            levels[nominal] = float(ranks[a : num_samples + 1 - a].sum() / total)
    return [{"nominal": nominal, "covered": covered} for nominal, covered in levels.items()]


def _in_motion(frame: Tensor, still: Tensor) -> Tensor:
    return (frame - still.float()).abs().amax(dim=0) > MOTION


def _shares(ranks: Floats) -> list[float]:
    total = ranks.sum()
    return (ranks / total).tolist() if total > 0 else []


def _root_mean(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.sqrt(known.mean())) if known.size else None


def _ratio(spread: Floats, error: Floats) -> float | None:
    bottom = _root_mean(error)
    top = _root_mean(spread)
    return top / bottom if top is not None and bottom else None
