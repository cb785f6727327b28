from __future__ import annotations

import torch
from torch.distributions import Normal, kl_divergence

from framecast.models.distributions import LOG_VARIANCE_RANGE, Gaussian


def gaussian(seed: int) -> Gaussian:
    random = torch.Generator().manual_seed(seed)
    mean, raw = torch.randn(2, 50, 7, generator=random, dtype=torch.float64) * 3
    return Gaussian.from_raw(mean, raw)


def test_kl_equals_that_of_torch_distributions():
    posterior, prior = gaussian(1), gaussian(2)
    as_normal = [Normal(g.mean, (g.log_variance / 2).exp()) for g in (posterior, prior)]
    torch.testing.assert_close(posterior.kl_from(prior), kl_divergence(*as_normal))


def test_kl_of_a_distribution_from_itself_is_zero():
    posterior = gaussian(3)
    torch.testing.assert_close(posterior.kl_from(posterior), torch.zeros(50, 7).double())


def test_kl_and_its_gradient_are_finite_for_any_network_output():
    raw = torch.tensor([-1e30, -80.0, 80.0, 1e30], requires_grad=True)
    mean = torch.zeros(4, requires_grad=True)
    posterior = Gaussian.from_raw(mean, raw)
    kl = posterior.kl_from(Gaussian.standard_like(mean)).sum()
    kl.backward()
    assert torch.isfinite(kl)
    assert torch.isfinite(raw.grad).all()
    assert posterior.log_variance.min() == LOG_VARIANCE_RANGE[0]


def test_reparameterised_samples_have_the_moments_they_should():
    noise = torch.randn(200_000, 1, generator=torch.Generator().manual_seed(0))
    samples = Gaussian(torch.tensor([2.0]), torch.tensor([0.25]).log()).sample(noise)
    assert abs(float(samples.mean()) - 2.0) < 0.01
    assert abs(float(samples.std()) - 0.5) < 0.01
