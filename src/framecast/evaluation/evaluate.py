"""Scores of a trained model on a split, beside the rows that say what they are worth.

Clips are scored in groups, small enough to bound memory; what a group gave is a few numbers, which
can be kept on disk so that an interrupted evaluation goes on where it stopped.

Shape letters: M metrics, S samples, P predicted frames, B clips of a group, N clips.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from framecast.clip import Clip
from framecast.evaluation.baselines import copy_last, linear_motion
from framecast.evaluation.calibration import Calibration
from framecast.evaluation.clips import ProtocolClips, with_zero_actions
from framecast.evaluation.groups import GroupScores, GroupStore
from framecast.evaluation.networks import PerceptualDistance, VideoFeatures, WeightsFile
from framecast.evaluation.protocols import Protocol
from framecast.evaluation.sampling import (
    batch_entries,
    clip_noise,
    clips_at_once,
    future_steps,
    sample_futures,
    sampler_of,
)
from framecast.evaluation.true_futures import Measures, TrueFutures
from framecast.metrics import METRICS
from framecast.models.base import Sampler, VideoModel
from framecast.models.threads import Block, even_blocks, in_threads

__all__ = ["Evaluator", "ProtocolClips", "clip_noise", "copy_last"]

DEFAULT_MEMORY_MB = 1000
SCORED_TOGETHER = 64  # frames; more do not fit into the cache, fewer are calls more than work
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Evaluator:
    """Scores a model, in evaluation mode, by a protocol.

    Attributes:
        beside: other models of the same clips by the name of their row: twin, shipped.
        networks: weights of lpips and fvd where they are wanted.
        memory_mb: roughly what predicted frames may occupy.
        world: the simulator of the clips, for true futures, or None.
    """

    model: VideoModel[Any]
    clips: ProtocolClips
    protocol: Protocol
    beside: Mapping[str, VideoModel[Any]] = field(default_factory=dict)
    networks: tuple[WeightsFile, ...] = ()
    memory_mb: int = DEFAULT_MEMORY_MB
    world: TrueFutures | None = None

    def __post_init__(self) -> None:
        store = self.clips.windows.store
        for model in (self.model, *self.beside.values()):
            model.spec.require_same_signals(store.spec, whose=str(store.path))

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def frame_numbers(self) -> int:
        """Numbers of one frame."""
        return int(np.prod(self.clips.windows.store.pixels.shape[1:]))

    @cached_property
    def sampler(self) -> Sampler[Any]:
        return sampler_of(self.model, self.protocol)

    @cached_property
    def entries(self) -> int:
        """Rollouts at once."""
        return batch_entries(self.frame_numbers, self.memory_mb)

    @cached_property
    def groups(self) -> list[slice]:
        size = clips_at_once(self.protocol, self.frame_numbers, self.memory_mb)
        num_clips = len(self.clips)
        return [slice(i, min(i + size, num_clips)) for i in range(0, num_clips, size)]

    @cached_property
    def metrics(self) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
        """Every metric of single frames, by name."""
        metrics = {name: metric.function for name, metric in METRICS.items()}
        for weights in self.networks:
            if weights.kind == "lpips":
                metrics[weights.name] = PerceptualDistance(weights).to(self.device)
        return metrics

    @cached_property
    def video_features(self) -> VideoFeatures | None:
        videos = [weights for weights in self.networks if weights.kind == "fvd"]
        return VideoFeatures(videos[0]) if videos else None

    def run(self, progress: Progress, kept: GroupStore | None = None) -> list[GroupScores]:
        """The scores of every group, in order; those already in `kept` are read from there."""
        done = []
        for number, chosen in enumerate(self.groups):
            group = kept.read(number) if kept is not None else None
            if group is None:
                group = self.score(chosen)
                if kept is not None:
                    kept.write(number, group)
            done.append(group)
            progress(chosen.stop - chosen.start)
        return done

    @torch.no_grad()
    def score(self, chosen: slice) -> GroupScores:
        """The scores of some of the clips."""
        clip = self.clips.batch(chosen)
        context = self.protocol.context
        true = clip.float_frames(torch.float32)[context:].to(self.device)
        values, samples = self._score_samples(clip, chosen, true)
        rows = {"model": values}
        for row, future in self._other_futures(clip, chosen):
            rows[row] = self._per_frame(future[:, :, None].to(self.device), true)
        calibration = None
        if samples.shape[2] > 1:
            average = samples.mean(dim=2, keepdim=True, dtype=torch.float32) / 255
            rows["average"] = self._per_frame(average.to(self.device), true)
            drawn = samples.permute(2, 0, 1, 3, 4, 5)
            calibration = Calibration.of(drawn, clip.frames[context:], clip.frames[context - 1])
        measures: tuple[Measures, ...] = ()
        if self.world is not None:
            rows["world"], measures = self._score_world(self.world, clip, chosen, samples, true)
        features = {}
        if self.video_features is not None:
            future = samples[:, :, 0].float() / 255
            past = clip.float_frames(torch.float32)[:context]
            name = self.video_features.name
            features[name] = self.video_features(torch.cat([past, future])).numpy()
            features["true"] = self.video_features(clip.float_frames(torch.float32)).numpy()
        arrays = {row: scores.cpu().numpy() for row, scores in rows.items()}
        return GroupScores(tuple(self.metrics), arrays, calibration, features, measures)

    def _score_world(
        self, world: TrueFutures, clip: Clip, chosen: slice, samples: Tensor, true: Tensor
    ) -> tuple[Tensor, tuple[Measures, ...]]:
        """Scores (M, S, P, B) of the true futures as if a model had made them, and measures."""
        assert clip.states is not None
        values, measures = [], []
        for index, place in enumerate(range(chosen.start, chosen.stop)):
            futures = world.simulate(place)
            frames = torch.from_numpy(futures.frames).permute(1, 0, 4, 2, 3).float() / 255
            values.append(
                self._per_frame(frames[:, None].to(self.device), true[:, index : index + 1])
            )
            states = clip.states[self.protocol.context :, index]
            sampled = samples[:, index].transpose(0, 1)
            measures.append(world.score(futures, sampled, clip.frames[:, index], states))
        return torch.cat(values, dim=-1), tuple(measures)

    def _score_samples(self, clip: Clip, chosen: slice, true: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (M, S, P, B) of every sample, and the samples as bytes (P, B, S, C, H, W).

        Block by block and a few steps at a time: what a thread has drawn it scores at once, and
        keeps as bytes.
        """
        on_device, num_samples = clip.to(self.device), self.protocol.num_samples
        sampler = self.sampler  # made once, before the threads ask for it
        (horizon, num_clips), image = true.shape[:2], true.shape[2:]
        values = torch.empty(len(self.metrics), num_samples, horizon, num_clips)
        samples = torch.empty(horizon, num_clips, num_samples, *image, dtype=torch.uint8)

        def score(block: Block) -> None:
            rows, columns = (slice(part.start, part.stop) for part in block)
            places = range(chosen.start + rows.start, chosen.start + rows.stop)
            some = on_device.take(rows)
            drawn = future_steps(sampler, some, self.protocol, places, block[1])
            most = max(1, SCORED_TOGETHER // (len(block[0]) * len(block[1])))
            for first in range(0, horizon, most):
                futures = torch.stack(list(itertools.islice(drawn, most)))
                steps = slice(first, first + len(futures))
                values[:, columns, steps, rows] = self._per_frame(futures, true[steps, rows]).cpu()
                samples[steps, rows, columns] = futures.clamp_(0, 1).mul_(255).round_().byte().cpu()

        parts = even_blocks(num_clips, num_samples, self.entries, self.device)
        in_threads(torch.no_grad()(score), parts, self.device)
        return values, samples

    def _per_frame(self, futures: Tensor, true: Tensor) -> Tensor:
        """(P, B, S, C, H, W) and (P, B, C, H, W) -> (M, S, P, B)."""
        horizon = len(futures)
        most = max(1, SCORED_TOGETHER * horizon // futures[:, :, :, 0, 0, 0].numel())

        @torch.no_grad()
        def of_steps(steps: range) -> Tensor:
            part = slice(steps.start, steps.stop)
            pair = (futures[part], true[part, :, None])
            return torch.stack([metric(*pair) for metric in self.metrics.values()])

        parts = [range(i, min(i + most, horizon)) for i in range(0, horizon, most)]
        values = in_threads(of_steps, parts, futures.device)
        return torch.cat(values, dim=1).permute(0, 3, 1, 2)

    def _other_futures(self, clip: Clip, chosen: slice) -> Iterator[tuple[str, Tensor]]:
        """Name and frames (P, B, C, H, W) of every row that has one future a clip."""
        context = self.protocol.context
        yield "copy_last", copy_last(clip, context)
        if context >= 2:
            yield "linear_motion", linear_motion(clip, context)
        strange = self.clips.with_strange_actions(clip, chosen, context)
        yield "shuffled_actions", self._one_future(self.model, strange, chosen)
        yield "zero_actions", self._one_future(self.model, with_zero_actions(clip, context), chosen)
        if self.protocol.prior == "sampled" and self.model.latent_dim:
            yield "prior_mean", self._one_future(self.model, clip, chosen, mean=True)
        for row, other in self.beside.items():
            yield row, self._one_future(other, clip, chosen, mean=row == "twin")

    def _one_future(
        self, model: VideoModel[Any], clip: Clip, chosen: slice, mean: bool = False
    ) -> Tensor:
        protocol = replace(self.protocol, num_samples=1)
        if mean:
            protocol = replace(protocol, prior="mean")
        sampler = self.sampler if model is self.model else sampler_of(model, protocol)
        places = range(chosen.start, chosen.stop)
        return sample_futures(sampler, clip.to(self.device), protocol, places, range(1))[:, :, 0]
