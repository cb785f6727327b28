"""Do sampled futures differ more where the gripper touches something than in free motion?

The pusher says where everything is, so every predicted frame can be put in a class by how far the
gripper is from the nearest object. Printed for each class: the standard deviation among the samples
of a clip, of the pixels that are expected to move and of those round the gripper.

    python benchmarks/contact_variance.py                 # the shipped model
    python benchmarks/contact_variance.py runs/warp --starts 200
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import framecast.pusher  # noqa: F401  registers the environment
from framecast.clip import Clip
from framecast.evaluation.protocols import PRESETS
from framecast.evaluation.sampling import sample_futures
from framecast.training.runs import Run
from framecast.weights import Package

SAMPLES, CONTEXT, HORIZON = 20, 2, 10
FIRST_SEED = 70_000  # far from those of any recorded dataset
MOTION = 12 / 255
AROUND = 8  # pixels to each side of the gripper
CLASSES = ((0.0, 0.05), (0.05, 0.08), (0.08, 0.12), (0.12, 1.0))  # metres, centre to centre


def record(seed: int) -> tuple[Clip, NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """A clip, and of its predicted frames: distance to the nearest object, contact, gripper."""
    env = gymnasium.make("framecast/Pusher-v0").unwrapped
    observation, info = env.reset(seed=seed)
    policy = env.default_policy()
    policy.reset(seed)
    frames, states, actions = [observation["pixels"]], [observation["state"]], []
    distances, touches, places = [], [], []
    for _ in range(CONTEXT + HORIZON - 1):
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
    return clip, np.array(distances[last]), np.array(touches[last]), np.stack(places[last])


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
    options = parser.parse_args()
    if options.run is None:
        model = Package.shipped().load_model()
    else:
        run = Run.open(options.run)
        model = run.load_model(run.default_checkpoint())
    protocol = replace(PRESETS["course"], num_samples=SAMPLES, precision="bfloat16")
    found, distances, touches = [], [], []
    for number in range(options.starts):
        clip, distance, touch, places = record(FIRST_SEED + number)
        future = sample_futures(model, clip, protocol, range(number, number + 1), range(SAMPLES))[
            :, 0
        ]
        still = clip.float_frames(torch.float32)[CONTEXT - 1, 0]
        found.append(variances(future, still, places))
        distances.append(distance)
        touches.append(touch)
    table, distance, touch = (
        np.concatenate(found),
        np.concatenate(distances),
        np.concatenate(touches),
    )
    print("| frames where | number | std of moving pixels, of 255 | std round the gripper |")
    print("|---|---|---|---|")
    classes = [("the gripper touches an object", touch), ("it does not", ~touch)]
    for low, high in CLASSES:
        name = f"nearest object at {100 * low:.0f} to {100 * high:.0f} cm"
        classes.append((name, (distance >= low) & (distance < high)))
    for name, chosen in classes:
        moving, near = 255 * np.sqrt(np.nanmean(table[chosen], axis=0))
        print(f"| {name} | {int(chosen.sum())} | {moving:.2f} | {near:.2f} |")


if __name__ == "__main__":
    main()
