"""Fits a model's prediction of the robot's state to the recordings, before the first step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from framecast.data.episodes import EpisodeStore
from framecast.models.base import VideoModel
from framecast.models.conditioning import Conditioner

MAX_TRANSITIONS = 50_000


def fit_states(model: VideoModel[Any], store: EpisodeStore) -> None:
    """Nothing to do for a model that uses no states."""
    conditioners = [part for part in model.modules() if isinstance(part, Conditioner)]
    for conditioner in conditioners:
        if conditioner.state is None or store.state is None:
            continue
        rows = _rows_with_a_next(store)
        rows = rows[:: -(-len(rows) // MAX_TRANSITIONS)]
        action = conditioner.action(torch.from_numpy(np.array(store.action[rows])))
        state = conditioner.state(torch.from_numpy(np.array(store.state[rows])))
        following = conditioner.state(torch.from_numpy(np.array(store.state[rows + 1])))
        conditioner.state_predictor.fit(action, state, following)


def _rows_with_a_next(store: EpisodeStore) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.concatenate(
        [
            np.arange(offset, offset + length - 1)
            for offset, length in zip(store.ep_offset, store.ep_len, strict=True)
        ]
    )
