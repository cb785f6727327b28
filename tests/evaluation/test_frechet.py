"""The Frechet distance against what is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from framecast.errors import UserError
from framecast.evaluation.frechet import frechet_distance, frechet_distance_of


def covariance(seed: int, size: int = 6) -> np.ndarray:
    factor = np.random.default_rng(seed).normal(size=(size, size))
    return factor @ factor.T + 0.1 * np.eye(size)


def test_gaussians_with_the_same_axes_have_the_closed_form():
    means, deviations = (
        np.array([[0.0, 1.0, 2.0], [1.0, -1.0, 2.5]]),
        np.array([[1, 2, 3], [2, 2, 1]]),
    )
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    covariances = [rotation @ np.diag(d.astype(float) ** 2) @ rotation.T for d in deviations]
    expected = np.square(means[0] - means[1]).sum() + np.square(deviations[0] - deviations[1]).sum()
    found = frechet_distance(means[0], covariances[0], means[1], covariances[1])
    assert found == pytest.approx(expected, rel=1e-12)


def test_one_dimension_is_the_distance_of_means_and_of_deviations():
    found = frechet_distance(np.zeros(1), np.eye(1) * 9, np.ones(1) * 4, np.eye(1) * 25)
    assert found == pytest.approx(16 + 4)


def test_it_is_zero_for_the_same_and_the_same_both_ways():
    a, b = covariance(1), covariance(2)
    m, n = np.arange(6.0), np.ones(6)
    assert frechet_distance(m, a, m, a) == pytest.approx(0, abs=1e-9)
    there, back = frechet_distance(m, a, n, b), frechet_distance(n, b, m, a)
    assert there == pytest.approx(back, rel=1e-12)
    assert there > 0


def test_scaled_copies_of_a_covariance_have_the_closed_form():
    a = covariance(3)
    found = frechet_distance(np.zeros(6), a, np.zeros(6), 4 * a)
    assert found == pytest.approx(np.trace(a), rel=1e-9)  # (1 - 2)^2 tr(a)


def test_fewer_samples_than_features_give_a_finite_distance_that_ignores_rotations():
    random = np.random.default_rng(4)
    x, y = random.normal(size=(5, 40)), random.normal(size=(7, 40)) + 1
    found = frechet_distance_of(x, y)
    rotation = np.linalg.qr(random.normal(size=(40, 40)))[0]
    assert np.isfinite(found)
    assert frechet_distance_of(x @ rotation, y @ rotation) == pytest.approx(found, rel=1e-8)
    assert frechet_distance_of(x, x) == pytest.approx(0, abs=1e-8)


def test_samples_of_known_gaussians_come_close_to_the_distance():
    random = np.random.default_rng(5)
    x, y = random.normal(size=(20000, 3)), 2 * random.normal(size=(20000, 3)) + 1
    assert frechet_distance_of(x, y) == pytest.approx(3 + 3, rel=0.05)


def test_one_sample_has_no_distance():
    with pytest.raises(UserError, match="at least 2 clips"):
        frechet_distance_of(np.zeros((1, 3)), np.zeros((4, 3)))
