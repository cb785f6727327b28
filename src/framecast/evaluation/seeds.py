"""From a stored clip of the pusher back to the simulator that made it.

A store does not hold the seeds of its episodes. They follow from its `source` line and from which
episodes went to which split; that they are right is seen from the pictures, which have to be the
stored ones, byte by byte.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import numpy as np

from framecast.data.episodes import SPLITS, EpisodeStore
from framecast.data.splits import assign_splits
from framecast.errors import UserError
from framecast.pusher.env import PusherEnv
from framecast.recording import MAX_ATTEMPTS

Info = dict[str, Any]
SOURCE = re.compile(
    r"recorded in framecast/Pusher-v0, seed (?P<seed>\d+), policy \S+, (?P<version>MuJoCo \S+)"
)


class StoredEpisodes:
    """The episodes of a split, found again in the simulator.

    Raises UserError when they were not recorded in the built-in world, or with another MuJoCo.
    """

    def __init__(self, store: EpisodeStore) -> None:
        found = SOURCE.match(store.spec.source)
        if found is None:
            raise UserError(
                "True futures can be simulated only for what `framecast record "
                f"framecast/Pusher-v0` made; this data is: {store.spec.source}."
            )
        if found["version"] != PusherEnv.simulator_version:
            raise UserError(
                f"The data was recorded with {found['version']}, and {PusherEnv.simulator_version} "
                "gives other pictures for the same seed. Install that version, or record again."
            )
        self.store = store
        self.seed = int(found["seed"])
        self.numbers = _numbers(store.path, self.seed)
        self.env = PusherEnv(image_size=store.spec.height)
        self.attempts: dict[int, int] = {}

    def start(self, episode: int) -> Info:
        """Set the simulator to the first frame of this episode of the split."""
        first = self.store.pixels[self.store.ep_offset[episode]]
        known = self.attempts.get(episode)
        for attempt in range(MAX_ATTEMPTS) if known is None else (known,):
            # As the recorder does; a simulation that diverged was tried again.
            entropy = [self.seed, self.numbers[episode], attempt]
            seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
            observation, info = self.env.reset(seed=seed)
            if np.array_equal(observation["pixels"], first):
                self.attempts[episode] = attempt
                return info
        raise UserError(
            f"Episode {episode} of {self.store.path} does not come out of the simulator again, so "
            "it has no true futures. Was the dataset put together by hand?"
        )

    def bring_to(self, episode: int, num_steps: int) -> Info:
        """Repeat the first steps of this episode, and check the last picture."""
        info = self.start(episode)
        offset = int(self.store.ep_offset[episode])
        for action in np.array(self.store.action[offset : offset + num_steps]):
            *_, info = self.env.step(action)
        if not np.array_equal(self.env.render(), self.store.pixels[offset + num_steps]):
            raise UserError(
                f"Frame {num_steps} of episode {episode} of {self.store.path} does not come out "
                "of the simulator again, so it has no true futures."
            )
        return info


def _numbers(path: Path, seed: int) -> list[int]:
    """Which episode of the recording each episode of this split was."""
    counts = [
        EpisodeStore(path.with_name(f"{split}.h5")).num_episodes
        if path.with_name(f"{split}.h5").exists()
        else 0
        for split in SPLITS
    ]
    total = sum(counts)
    fractions = cast(tuple[float, float, float], tuple(count / total for count in counts))
    splits = assign_splits(total, fractions, seed)
    if [splits.count(split) for split in SPLITS] != counts:
        raise UserError(
            f"{path.parent} does not hold all the episodes that were recorded, so their seeds are "
            "not known. Record again to have true futures."
        )
    return [number for number, split in enumerate(splits) if split == path.stem]
