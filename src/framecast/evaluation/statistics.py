"""Means with intervals, and the best of k of N samples.

Shape letters: N clips, S samples, E episodes, R resamples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NUM_RESAMPLES = 2000
LEVEL = 0.95
INTERVAL_TEXT = (
    f"{LEVEL:.0%} percentile bootstrap of the mean over clips, {NUM_RESAMPLES} resamples of whole "
    "episodes (the clips of one episode are not independent)"
)


class Bootstrap:
    """Percentile bootstrap (Efron 1979) of means over clips; episodes are drawn, with all clips.

    Args:
        episodes: (N,) the episode of each clip.
        seed: names the draws, so that two rows, or two runs, see the same ones.
    """

    def __init__(self, episodes: NDArray[np.int64], seed: int) -> None:
        _, self.member = np.unique(episodes, return_inverse=True)
        self.num_episodes = int(self.member.max()) + 1
        generator = np.random.default_rng([seed, self.num_episodes])
        even = np.full(self.num_episodes, 1 / self.num_episodes)
        self.draws = generator.multinomial(self.num_episodes, even, size=NUM_RESAMPLES)  # (R, E)
        self.num_clips = self.draws @ np.bincount(self.member)

    def means(self, values: Floats) -> Floats:
        """(N,) a value a clip -> (R,) the mean of every resample."""
        totals = np.bincount(self.member, weights=values, minlength=self.num_episodes)
        means: Floats = self.draws @ totals / self.num_clips
        return means

    def interval(self, values: Floats) -> list[float]:
        """Lower and upper end of the mean's interval."""
        tail = 100 * (1 - LEVEL) / 2
        return [float(x) for x in np.percentile(self.means(values), [tail, 100 - tail])]


def expected_best(values: Floats) -> Floats:
    """The mean best of k samples, for k = 1 .. S, over all ways of choosing k of them.

    (N, S), more is better -> (S,). With the samples of a clip sorted upwards, the i-th is the best
    of a choice of k in C(i - 1, k - 1) of the C(S, k) choices.
    """
    ordered = np.sort(values, axis=1)
    num_samples = values.shape[1]
    best = np.empty(num_samples)
    for k in range(1, num_samples + 1):
        # P(best is the i-th), from the last one down: each is the one above times a ratio.
        share = np.zeros(num_samples)
        share[-1] = k / num_samples
        for i in range(num_samples - 1, k - 1, -1):
            share[i - 1] = share[i] * (i - k + 1) / i
        best[k - 1] = float((ordered @ share).mean())
    return best
