"""What a model that knows its uncertainty looks like, and one that does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from framecast.evaluation.calibration import (
    Calibration,
    coverage,
    energy_score,
    pairwise_squares,
    rank_counts,
    squared_distances,
    summary,
)

SHAPE = (2, 3, 3, 16, 16)  # steps, clips, channels, height, width


def drawn(num_samples: int, spread: float, seed: int) -> torch.Tensor:
    """Samples (S, *SHAPE) around a picture that moves away from the last context frame."""
    random = torch.Generator().manual_seed(seed)
    noise = spread * torch.randn(num_samples, *SHAPE, generator=random)
    return (140 + noise).round().clamp(0, 255).byte()


def measured(model_spread: float, true_spread: float) -> dict:
    samples, true = drawn(9, model_spread, 0), drawn(1, true_spread, 1)[0]
    last = torch.full(SHAPE[1:], 90, dtype=torch.uint8)
    return summary([Calibration.of(samples, true, last)])


def test_a_model_that_draws_from_the_truth_has_flat_ranks_and_is_covered_as_it_should():
    honest = measured(20, 20)
    for region in ("all", "expected_motion"):
        assert honest["rank_histogram"][region] == pytest.approx([0.1] * 10, abs=0.02)
        for entry in honest["coverage"][region]:
            assert entry["covered"] == pytest.approx(entry["nominal"], abs=0.03)
    assert honest["spread_over_error"] == pytest.approx(1, abs=0.05)


def test_a_model_too_sure_of_itself_shows_it():
    sure, honest, vague = (measured(spread, 20) for spread in (5, 20, 60))
    ends = [m["rank_histogram"]["all"][0] + m["rank_histogram"]["all"][-1] for m in (sure, vague)]
    assert ends[0] > 0.5
    assert ends[1] < 0.1
    assert sure["spread_over_error"] < 0.5 < 2 < vague["spread_over_error"]
    assert sure["diversity"] < honest["diversity"] < vague["diversity"]


def test_the_energy_score_is_best_for_the_true_distribution():
    scores = [measured(spread, 20)["energy_score"] for spread in (5, 20, 60)]
    assert scores[1] < min(scores[0], scores[2])


def test_ranks_of_ties_are_shared_and_nothing_is_lost():
    below, ties = torch.tensor([0, 2, 1]), torch.tensor([3, 1, 0])
    counts = rank_counts(below, ties, num_samples=3)
    assert counts == pytest.approx([1 / 4, 1 / 4 + 1, 1 / 4 + 1 / 2, 1 / 4 + 1 / 2])
    assert counts.sum() == pytest.approx(3)


def test_coverage_counts_the_ranks_inside():
    flat = coverage(np.ones(20))  # 19 samples
    assert [entry["nominal"] for entry in flat] == pytest.approx([0.5, 0.8, 0.9])
    assert [entry["covered"] for entry in flat] == pytest.approx([0.5, 0.8, 0.9])


def test_the_energy_score_of_two_samples_by_hand():
    samples = torch.tensor([0, 255], dtype=torch.uint8)[:, None].expand(2, 5)
    truth = torch.full((5,), 0, dtype=torch.uint8)
    to_truth, within = squared_distances(samples, truth)
    assert energy_score(to_truth, within) == pytest.approx(0.5 - 0.5, abs=1e-6)


def test_pairwise_squares_equal_the_plain_ones():
    x, y = torch.rand(4, 30), torch.rand(3, 30)
    expected = (x[:, None] - y[None]).square().mean(dim=2).double()
    torch.testing.assert_close(pairwise_squares(x, y), expected, rtol=1e-4, atol=1e-6)
    assert (pairwise_squares(x, x).diagonal() == 0).all()
