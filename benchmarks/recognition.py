"""Can gripper and pushed objects still be recognised in predicted frames?

PSNR asks for the mean of all futures, in which a thing that may be here or there is a soft patch or
gone. This says what is left to see, on the test clips of a pusher dataset, step by step:

    edges     the gradient's magnitude in the predicted frame by that in the recorded one, over the
              pixels that changed since the last context frame: 1 is as sharp as the recording
    gripper   share of frames in which the detector of the end effector answers as strongly as in
              95 of 100 recorded frames, within 3 pixels of where it is
    objects   share of those that moved by more than a centimetre and are seen in the recorded
              frame, whose colour covers between half and twice as many pixels as there
    placed    the same, and no more than 3 pixels from where they are in the recorded frame

Beside the models stands the simulator run again from the same moment with fresh hidden physics, and
the mean of several such runs: what could best be predicted, and what is left to see of it.

    python benchmarks/recognition.py runs/demo runs/demo_samples --data data/pusher
    python benchmarks/recognition.py runs/samples --clips 60 --futures 8 --strips strips.png
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from framecast.cli.console import progress_bar
from framecast.evaluation.calibration import MOTION
from framecast.evaluation.clips import ProtocolClips
from framecast.evaluation.detectors import LEAST_PIXELS, ArmDetector, metres_a_pixel, pixels_of
from framecast.evaluation.protocols import PRESETS, Protocol
from framecast.evaluation.sampling import sample_futures, sampler_of
from framecast.evaluation.true_futures import MOVED, Futures, TrueFutures
from framecast.metrics import psnr
from framecast.models.base import Sampler
from framecast.pictures import strip, to_uint8
from framecast.training.runs import Run

Pictures = NDArray[np.uint8]
Floats = NDArray[np.float64]
PLACED = 3.0  # pixels
AS_OFTEN = 0.95  # share of recorded frames in which the gripper is recognised
SHOWN = (0, 2, 4, 6, 9)
STRIPS = 4


@dataclass(frozen=True)
class Truth:
    """A clip with what is known of it: frames (P, H, W, C), last context frame, states (P, 3)."""

    frames: Pictures
    last: Pictures
    states: Floats
    futures: Futures


def gradient(pictures: Pictures) -> Floats:
    """(P, H, W, C) -> (P, H, W): its magnitude, summed over colours."""
    down, across = np.gradient(pictures.astype(np.float64), axis=(1, 2))
    magnitude: Floats = np.hypot(down, across).sum(axis=-1)
    return magnitude


def measured(truth: Truth, pictures: Pictures, arm: ArmDetector, least: float) -> dict[str, Floats]:
    """Of one future (P, H, W, C): edges (2, P) predicted and recorded, shares' terms (n, P)."""
    size = pictures.shape[1]
    change = np.abs(truth.frames.astype(np.int16) - truth.last).max(axis=-1) > MOTION
    edges = [(gradient(x) * change).sum(axis=(1, 2)) for x in (pictures, truth.frames)]
    places = pixels_of(truth.states, size)
    near = np.linalg.norm(arm(pictures) - places, axis=-1) <= PLACED
    gripper = near & (arm.strengths(pictures) >= least)
    moved = truth.futures.recorded_objects[..., :2] - truth.futures.objects_before[:, :2]
    detect = truth.futures.object_detector
    shown, wanted = detect.areas(pictures), detect.areas(truth.frames)
    asked = (np.linalg.norm(moved, axis=-1) > MOVED) & (wanted >= 2 * LEAST_PIXELS)
    seen = (shown >= wanted / 2) & (shown <= 2 * wanted)
    gap = np.linalg.norm(detect(pictures) - detect(truth.frames), axis=-1)
    placed = seen & (gap <= PLACED * metres_a_pixel(size))
    return {
        "edges": np.stack(edges),
        "gripper": gripper[None].astype(np.float64),
        "objects": np.where(asked, seen, np.nan).T,
        "placed": np.where(asked, placed, np.nan).T,
    }


def summary(parts: list[dict[str, Floats]]) -> dict[str, Floats]:
    """Each measure of every step, (P,)."""
    edges = np.sum([part["edges"] for part in parts], axis=0)
    shares = {
        name: np.nanmean(np.concatenate([part[name] for part in parts]), axis=0)
        for name in ("gripper", "objects", "placed")
    }
    return {"edges": edges[0] / edges[1], **shares}


def mean_of(futures: Futures) -> Pictures:
    """(P, H, W, C)"""
    return (futures.frames.astype(np.float64).mean(axis=0) + 0.5).astype(np.uint8)


