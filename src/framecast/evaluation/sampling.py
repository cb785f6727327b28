"""Sampled futures of a batch of clips: the context is taken in once, samples are batch entries.

A sample is named by (seed, sample, clip) and is the same whatever else is in the batch.

Shape letters: P predicted frames, B clips, S samples, Z latent, C H W image.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from framecast.clip import Clip
from framecast.evaluation.protocols import Protocol
from framecast.models.base import Sampler, VideoModel
from framecast.models.threads import Block, even_blocks, in_threads
from framecast.training.schedules import latent_noise

MOST_ENTRIES = 128  # rollouts at once; more gain no speed on any machine tried
MOST_CLIPS = 16
COPIES = 12  # what a predicted frame occupies while it is scored, in frames
STATE_BYTES = 4_000_000  # a generous guess at what a model remembers of one rollout


def batch_entries(frame_numbers: int, memory_mb: int) -> int:
    """How many rollouts may run at once, so that they stay within half of the budget."""
    entry = frame_numbers * 4 * COPIES + STATE_BYTES
    return max(1, min(MOST_ENTRIES, memory_mb * 500_000 // entry))


def clips_at_once(protocol: Protocol, frame_numbers: int, memory_mb: int) -> int:
    """How many clips are scored together: the bytes of their samples take the other half."""
    clip = protocol.num_samples * protocol.horizon * frame_numbers
    return max(1, min(MOST_CLIPS, memory_mb * 500_000 // clip))


def sampler_of(model: VideoModel[Any], protocol: Protocol) -> Sampler[Any]:
    """Draws futures in the protocol's precision."""
    return model.sampler(bfloat16=protocol.precision == "bfloat16")


def clip_noise(model: VideoModel[Any], protocol: Protocol, clips: range, sample: int = 0) -> Tensor:
    """Noise named by seed, sample and clip, whatever else is in the batch: (P, B, Z)."""
    shape = (protocol.horizon, 1, model.latent_dim)
    seed = protocol.seed + 1_000_003 * sample
    return torch.cat([latent_noise(shape, seed, step=clip) for clip in clips], dim=1)


@torch.no_grad()
def sample_futures(
    sampler: Sampler[Any], clip: Clip, protocol: Protocol, clips: range, samples: range
) -> Tensor:
    """The sampled futures of these clips: (P, B, S, C, H, W) in [0, 1], drawn by all threads.

    Args:
        sampler: of the protocol's precision (`sampler_of`).
        clip: their frames, actions and states, on the model's device.
        clips: their places in the protocol's list, which name the noise.
        samples: which samples to draw; the prior's mean when the protocol asks for it.
    """
    counts = (len(clips), len(samples))
    futures = clip.frames.new_empty(
        protocol.horizon, *counts, *clip.frames.shape[2:], dtype=torch.float32
    )

    def draw(block: Block) -> None:
        rows, columns = (slice(part.start, part.stop) for part in block)
        some = (clip.take(rows), protocol, clips[rows], samples[columns])
        for step, frames in enumerate(future_steps(sampler, *some)):
            futures[step, rows, columns] = frames

    in_threads(draw, even_blocks(*counts, MOST_ENTRIES, sampler.device), sampler.device)
    return futures


@torch.no_grad()
def future_steps(
    sampler: Sampler[Any], clip: Clip, protocol: Protocol, clips: range, samples: range
) -> Iterator[Tensor]:
    """The frames of `sample_futures` one after another, (B, S, C, H, W), drawn as one batch."""
    counts, context = (len(clips), len(samples)), protocol.context
    noise = None
    if protocol.prior == "sampled":
        drawn = [clip_noise(sampler.model, protocol, clips, sample) for sample in samples]
        noise = torch.stack(drawn, dim=2).flatten(1, 2).to(clip.actions.device)
    past = None if clip.states is None else clip.states[:context]
    future = clip.states[context:] if clip.states is not None else None
    if future is not None and protocol.states == "given":
        future = future.repeat_interleave(counts[1], dim=1)
    else:
        future = None
    actions = clip.actions[context - 1 :].repeat_interleave(counts[1], dim=1)
    frames = clip.float_frames(sampler.model.dtype)[:context]
    state = sampler.observe(frames, clip.actions[: context - 1], past).repeat(counts[1])
    for predicted in sampler.steps(state, actions, noise, future):
        # The metrics run along rows and columns.
        yield predicted.float().contiguous().view(*counts, *predicted.shape[1:])
