"""Fits a model's prediction of the robot's state to the recordings, before the first step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from framecast.data.episodes import EpisodeStore
from framecast.models.base import VideoModel
from framecast.models.conditioning import Conditioner
from framecast.models.state_predictor import step_before
from framecast.training.preparing import Preparing, unheard

MAX_TRANSITIONS = 50_000  # for the rule
MAX_OF_HISTORY = 400_000
HELD_OUT = 0.1  # share of the transitions, the last ones, that judge the correction


def fit_states(model: VideoModel[Any], store: EpisodeStore, preparing: Preparing = unheard) -> None:
    """Nothing to do for a model that uses no states."""
    conditioners = [part for part in model.modules() if isinstance(part, Conditioner)]
    for conditioner in conditioners:
        if conditioner.state is None or store.state is None:
            continue
        first, lengths = store.ep_offset, store.ep_len
        rows = _thinned(_rows(first, lengths - 1), MAX_TRANSITIONS)
        conditioner.state_predictor.fit(*_transitions(conditioner, store, rows))
        if conditioner.recalls:
            rows = _thinned(_rows(first + 1, lengths - 2), MAX_OF_HISTORY)
            action, state, following = _transitions(conditioner, store, rows)
            before = step_before(*_transitions(conditioner, store, rows - 1)[:2])
            held_out = int(HELD_OUT * len(rows))
            if held_out:
                conditioner.state_predictor.fit_correction(
                    action,
                    state,
                    before,
                    following,
                    held_out,
                    lambda done, steps: preparing("prediction of states", done, steps),
                )


def _rows(first: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """`counts` rows of every episode, from its `first`."""
    pairs = zip(first, np.maximum(counts, 0), strict=True)
    return np.concatenate([np.arange(start, start + count) for start, count in pairs])


def _thinned(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    return rows[:: -(-len(rows) // most)] if len(rows) else rows


def _transitions(
    conditioner: Conditioner, store: EpisodeStore, rows: NDArray[np.int64]
) -> tuple[Tensor, Tensor, Tensor]:
    """Actions, states and the states after them (N, ...), standardised."""
    assert conditioner.state is not None
    assert store.state is not None
    return (
        conditioner.action(torch.from_numpy(np.array(store.action[rows]))),
        conditioner.state(torch.from_numpy(np.array(store.state[rows]))),
        conditioner.state(torch.from_numpy(np.array(store.state[rows + 1]))),
    )
