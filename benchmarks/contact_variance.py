"""Do sampled futures differ more where the gripper touches something than in free motion?

The pusher says where everything is, so every predicted frame can be put in a class by how far the
gripper is from the nearest object, and by whether it has touched one since the last context frame:
a thing that was pushed differs ever after. Printed for each class: the standard deviation among the
samples of a clip, of the pixels that are expected to move and of those round the gripper. Below,
how much more variance there is after a touch and near an object than in free motion, step by step
(late frames differ more than early ones), with a 95% interval over resampled starts.

    python benchmarks/contact_variance.py                 # the shipped model
    python benchmarks/contact_variance.py runs/warp --starts 200
    python benchmarks/contact_variance.py --world         # the simulator with fresh hidden physics
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from framecast.clip import Clip
from framecast.evaluation.protocols import PRESETS
from framecast.evaluation.sampling import sample_futures, sampler_of
from framecast.models.base import Sampler
from framecast.pusher.env import PusherEnv, Snapshot
from framecast.training.packages import Package
from framecast.training.runs import Run

SAMPLES, CONTEXT, HORIZON = 20, 2, 10
PROTOCOL = replace(PRESETS["course"], num_samples=SAMPLES, precision="bfloat16")
FIRST_SEED = 70_000  # far from those of any recorded dataset
MOTION = 12 / 255
AROUND = 8  # pixels to each side of the gripper
CLASSES = ((0.0, 0.05), (0.05, 0.08), (0.08, 0.12), (0.12, 1.0))  # metres, centre to centre
NEAR = 0.08  # metres
RESAMPLES = 2000


@dataclass(frozen=True)
class Recorded:
    """A clip, and of its predicted frames: distance to the nearest object, contact, gripper."""

    clip: Clip
    last_context: Snapshot
    distances: NDArray[np.float64]
    touches: NDArray[np.bool_]
    places: NDArray[np.int64]


def record(env: PusherEnv, seed: int) -> Recorded:
    observation, info = env.reset(seed=seed)
    policy = env.default_policy()
    policy.reset(seed)
    frames, states, actions = [observation["pixels"]], [observation["state"]], []
    distances, touches, places = [], [], []
    for step in range(CONTEXT + HORIZON - 1):
        if step == CONTEXT - 1:
            last_context = env.snapshot()
        actions.append(policy.act(observation, info))
        observation, _, _, _, info = env.step(actions[-1])
        frames.append(observation["pixels"])
        states.append(observation["state"])
        gaps = info["object_positions"][:, :2] - observation["state"][:2]
        distances.append(np.linalg.norm(gaps, axis=1).min())
        touches.append(info["contact"])
        places.append(env.camera.project(env.end_effector(), env.image_size).astype(int))
    clip = Clip(
        torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[:, None],
        torch.from_numpy(np.stack(actions)).float()[:, None],
        torch.from_numpy(np.stack(states)).float()[:, None],
    )
    last = slice(CONTEXT - 1, None)
    truth = (np.array(distances[last]), np.array(touches[last]), np.stack(places[last]))
    return Recorded(clip, last_context, *truth)


def true_futures(env: PusherEnv, recorded: Recorded) -> Tensor:
    """(P, S, C, H, W) of the simulator from the last context frame on, under other physics."""
    futures = []
    for sample in range(SAMPLES):
        env.resume(recorded.last_context, sample)
        actions = recorded.clip.actions[CONTEXT - 1 :, 0].numpy()
        futures.append(np.stack([env.step(action)[0]["pixels"] for action in actions]))
    return torch.from_numpy(np.stack(futures, axis=1)).permute(0, 1, 4, 2, 3).float() / 255


def imagined(sampler: Sampler[Any], recorded: Recorded) -> Tensor:
    """(P, S, C, H, W) of a model."""
    return sample_futures(sampler, recorded.clip, PROTOCOL, range(1), range(SAMPLES))[:, 0]


def _sampler(run: Path | None) -> Sampler[Any]:
    if run is None:
        return sampler_of(Package.shipped().load_model(), PROTOCOL)
    opened = Run.open(run)
    return sampler_of(opened.load_model(opened.default_checkpoint()), PROTOCOL)


def variances(future: Tensor, still: Tensor, places: NDArray[np.int64]) -> NDArray[np.float64]:
    """(P, 2) of samples (P, S, C, H, W): over what moves, and around the gripper."""
    rows = []
    for frame, (x, y) in zip(future, places, strict=True):
        by_pixel = frame.var(dim=0).mean(dim=0)
        moving = (frame.mean(dim=0) - still).abs().amax(dim=0) > MOTION
        near = by_pixel[max(0, y - AROUND) : y + AROUND, max(0, x - AROUND) : x + AROUND]
        rows.append([float(by_pixel[moving].mean()), float(near.mean())])
    return np.array(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="?", help="a run folder; the shipped model without")
    parser.add_argument("--starts", type=int, default=100)
    parser.add_argument("--world", action="store_true", help="the simulator instead of a model")
    options = parser.parse_args()
    env = PusherEnv()
    draw = partial(true_futures, env) if options.world else partial(imagined, _sampler(options.run))
    found, clips = [], []
    for number in range(options.starts):
        recorded = record(env, FIRST_SEED + number)
        still = recorded.clip.float_frames(torch.float32)[CONTEXT - 1, 0]
        found.append(variances(draw(recorded), still, recorded.places))
        clips.append(recorded)
    table = np.concatenate(found)
    distance = np.concatenate([recorded.distances for recorded in clips])
    touch = np.concatenate([recorded.touches for recorded in clips])
    touched = np.concatenate([np.logical_or.accumulate(one.touches) for one in clips])
    print("| frames where | number | std of moving pixels, of 255 | std round the gripper |")
    print("|---|---|---|---|")
    classes = [
        ("the gripper touches an object", touch),
        ("it does not", ~touch),
        ("it has touched one", touched),
        ("it has not yet", ~touched),
    ]
    for low, high in CLASSES:
        name = f"nearest object at {100 * low:.0f} to {100 * high:.0f} cm"
        classes.append((name, (distance >= low) & (distance < high)))
    for name, chosen in classes:
        moving, near = 255 * np.sqrt(np.nanmean(table[chosen], axis=0))
        print(f"| {name} | {int(chosen.sum())} | {moving:.2f} | {near:.2f} |")
    values = np.stack(found)  # (starts, P, 2)
    shape = values.shape[:2]
    for name, more, less in (
        ("it has touched one : has not yet", touched, ~touched),
        (f"nearer than {100 * NEAR:.0f} cm : farther", distance < NEAR, distance >= NEAR),
    ):
        ratios = ratio(values, more.reshape(shape), less.reshape(shape))
        print(f"variance, {name}: moving pixels {ratios[0]}, round the gripper {ratios[1]}")


def ratio(
    values: NDArray[np.float64], more: NDArray[np.bool_], less: NDArray[np.bool_]
) -> list[str]:
    """Of each measure, the mean over `more` frames by that over `less`, with its interval.

    Shape: values (starts, P, 2), more and less (starts, P). The means are taken within every step
    and then over the steps that have both kinds of frames.
    """

    def of(starts: NDArray[np.int64]) -> NDArray[np.float64]:
        chosen = values[starts]
        means = []
        for kind in (more[starts], less[starts]):
            weights = kind[..., None] * np.isfinite(chosen)
            count = weights.sum(axis=0)
            with np.errstate(invalid="ignore"):
                means.append((weights * np.nan_to_num(chosen)).sum(axis=0) / count)
        both = np.isfinite(means[0]) & np.isfinite(means[1])
        above, below = (np.where(both, mean, 0).sum(axis=0) for mean in means)
        quotient: NDArray[np.float64] = above / below
        return quotient

    random = np.random.default_rng(0)
    number = len(values)
    drawn = [of(random.integers(number, size=number)) for _ in range(RESAMPLES)]
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    middle = of(np.arange(number))
    return [f"{m:.2f} [{a:.2f}, {b:.2f}]" for m, a, b in zip(middle, low, high, strict=True)]


if __name__ == "__main__":
    main()
