"""Laws of Muon."""

from __future__ import annotations

import pytest
import torch

from framecast.training.muon import UPDATE_SIZE, Muon, is_matrix, orthogonal


@pytest.mark.parametrize("shape", [(64, 16), (20, 300)])
def test_singular_values_are_made_nearly_equal(shape: tuple[int, int]):
    torch.manual_seed(0)
    matrix = torch.randn(shape) * torch.logspace(-1, 0, shape[1])
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    made = left.T @ orthogonal(matrix) @ right.T
    values = made.diag()
    assert values.min() > 0.5
    assert values.max() < 1.3
    assert (made - values.diag()).abs().max() < 0.1, "the directions stay"


def test_a_kernel_is_changed_as_the_matrix_it_is_however_it_lies_in_memory():
    torch.manual_seed(0)
    kernel, gradient = torch.randn(2, 32, 8, 3, 3)
    results = []
    for lay in (
        lambda x: x.clone(),
        lambda x: x.flatten(1).clone(),
        lambda x: x.contiguous(memory_format=torch.channels_last).clone(),
    ):
        parameter = torch.nn.Parameter(lay(kernel))
        optimizer = Muon([parameter], 0.1, (0.9, 0.99), weight_decay=0.0)
        for _ in range(2):
            parameter.grad = lay(gradient)
            optimizer.step()
        results.append(parameter.detach().reshape(kernel.shape))
    assert is_matrix(kernel)
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=1e-6)
    change = (results[0] - kernel).square().mean().sqrt() / 2
    assert float(change) == pytest.approx(0.1 * UPDATE_SIZE, rel=0.2), "the size of Adam's"


def test_what_is_no_matrix_is_changed_as_by_adam():
    torch.manual_seed(0)
    start = torch.randn(40)
    ours, adams = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    optimizers = (
        Muon([ours], 0.01, (0.9, 0.98), weight_decay=0.1),
        torch.optim.Adam([adams], 0.01, (0.9, 0.98)),
    )
    for _ in range(5):
        gradient = torch.randn(40)
        for parameter, optimizer in zip((ours, adams), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(ours, adams)


def test_it_finds_the_minimum_of_a_badly_scaled_valley():
    torch.manual_seed(0)
    scales = torch.logspace(-2, 0, 24)
    target = torch.randn(24, 24)
    weight = torch.nn.Parameter(torch.zeros(24, 24))
    optimizer = Muon([weight], 0.05, (0.9, 0.99), weight_decay=0.0)
    losses = []
    for step in range(200):
        loss = ((weight - target) * scales).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = 0.2 * (1 - step / 200)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.01 * losses[0]
