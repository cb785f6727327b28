"""Sampled futures of a batch of clips: the context is taken in once, samples are batch entries.

A sample is named by (seed, sample, clip) and is the same whatever else is in the batch.

Shape letters: P predicted frames, B clips, S samples, Z latent, C H W image.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from framecast.clip import Clip
from framecast.evaluation.protocols import Protocol
from framecast.models.base import RolloutState, Sampler, VideoModel
from framecast.models.threads import even_parts, in_threads
from framecast.training.schedules import latent_noise

MOST_ENTRIES = 128  # more gain no speed on any machine tried
MOST_CLIPS = 16
COPIES = 4  # what a predicted frame occupies while it is scored, in frames
STATE_BYTES = 4_000_000  # a generous guess at what a model remembers of one rollout


def batch_entries(protocol: Protocol, frame_numbers: int, memory_mb: int) -> int:
    """How many rollouts go into one batch, so that they stay within half of the budget."""
    entry = protocol.horizon * frame_numbers * 4 * COPIES + STATE_BYTES
    return max(1, min(MOST_ENTRIES, memory_mb * 500_000 // entry))


def clips_at_once(protocol: Protocol, frame_numbers: int, memory_mb: int) -> int:
    """How many clips are scored together: the bytes of their samples take the other half."""
    clip = protocol.num_samples * protocol.horizon * frame_numbers
    return max(1, min(MOST_CLIPS, memory_mb * 500_000 // clip))


def clip_noise(model: VideoModel[Any], protocol: Protocol, clips: range, sample: int = 0) -> Tensor:
    """Noise named by seed, sample and clip, whatever else is in the batch: (P, B, Z)."""
    shape = (protocol.horizon, 1, model.latent_dim)
    seed = protocol.seed + 1_000_003 * sample
    return torch.cat([latent_noise(shape, seed, step=clip) for clip in clips], dim=1)


@torch.no_grad()
def sample_futures(
    model: VideoModel[Any], clip: Clip, protocol: Protocol, clips: range, samples: range
) -> Tensor:
    """The sampled futures of these clips: (P, B, S, C, H, W) in [0, 1].

    Args:
        clip: their frames, actions and states, on the model's device.
        clips: their places in the protocol's list, which name the noise.
        samples: which samples to draw; the prior's mean when the protocol asks for it.
    """
    num_samples, context = len(samples), protocol.context
    noise = None
    if protocol.prior == "sampled":
        drawn = [clip_noise(model, protocol, clips, sample) for sample in samples]
        noise = torch.stack(drawn, dim=2).flatten(1, 2).to(clip.actions.device)
    past = None if clip.states is None else clip.states[:context]
    future = clip.states[context:] if clip.states is not None else None
    if future is not None and protocol.states == "given":
        future = future.repeat_interleave(num_samples, dim=1)
    else:
        future = None
    actions = clip.actions[context - 1 :].repeat_interleave(num_samples, dim=1)
    sampler = model.sampler(bfloat16=protocol.precision == "bfloat16")
    frames = clip.float_frames(model.dtype)[:context]
    state = sampler.observe(frames, clip.actions[: context - 1], past).repeat(num_samples)
    predicted = _rollouts(sampler, state, actions, noise, future).float()
    return predicted.reshape(-1, clip.batch_size, num_samples, *predicted.shape[2:])


def _rollouts(
    sampler: Sampler[Any],
    state: RolloutState,
    actions: Tensor,
    noise: Tensor | None,
    states: Tensor | None,
) -> Tensor:
    """`sampler.rollout`, the batch shared among threads."""

    def of_part(entries: range) -> Tensor:
        chosen = torch.tensor(entries, device=sampler.device)
        parts = (None if given is None else given[:, chosen] for given in (noise, states))
        rollout = sampler.rollout(state.take(chosen), actions[:, chosen], *parts)
        return rollout.contiguous()  # the metrics run along rows and columns

    batch_size = actions.shape[1]
    parts = even_parts(batch_size, batch_size, sampler.device)
    return torch.cat(in_threads(of_part, parts, sampler.device), dim=1)
