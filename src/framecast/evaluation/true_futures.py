"""The pusher's future is not determined by what is seen; here are many of its true ones.

The simulator is brought to the last context frame of a stored clip. From that moment the same
commands are carried out under fresh hidden physics (masses, frictions, execution noise, drift),
again and again. What differs between these futures no model can know: their scores against the
recorded one are the world's noise floor, and their distribution is what a model should predict.

Shape letters: M true futures, S samples, P predicted frames, B clips, D numbers of a frame, H W C.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from framecast.errors import UserError
from framecast.evaluation.calibration import MOTION, pairwise_squares
from framecast.evaluation.clips import ProtocolClips
from framecast.evaluation.detectors import (
    ArmDetector,
    ObjectDetector,
    metres_a_pixel,
    pixels_of,
)
from framecast.evaluation.protocols import Protocol
from framecast.evaluation.seeds import StoredEpisodes

Floats = NDArray[np.float64]
MOVED = 0.01  # metres from the last context frame: such an object is scored
HIDDEN_STREAM = 0x7275  # keeps these hidden seeds apart from other uses of the protocol's seed


@dataclass(frozen=True)
class Futures:
    """What may happen after a clip's context.

    Attributes:
        frames: (M, P, H, W, C) uint8
        arm: (M, P, 3) the end effector, in metres
        objects: (M, P, N, 3) in metres
        recorded_objects: (P, N, 3) in the recorded future
        objects_before: (N, 3) at the last context frame
        object_detector: for this episode's objects
    """

    frames: NDArray[np.uint8]
    arm: Floats
    objects: Floats
    recorded_objects: Floats
    objects_before: Floats
    object_detector: ObjectDetector


class TrueFutures:
    """Simulates true futures and scores a model's samples against them."""

    def __init__(
        self, clips: ProtocolClips, protocol: Protocol, num_futures: int, arm: ArmDetector
    ) -> None:
        self.clips, self.protocol, self.num_futures, self.arm = clips, protocol, num_futures, arm

    @classmethod
    def of(cls, clips: ProtocolClips, protocol: Protocol, num_futures: int) -> TrueFutures:
        """Raises UserError where the clips are not the pusher's, or there is but one future."""
        if num_futures < 2:
            raise UserError(f"--true-futures should be at least 2, got {num_futures}.")
        StoredEpisodes(clips.windows.store)
        arm = ArmDetector.fitted(clips.windows.store.path.with_name("train.h5"))
        return cls(clips, protocol, num_futures, arm)

    @cached_property
    def episodes(self) -> StoredEpisodes:
        return StoredEpisodes(self.clips.windows.store)

    def describe(self) -> dict[str, Any]:
        """What decides these measurements."""
        return {
            "futures_a_clip": self.num_futures,
            "from": "the last context frame on, fresh masses, frictions, noise and drift",
            "simulator": self.episodes.env.simulator_version,
            "arm_detector": self.arm.DESCRIPTION,
            "object_detector": ObjectDetector.DESCRIPTION,
            "objects": f"those that moved more than {100 * MOVED:.0f} cm in the recorded future",
        }

    def simulate(self, place: int) -> Futures:
        """The true futures of the clip at this place of the list."""
        episode = int(self.clips.episodes()[place])
        store, env = self.episodes.store, self.episodes.env
        start = int(self.clips.starts[place] - store.ep_offset[episode])
        last = start + self.protocol.context - 1
        before = self.episodes.bring_to(episode, last)["object_positions"].astype(np.float64)
        moment, picture = env.snapshot(), env.render()
        first = int(store.ep_offset[episode]) + last
        actions = np.array(store.action[first : first + self.protocol.horizon])
        recorded = self._play(actions)
        assert np.array_equal(recorded[0][-1], store.pixels[first + len(actions)])
        futures = []
        for number in range(self.num_futures):
            entropy = [HIDDEN_STREAM, self.protocol.seed, self.episodes.seed, episode, start]
            hidden = np.random.SeedSequence([*entropy, number]).generate_state(1)[0]
            env.resume(moment, int(hidden))
            futures.append(self._play(actions))
        frames, arm, objects = (np.stack(parts) for parts in zip(*futures, strict=True))
        detector = ObjectDetector(env.scene, env.camera, picture, before)
        return Futures(frames, arm, objects, recorded[2], before, detector)

    def _play(self, actions: NDArray[np.float32]) -> tuple[NDArray[np.uint8], Floats, Floats]:
        """Pictures, end effector and objects after each of these commands."""
        frames, arm, objects = [], [], []
        for action in actions:
            observation, *_, info = self.episodes.env.step(action)
            frames.append(observation["pixels"])
            arm.append(observation["state"].astype(np.float64))
            objects.append(info["object_positions"].astype(np.float64))
        return np.stack(frames), np.stack(arm), np.stack(objects)

    def score(self, futures: Futures, samples: Tensor, clip: Tensor, states: Tensor) -> Measures:
        """
        Args:
            samples: (S, P, C, H, W) uint8, the model's
            clip: (T, C, H, W) uint8, context and recorded future
            states: (P, 3) recorded end effector
        """
        context = self.protocol.context
        last, recorded = clip[context - 1], clip[context:]
        true = torch.from_numpy(futures.frames).permute(0, 1, 4, 2, 3)
        measures = _pixel_measures(samples, true, recorded, last)
        predicted, actual = _as_images(samples), _as_images(recorded[None])
        measures |= self._arm_measures(futures, predicted, actual, states.numpy())
        measures |= _object_measures(futures, predicted, actual)
        return measures

    def _arm_measures(
        self,
        futures: Futures,
        predicted: NDArray[np.uint8],
        actual: NDArray[np.uint8],
        states: NDArray[np.float32],
    ) -> Measures:
        """Distance from the recorded place of the end effector, in the picture: (P,) each."""
        size = predicted.shape[-2]
        places = pixels_of(states.astype(np.float64), size)
        shown = pixels_of(futures.arm, size)
        metres = metres_a_pixel(size)
        return {
            "arm_error": metres * _distance(self.arm(predicted), places).mean(axis=0),
            "arm_detector_error": metres * _distance(self.arm(actual)[0], places),
            "arm_world": metres * _distance(shown, places).mean(axis=0),
        }


