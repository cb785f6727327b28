"""Intervals and the best of k."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from framecast.evaluation.statistics import Bootstrap, expected_best


def test_the_best_of_k_is_the_mean_over_all_choices_of_k():
    values = np.random.default_rng(0).normal(size=(3, 6))
    for k, found in enumerate(expected_best(values), start=1):
        choices = itertools.combinations(range(6), k)
        assert found == pytest.approx(
            np.mean([values[:, list(choice)].max(axis=1) for choice in choices])
        )


def test_more_samples_never_make_the_best_worse():
    best = expected_best(np.random.default_rng(1).normal(size=(10, 100)))
    assert (np.diff(best) >= 0).all()
    assert best[0] < best[-1]


def test_the_interval_of_independent_clips_is_that_of_the_normal_distribution():
    values = np.random.default_rng(2).normal(3, 2, size=400)
    low, high = Bootstrap(np.arange(400), seed=0).interval(values)
    error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_clips_of_one_episode_do_not_narrow_the_interval():
    one_each = np.random.default_rng(3).normal(size=50)
    copies = np.repeat(one_each, 4)
    alone = Bootstrap(np.arange(50), seed=0).interval(one_each)
    together = Bootstrap(np.repeat(np.arange(50), 4), seed=0).interval(copies)
    assert together == pytest.approx(alone)


def test_equal_values_have_no_interval_and_a_seed_names_the_draws():
    episodes = np.repeat(np.arange(5), 2)
    assert Bootstrap(episodes, seed=0).interval(np.full(10, 7.0)) == pytest.approx([7, 7])
    values = np.arange(10.0)
    first, again, other = (Bootstrap(episodes, seed).interval(values) for seed in (0, 0, 1))
    assert first == again != other
