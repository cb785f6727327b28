"""Scores of a trained model on a split, beside the rows that say what they are worth.

Rows:
    model             one sampled future a clip
    copy_last         the last context frame, repeated
    shuffled_actions  the same model, noise and context, told another clip's future actions (and
                      states): how much the actions matter

Shape letters: P predicted frames, B batch, N clips.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from framecast import __version__
from framecast.clip import Clip
from framecast.data.episodes import EpisodeStore
from framecast.data.windows import Windows
from framecast.errors import UserError
from framecast.evaluation.protocols import Protocol
from framecast.metrics import PSNR_VARIANT, SSIM_VARIANT, psnr, ssim
from framecast.models.base import VideoModel
from framecast.training.runs import Run
from framecast.training.schedules import latent_noise

ROWS = {
    "model": "model, one sample",
    "copy_last": "copy the last frame",
    "shuffled_actions": "model, shuffled actions",
}
BATCH_SIZE = 16
Progress = Callable[[int], None]


@dataclass(frozen=True)
class ProtocolClips:
    """The clips of a protocol, in stored order, and another clip's actions for each.

    Attributes:
        starts: (N,) first row of every clip in the store.
        stranger: (N,) first row of the clip whose actions it is told when they are shuffled: the
            one half the list further, which as a rule is another episode.
    """

    windows: Windows
    starts: NDArray[np.int64]
    stranger: NDArray[np.int64]

    @classmethod
    def of(cls, dataset: Path, protocol: Protocol) -> ProtocolClips:
        store = EpisodeStore.open(dataset, protocol.split)
        windows = Windows(store, protocol.num_frames)
        starts = windows.disjoint(first_only=protocol.windows == "first")
        if len(starts) < 2:
            raise UserError(
                f"Scoring needs at least 2 clips of {protocol.num_frames} frames, to tell one the "
                f"actions of the other; the {protocol.split} split has {len(starts)}."
            )
        return cls(windows, starts, np.roll(starts, len(starts) // 2))

    def __len__(self) -> int:
        return len(self.starts)

    def batch(self, chosen: slice) -> Clip:
        return self.windows.at(self.starts[chosen])

    def with_strange_actions(self, clip: Clip, chosen: slice, num_context: int) -> Clip:
        """The same frames and context, with the future actions and states of other clips."""
        other = self.windows.at(self.stranger[chosen])
        last = num_context - 1
        actions = torch.cat([clip.actions[:last], other.actions[last:]])
        states = None
        if clip.states is not None and other.states is not None:
            states = torch.cat([clip.states[:num_context], other.states[num_context:]])
        return Clip(clip.frames, actions, states)


def num_passes(clips: ProtocolClips) -> int:
    """How often `evaluate` calls its progress."""
    return -(-len(clips) // BATCH_SIZE)


def evaluate(
    model: VideoModel[Any], clips: ProtocolClips, protocol: Protocol, progress: Progress
) -> dict[str, dict[str, Any]]:
    """Scores of every row over all clips; the model has to be in evaluation mode."""
    model.spec.require_same_signals(clips.windows.store.spec, whose=str(clips.windows.store.path))
    device = next(model.parameters()).device
    parts: dict[str, list[tuple[Tensor, Tensor]]] = {row: [] for row in ROWS}
    for first in range(0, len(clips), BATCH_SIZE):
        chosen = slice(first, min(first + BATCH_SIZE, len(clips)))
        clip = clips.batch(chosen)
        noise = clip_noise(model, protocol, range(chosen.start, chosen.stop)).to(device)
        true = clip.float_frames(torch.float32)[protocol.context :].to(device)
        strange = clips.with_strange_actions(clip, chosen, protocol.context)
        futures = {
            "model": _predict(model, clip.to(device), protocol, noise),
            "copy_last": copy_last(clip, protocol.context).to(device),
            "shuffled_actions": _predict(model, strange.to(device), protocol, noise),
        }
        for row, future in futures.items():
            parts[row].append((psnr(future, true).cpu(), ssim(future, true).cpu()))
        progress(1)
    return {row: _summary(batches) for row, batches in parts.items()}


def copy_last(clip: Clip, num_context: int) -> Tensor:
    """The last context frame for every predicted one: (P, B, C, H, W) in [0, 1]."""
    frames = clip.float_frames(torch.float32)
    return frames[num_context - 1].expand_as(frames[num_context:])


def clip_noise(model: VideoModel[Any], protocol: Protocol, clips: range, sample: int = 0) -> Tensor:
    """Noise named by seed, sample and clip, whatever else is in the batch: (P, B, Z)."""
    shape = (protocol.horizon, 1, model.latent_dim)
    seed = protocol.seed + 1_000_003 * sample
    return torch.cat([latent_noise(shape, seed, step=clip) for clip in clips], dim=1)


def write_scores(
    run: Run,
    protocol: Protocol,
    clips: ProtocolClips,
    scores: dict[str, dict[str, Any]],
    weights: Path,
) -> Path:
    """The scores with all that decides them, as `evaluation/<protocol>.json` in the run folder."""
    document = {
        "protocol": protocol.to_dict()
        | {
            "psnr": PSNR_VARIANT,
            "ssim": SSIM_VARIANT,
            "latent": "one sample of the prior a clip",
            "shuffled_actions": "future actions and states of the clip half the list further",
            "data": clips.windows.store.spec.source,
            "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
            "framecast": __version__,
            "torch": torch.__version__,
        },
        "scores": scores,
    }
    path = run.folder / "evaluation" / f"{protocol.name}.json"
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(json.dumps(document, indent=1) + "\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def read_scores(run: Run, protocol_name: str) -> dict[str, Any]:
    """Raises UserError when the run was not evaluated yet."""
    path = run.folder / "evaluation" / f"{protocol_name}.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {"protocol": document["protocol"], "scores": document["scores"]}
    except FileNotFoundError:
        raise UserError(
            f"{run.folder} has no scores yet. Run `framecast evaluate {run.folder}` first."
        ) from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} does not hold scores. Evaluate the run again.") from None


def _predict(model: VideoModel[Any], clip: Clip, protocol: Protocol, noise: Tensor) -> Tensor:
    return model.predict(clip, protocol.context, noise, states_given=protocol.states == "given")


def _summary(batches: list[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    psnr_per_clip = torch.cat([batch[0] for batch in batches], dim=1)  # (P, N)
    ssim_per_clip = torch.cat([batch[1] for batch in batches], dim=1)
    return {
        "psnr": float(psnr_per_clip.double().mean()),
        "ssim": float(ssim_per_clip.double().mean()),
        "psnr_per_step": psnr_per_clip.double().mean(dim=1).tolist(),
        "ssim_per_step": ssim_per_clip.double().mean(dim=1).tolist(),
        "num_clips": psnr_per_clip.shape[1],
    }
