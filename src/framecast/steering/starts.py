"""What a session can start from: a clip of a recording, or a fresh scene of the pusher.

Shape letters: K context frames, H W C image, A action, S state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from framecast.clip import ClipSpec
from framecast.data.episodes import EpisodeStore
from framecast.errors import UserError
from framecast.pusher.env import PusherEnv
from framecast.steering.truth import RecordedTruth, SimulatedTruth, TrueMoment, Truth

NUM_CLIPS, NUM_SCENES = 18, 6  # on the contact sheet
MAX_SEED = 2**31 - 1
SMALL = 0.3  # of the largest action, for the steps that make a fresh scene's context


@dataclass(frozen=True)
class Start:
    """Names a start: an episode of the dataset from one of its frames, or a scene's seed."""

    kind: str  # clip or scene
    number: int
    frame: int = 0

    def to_dict(self) -> dict[str, str | int]:
        return {"kind": self.kind, "number": self.number, "frame": self.frame}


@dataclass(frozen=True)
class Beginning:
    """The context a session begins with, and the truth that goes on from it.

    Shape:
        frames: (K, H, W, C) uint8
        actions: (K - 1, A) float32
        states: (K, S) float32 or None
    """

    frames: NDArray[np.uint8]
    actions: NDArray[np.float32]
    states: NDArray[np.float32] | None
    truth: Truth
    moment: TrueMoment


class Starts:
    """All starts for one kind of clips.

    Args:
        store: recordings to start from, or None.
        has_scenes: whether fresh scenes of the pusher are of this kind too.
    """

    def __init__(
        self, spec: ClipSpec, num_context: int, store: EpisodeStore | None, has_scenes: bool
    ) -> None:
        self.spec, self.num_context = spec, num_context
        self.store, self.has_scenes = store, has_scenes
        long_enough = [] if store is None else np.flatnonzero(store.ep_len > num_context).tolist()
        if not long_enough and not has_scenes:
            raise UserError(
                f"There is nothing to start from: no episode has more than {num_context} frames, "
                "and these are not clips of the built-in pusher."
            )
        spread = np.linspace(0, len(long_enough) - 1, min(NUM_CLIPS, len(long_enough)))
        self.clips = [Start("clip", long_enough[index]) for index in spread.astype(int)]

    def sheet(self) -> list[Start]:
        """The starts of the contact sheet, recordings spread evenly over the split."""
        scenes = [Start("scene", seed) for seed in range(NUM_SCENES)] if self.has_scenes else []
        return [*scenes, *self.clips]

    def picture(self, start: Start) -> NDArray[np.uint8]:
        """The last context frame, (H, W, C)."""
        last: NDArray[np.uint8] = self.begin(start).frames[-1]
        return last

    def begin(self, start: Start) -> Beginning:
        """Raises UserError for a start that is not there."""
        return self._scene(start) if start.kind == "scene" else self._clip(start)

    def _clip(self, start: Start) -> Beginning:
        store = self.store
        if store is None or not 0 <= start.number < store.num_episodes:
            count = 0 if store is None else store.num_episodes
            raise UserError(f"There is no episode {start.number}; the split has {count}.")
        last = int(store.ep_len[start.number]) - self.num_context - 1
        if not 0 <= start.frame <= last:
            raise UserError(
                f"Episode {start.number} can start from frames 0 to {last}, not {start.frame}."
            )
        episode = store.episode(start.number)
        span = slice(start.frame, start.frame + self.num_context)
        truth = RecordedTruth(episode)
        return Beginning(
            episode.frames[span],
            episode.actions[start.frame : span.stop - 1],
            None if episode.states is None else episode.states[span],
            truth,
            truth.at(span.stop - 1),
        )

    def _scene(self, start: Start) -> Beginning:
        if not self.has_scenes:
            raise UserError("This model was not trained on the built-in pusher: choose a clip.")
        env = PusherEnv(self.spec.height)
        observation, _ = env.reset(seed=start.number)
        random = np.random.default_rng(start.number)
        frames, states, actions = [observation["pixels"]], [observation["state"]], []
        for _ in range(self.num_context):
            action = random.uniform(-SMALL, SMALL, 4).astype(np.float32) * env.bound
            action[3] = -1.0
            observation, *_ = env.step(action)
            frames.append(observation["pixels"])
            states.append(observation["state"])
            actions.append(action)
        truth = SimulatedTruth(env)
        return Beginning(
            np.stack(frames[1:]),
            np.stack(actions)[1:],
            np.stack(states[1:]),
            truth,
            truth.first(observation),
        )
