"""The optimizer of a recipe, and its numbers as plain tensors for the checkpoint."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from framecast.training.muon import Muon
from framecast.training.settings import OptimizerConfig


def build_optimizer(config: OptimizerConfig, model: nn.Module) -> Optimizer:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    betas = (config.beta1, config.beta2)
    if config.name == "adam":
        return Adam(parameters, lr=config.lr, betas=betas, fused=True)
    if config.name == "adamw":
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return AdamW(groups, lr=config.lr, betas=betas, fused=True)
    if config.name == "muon":
        return Muon(parameters, config.lr, betas, config.weight_decay)
    if config.name == "rmsprop":
        return RMSprop(parameters, lr=config.lr, momentum=config.beta1)
    return SGD(parameters, lr=config.lr, momentum=config.beta1)


def optimizer_tensors(optimizer: Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state by number of parameter and name of the quantity."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def load_optimizer_tensors(optimizer: Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """The inverse of `optimizer_tensors`."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    # The fused update walks through memory: numbers have to lie as the weights they belong to do.
    for parameter, numbers in optimizer.state.items():
        for name, value in numbers.items():
            if value.shape == parameter.shape:
                numbers[name] = torch.empty_like(parameter).copy_(value)
