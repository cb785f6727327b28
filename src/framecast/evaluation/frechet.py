"""The Frechet distance of two Gaussians, in float64, by eigenvalues.

Shape letters: N samples, D features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from framecast.errors import UserError

Floats = NDArray[np.float64]


def frechet_distance(mean_1: Floats, cov_1: Floats, mean_2: Floats, cov_2: Floats) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Dowson and Landau 1982).

    The trace of the root is the sum of the roots of the eigenvalues of C1^(1/2) C2 C1^(1/2), which
    is symmetric: no root of a product of matrices is taken, so that singular covariances (N < D)
    are no trouble and nothing turns complex.
    """
    half = _root(cov_1)
    eigenvalues = np.linalg.eigvalsh(half @ cov_2 @ half)
    root_trace = np.sqrt(eigenvalues.clip(min=0)).sum()
    gap = mean_1 - mean_2
    distance = gap @ gap + np.trace(cov_1) + np.trace(cov_2) - 2 * root_trace
    return float(max(distance, 0.0))


def frechet_distance_of(features_1: Floats, features_2: Floats) -> float:
    """The distance between the Gaussians fitted to two sets of features, (N, D) each.

    Raises UserError for fewer than two samples, which have no covariance.
    """
    for features in (features_1, features_2):
        if len(features) < 2:
            raise UserError(
                f"A Frechet distance needs at least 2 clips on each side, got {len(features)}."
            )
    (mean_1, cov_1), (mean_2, cov_2) = (
        (x.mean(axis=0), np.atleast_2d(np.cov(x, rowvar=False)))
        for x in (features_1.astype(np.float64), features_2.astype(np.float64))
    )
    return frechet_distance(mean_1, cov_1, mean_2, cov_2)


def _root(covariance: Floats) -> Floats:
    values, vectors = np.linalg.eigh(covariance)
    root: Floats = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    return root