Measures = dict[str, Floats]


def _pixel_measures(samples: Tensor, true: Tensor, recorded: Tensor, last: Tensor) -> Measures:
    """Energy distances and spread of every step, (P,) each, in root mean squares of pixels."""
    names = ("energy_distance", "energy_distance_of_copying", "world_spread", "model_spread")
    measures: Measures = {name: np.full(samples.shape[1], np.nan) for name in names}
    still = _numbers(last[None])
    for step in range(samples.shape[1]):
        ours, theirs = _numbers(samples[:, step]), _numbers(true[:, step])
        measures["energy_distance"][step] = energy_distance(ours, theirs)
        measures["energy_distance_of_copying"][step] = energy_distance(still, theirs)
        moved = ((recorded[step].float() - last.float()).abs().amax(dim=0) > MOTION).flatten()
        if bool(moved.any()):
            for name, frames in (("world_spread", true), ("model_spread", samples)):
                if len(frames) > 1:
                    inside = frames[:, step].flatten(2)[:, :, moved].float() / 255
                    measures[name][step] = float(inside.var(dim=0).mean())
    return measures


def energy_distance(first: Tensor, second: Tensor) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| (Szekely and Rizzo 2013): (S, D), (M, D), unbiased.

    X' is another draw than X. A single draw stands for a distribution that is sure of it.
    """
    across = pairwise_squares(first, second).sqrt().mean()
    return float(2 * across - _within(first) - _within(second))


def _within(draws: Tensor) -> float:
    count = len(draws)
    if count == 1:
        return 0.0
    return float(pairwise_squares(draws, draws).sqrt().sum() / (count * (count - 1)))


def _object_measures(
    futures: Futures, predicted: NDArray[np.uint8], actual: NDArray[np.uint8]
) -> Measures:
    """Metres on the table from the recorded places of the objects that moved.

    Where a detector sees nothing of an object, it is taken to have stayed where it was. (N, P)
    each, NaN where an object had not moved.
    """
    places = futures.recorded_objects[..., :2]
    before = futures.objects_before[:, :2]
    moved = _distance(places, before) > MOVED  # (P, N)
    detect = futures.object_detector
    found, seen = detect(predicted), detect(actual)
    errors = {
        "object_error": _distance(found, places),
        "object_detector_error": _distance(seen, places),
        "object_world": _distance(futures.objects[..., :2], places),
        "object_still": _distance(before, places)[None],
    }
    return {name: np.where(moved, error, np.nan).mean(axis=0).T for name, error in errors.items()}


def summary(measured: list[Measures]) -> dict[str, Any]:
    """What is written of all clips: means, and the means of every step."""
    written: dict[str, Any] = {}
    for name in measured[0]:
        values = np.concatenate([np.atleast_2d(clip[name]) for clip in measured])  # (any, P)
        squares = name.endswith("spread")
        mean, per_step = _mean(values), [_mean(values[:, step]) for step in range(values.shape[1])]
        written[name] = _root(mean) if squares else mean
        written[f"{name}_per_step"] = [_root(x) if squares else x for x in per_step]
    return written


def _mean(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None


def _root(value: float | None) -> float | None:
    return None if value is None else float(np.sqrt(value))


def _numbers(frames: Tensor) -> Tensor:
    return frames.flatten(1).float() / 255


def _as_images(frames: Tensor) -> NDArray[np.uint8]:
    """(S, P, C, H, W) -> (S, P, H, W, C)"""
    images: NDArray[np.uint8] = frames.movedim(-3, -1).numpy()
    return images


def _distance(first: Any, second: Any) -> Floats:
    distance: Floats = np.linalg.norm(np.asarray(first) - np.asarray(second), axis=-1)
    return distance
