"""A latent that weighs flow fields: how it persists, and what the energy score asks of samples."""

from __future__ import annotations

import torch

from framecast.models.latent_flows import PERSISTENCE, LatentFlows, distance, energy_score


def test_a_latent_persists_and_keeps_its_spread():
    torch.manual_seed(0)
    latent_flows = LatentFlows((4, 5, 6), count=3).double()
    hidden = torch.randn(1, 6, 4, 4, dtype=torch.float64)
    first = latent_flows.prior(hidden, None)
    before = torch.tensor([[1.0, -2.0, 0.0]], dtype=torch.float64)
    later = latent_flows.prior(hidden, before)
    torch.testing.assert_close(later.mean, PERSISTENCE * before)
    spread = later.log_variance.exp() + PERSISTENCE**2 * first.log_variance.exp()
    torch.testing.assert_close(spread, first.log_variance.exp())


def test_a_latent_moves_pixels_only_where_its_fields_are():
    latent_flows = LatentFlows((4, 5, 6), count=2).double()
    fields = torch.zeros(1, 2, 2, 3, dtype=torch.float64)
    fields[0, 1, 0, 2] = 0.5
    offset = latent_flows.offset(torch.tensor([[9.0, 2.0]], dtype=torch.float64), fields.flatten(2))
    expected = torch.zeros(1, 2, 4, 3, dtype=torch.float64)
    expected[0, 0, :, 2] = 1.0
    torch.testing.assert_close(offset, expected.flatten(2))


def test_the_energy_score_is_best_for_samples_that_spread_as_the_truth_does():
    torch.manual_seed(0)
    one, other, true = 0.1 * torch.randn(3, 3000, 1, 12, 12, dtype=torch.float64)
    scores = {
        spread: float(energy_score(spread * one, spread * other, true).mean())
        for spread in (0.0, 0.5, 1.0, 1.5)
    }
    assert min(scores, key=scores.__getitem__) == 1.0


def test_what_differs_in_one_place_counts_the_same_whatever_differs_in_another():
    still = torch.zeros(2, 3, 32, 32, dtype=torch.float64)
    small, large = still.clone(), still.clone()
    small[1, :, 2:6, 2:6] = 0.1
    large[1, :, 18:30, 18:30] = 0.9
    alone = distance(small, still)
    assert float(alone[0]) == 0
    assert float(alone[1]) > 0.001
    torch.testing.assert_close(distance(small + large, still) - distance(large, still), alone)


def test_a_thing_that_may_lie_here_or_there_is_better_drawn_than_left_out():
    places = torch.zeros(4, 1, 16, 16, dtype=torch.float64)
    for number, (down, right) in enumerate([(4, 4), (4, 8), (8, 4), (8, 8)]):
        places[number, :, down : down + 3, right : right + 3] = 1.0
    true, one, other = torch.cartesian_prod(*[torch.arange(4)] * 3).T
    drawn = energy_score(places[one], places[other], places[true]).mean()
    empty, smeared = torch.zeros_like(places), places.mean(dim=0).expand(4, -1, -1, -1)
    for still in (empty, smeared):
        assert drawn < 0.7 * energy_score(still, still, places).mean()