def truths(clips: ProtocolClips, protocol: Protocol, world: TrueFutures) -> list[Truth]:
    found = []
    with progress_bar("simulating", len(clips)) as advance:
        for place in range(len(clips)):
            clip = clips.batch(slice(place, place + 1))
            frames = to_uint8(clip.float_frames(torch.float32)[:, 0].numpy())
            assert clip.states is not None
            states = clip.states[protocol.context :, 0].double().numpy()
            last = frames[protocol.context - 1]
            found.append(Truth(frames[protocol.context :], last, states, world.simulate(place)))
            advance()
    return found


def predictions(sampler: Sampler[Any], clips: ProtocolClips, protocol: Protocol) -> Pictures:
    """(N, P, H, W, C)"""
    parts = []
    with progress_bar("predicting", len(clips)) as advance:
        for first in range(0, len(clips), 16):
            chosen = slice(first, min(first + 16, len(clips)))
            places = range(chosen.start, chosen.stop)
            futures = sample_futures(sampler, clips.batch(chosen), protocol, places, range(1))
            parts.append(to_uint8(futures[:, :, 0].transpose(0, 1).numpy()))
            advance(len(places))
    return np.concatenate(parts)


def strips(known: list[Truth], rows: dict[str, Pictures]) -> Image.Image:
    """Some steps of those clips in which most things are pushed by the last step, two by two."""
    steps = [f"+{step + 1}" for step in SHOWN]
    pushed = []
    for truth in known:
        ways = truth.futures.recorded_objects[-1, :, :2] - truth.futures.objects_before[:, :2]
        pushed.append((np.linalg.norm(ways, axis=-1) > MOVED).sum())
    chosen = np.argsort(pushed, kind="stable")[::-1][:STRIPS]
    pictures = [
        np.asarray(strip({name: rows[name][clip][list(SHOWN)] for name in rows}, steps, scale=2))
        for clip in chosen
    ]
    pairs = [
        np.concatenate(pictures[first : first + 2], axis=1) for first in range(0, len(pictures), 2)
    ]
    return Image.fromarray(np.concatenate(pairs))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="*", help="run folders")
    parser.add_argument("--data", type=Path, default=Path("data/pusher"))
    parser.add_argument("--clips", type=int, default=0, help="this many, spread evenly (all)")
    parser.add_argument("--futures", type=int, default=2, help="runs of the simulator (2)")
    parser.add_argument(
        "--strips", type=Path, help="draw the clips in which most things are pushed, here"
    )
    options = parser.parse_args()
    protocol = replace(PRESETS["course"], max_clips=options.clips)
    clips = ProtocolClips.of(options.data, protocol)
    world = TrueFutures.of(clips, protocol, num_futures=options.futures)
    known = truths(clips, protocol, world)
    recorded = np.concatenate([world.arm.strengths(truth.frames) for truth in known])
    least = float(np.quantile(recorded, 1 - AS_OFTEN))
    mean, still = f"mean of {options.futures} such runs", "the last context frame"
    rows = {
        "the recording": np.stack([truth.frames for truth in known]),
        "the simulator again": np.stack([truth.futures.frames[0] for truth in known]),
        mean: np.stack([mean_of(truth.futures) for truth in known]),
        still: np.stack([np.broadcast_to(t.last, t.frames.shape) for t in known]),
    }
    for folder in options.runs:
        run = Run.open(folder)
        sampler = sampler_of(run.load_model(run.default_checkpoint()), protocol)
        if sampler.model.latent_dim:
            rows[f"{folder}, one sample"] = predictions(sampler, clips, protocol)
        expected = replace(protocol, prior="mean")
        rows[f"{folder}, mean of the prior"] = predictions(sampler, clips, expected)
    print(f"{len(known)} clips of {options.data}, {protocol.context} -> {protocol.horizon}")
    print("| | PSNR, step 1, 5, 10 | edges, step 1, 5, 10 | gripper | objects | placed |")
    print("|---|---|---|---|---|---|")
    true = torch.from_numpy(rows["the recording"]).movedim(-1, -3).float() / 255
    for name, pictures in rows.items():
        parts = [measured(t, p, world.arm, least) for t, p in zip(known, pictures, strict=True)]
        found = summary(parts)
        predicted = torch.from_numpy(pictures).movedim(-1, -3).float() / 255
        of_steps = psnr(predicted, true).mean(dim=0)
        cells = [", ".join(f"{x:.2f}" for x in (of_steps.mean(), *of_steps[[0, 4, 9]]))]
        cells += [", ".join(f"{x:.2f}" for x in found[k][[0, 4, 9]]) for k in found]
        print(f"| {name} | {' | '.join(cells)} |")
    if options.strips is not None:
        strips(known, {name: rows[name] for name in rows if name not in (mean, still)}).save(
            options.strips
        )


if __name__ == "__main__":
    main()
