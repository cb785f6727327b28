"""Muon (Jordan 2024): a matrix is changed by its momentum with all singular values made equal.

Directions that a gradient shows rarely are followed as far as those it shows often. A kernel of a
convolution (O, I, k, k) counts as a matrix of O rows; `torch.optim.Muon` takes plain matrices only,
which is why this one is here. All else (biases, norms, small matrices) is changed as by Adam. An
update has the size of Adam's (Liu 2025, "Muon is scalable"), so both go by one learning rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

MOMENTUM = 0.95
LEAST_SIDE = 16  # of a matrix; smaller ones are no trouble to Adam
UPDATE_SIZE = 0.2  # root mean square of an update at a learning rate of 1, as Adam's
# Jordan's quintic: after five rounds all singular values of a matrix lie between .7 and 1.2.
ROUNDS, QUINTIC = 5, (3.4445, -4.7750, 2.0315)
EPSILON = 1e-8


class Muon(Optimizer):
    """
    Args:
        lr: learning rate, of matrices and all else.
        betas: of Adam, for all else.
        weight_decay: decoupled, of matrices.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                both = (parameter, parameter.grad)
                if is_matrix(parameter):
                    self._change_matrix(*both, group["lr"], group["weight_decay"])
                else:
                    self._change_as_adam(*both, group["lr"], *group["betas"])
        return loss

    def _change_matrix(
        self, parameter: Tensor, gradient: Tensor, lr: float, weight_decay: float
    ) -> None:
        momentum = self._number(parameter, "momentum")
        momentum.lerp_(gradient, 1 - MOMENTUM)
        ahead = torch.lerp(gradient, momentum, MOMENTUM)  # as Nesterov
        update = orthogonal(ahead.flatten(1)).view(parameter.shape)
        parameter.mul_(1 - lr * weight_decay)
        longest = max(len(parameter), parameter[0].numel())
        parameter.add_(update, alpha=-lr * UPDATE_SIZE * longest**0.5)

    def _change_as_adam(
        self, parameter: Tensor, gradient: Tensor, lr: float, beta1: float, beta2: float
    ) -> None:
        mean, square = (self._number(parameter, name) for name in ("momentum", "square"))
        steps = self.state[parameter].setdefault("step", torch.zeros(()))
        steps += 1
        mean.lerp_(gradient, 1 - beta1)
        square.lerp_(gradient.square(), 1 - beta2)
        number = float(steps)
        root = (square / (1 - beta2**number)).sqrt_().add_(EPSILON)
        parameter.addcdiv_(mean, root, value=-lr / (1 - beta1**number))

    def _number(self, parameter: Tensor, name: str) -> Tensor:
        kept: Tensor = self.state[parameter].setdefault(name, torch.zeros_like(parameter))
        return kept


def is_matrix(parameter: Tensor) -> bool:
    return parameter.ndim > 1 and min(len(parameter), parameter[0].numel()) >= LEAST_SIDE


def orthogonal(matrix: Tensor) -> Tensor:
    """Nearly U V^T of a matrix U S V^T, by Newton and Schulz in bfloat16: products only."""
    first, third, fifth = QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    wide = (matrix.T if tall else matrix).bfloat16()
    wide = wide / wide.norm().clamp(min=EPSILON)
    for _ in range(ROUNDS):
        square = wide @ wide.T
        wide = first * wide + (third * square + fifth * (square @ square)) @ wide
    found: Tensor = (wide.T if tall else wide).to(matrix.dtype)
    return found
