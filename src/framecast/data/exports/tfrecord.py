"""BAIR's own form: TFRecords of raw frames, commands and positions, 256 sequences a file.

    {train,validation,test}/traj_{a}_to_{b}.tfrecords

Pixels and numbers come back exactly; names, units and the frame rate have no place in the format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from framecast.data.episodes import Episode, EpisodeStore, Split
from framecast.data.exports.course import BLOCK, block_name
from framecast.data.formats.bair import ACTION_KEY, BAIR_CAMERA, STATE_KEY
from framecast.data.formats.example import encode_example
from framecast.data.formats.tfrecord import write_record
from framecast.errors import UserError


def export_tfrecord(
    stores: dict[Split, EpisodeStore], folder: Path, progress: Callable[[int], None]
) -> None:
    for split, store in stores.items():
        if store.spec.height != store.spec.width:
            raise UserError("TFRecords of raw frames do not name their sides: they must be square.")
        (folder / split).mkdir()
        for first in range(0, store.num_episodes, BLOCK):
            with (folder / split / block_name(first)).open("wb") as file:
                indices = range(first, min(first + BLOCK, store.num_episodes))
                write_episodes(file, map(store.episode, indices), progress)


def write_episodes(
    file: BinaryIO, episodes: Iterable[Episode], progress: Callable[[int], None]
) -> None:
    for episode in episodes:
        write_record(file, encode_example(_features(episode)))
        progress(1)


def _features(episode: Episode) -> dict[str, bytes | NDArray[np.float32]]:
    """One action a frame, as in BAIR: the last has no effect."""
    no_effect = np.zeros((1, episode.actions.shape[1]), np.float32)
    features: dict[str, bytes | NDArray[np.float32]] = {}
    actions = np.concatenate([episode.actions, no_effect])
    for step, (frame, action) in enumerate(zip(episode.frames, actions, strict=True)):
        features[f"{step}/{BAIR_CAMERA}/encoded"] = frame.tobytes()
        if len(action):
            features[f"{step}/{ACTION_KEY}"] = action
        if episode.states is not None:
            features[f"{step}/{STATE_KEY}"] = episode.states[step]
    return features
