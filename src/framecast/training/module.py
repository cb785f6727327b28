"""The Lightning module: a thin layer between a VideoModel and the Trainer.

It counts its own steps, from the very first of the run: data, noise, teacher forcing and all
weights are functions of (seed, step), so that a resumed run takes the same steps as an unbroken
one without any random state in the checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from framecast.clip import Clip
from framecast.data.augment import StateShift, augment, in_mirror
from framecast.data.windows import Windows
from framecast.errors import UserError
from framecast.metrics import psnr
from framecast.mirror import mirror_of
from framecast.models.base import Loss, VideoModel
from framecast.training import schedules
from framecast.training.average import WeightAverage
from framecast.training.dynamic_weight import DynamicWeight
from framecast.training.optimizers import build_optimizer, load_optimizer_tensors
from framecast.training.recipe import Recipe

VALIDATION_SEED = 0
AUGMENTATION_STREAM = 1


@dataclass(frozen=True)
class Share:
    """Which clips of every batch a process works through, and in how many parts a step.

    Clip i of a batch goes to process i mod `world`, and of its clips to part i mod `parts`.
    """

    rank: int
    world: int
    parts: int

    def of_part(self, part: int) -> slice:
        return slice(self.rank + self.world * part, None, self.world * self.parts)


class TrainingBatches(Dataset[Clip]):
    """The batches of consecutive steps, part by part."""

    def __init__(self, windows: Windows, recipe: Recipe, steps: range, share: Share) -> None:
        self.windows, self.recipe, self.steps, self.share = windows, recipe, steps, share
        self.mirror = mirror_of(recipe.clips.mirror, windows.store.spec)
        moved = recipe.clips.state_shift
        self.state_shift = StateShift(moved, windows.store) if moved else None

    def __len__(self) -> int:
        return len(self.steps) * self.share.parts

    def __getitem__(self, index: int) -> Clip:
        if index >= len(self):
            raise IndexError(index)
        step, part = divmod(index, self.share.parts)
        return self._batch(self.steps[step]).take(self.share.of_part(part))

    def _batch(self, step: int) -> Clip:
        recipe, config = self.recipe, self.recipe.clips
        batch = self.windows.sample(recipe.seed, step, config.batch_size)
        random = np.random.default_rng([recipe.seed, step, AUGMENTATION_STREAM])
        if config.shift or config.brightness:
            batch = augment(batch, config.shift, config.brightness, random)
        if self.state_shift is not None:
            batch = self.state_shift(batch, random)
        if self.mirror is not None:
            batch = in_mirror(batch, self.mirror, random)
        return batch.first(config.context + schedules.horizon(config, step, recipe.num_steps))


class TrainingModule(LightningModule):
    """Trains a VideoModel.

    Attributes:
        step: optimisation steps taken since the start of the run, resumed parts included.
        average: the exponential average of the weights, where the recipe keeps one.
        dynamic_weight: the KL weight that holds a rate, where the recipe asks for it.
        optimizer_numbers: what the optimizer goes on from; empty at the start of a run.
        measured: the numbers of the latest step, for loggers and the progress bar.
        kl_per_dimension: (Z,) nats a frame of the latest step; empty without a latent.
        validation_psnr: dB, mean over validation clips and predicted frames; None before the
            first validation.
    """

    def __init__(
        self,
        model: VideoModel[Any],
        recipe: Recipe,
        training: Windows,
        validation: Windows | None,
        step: int = 0,
    ) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.training_windows = training
        self.validation_windows = validation
        self.step = step
        decay = recipe.training.average_decay
        self.average = WeightAverage(model, decay) if decay else None
        dynamic = recipe.kl.annealing == "dynamic"
        self.dynamic_weight = DynamicWeight(recipe.kl) if dynamic else None
        self.optimizer_numbers: dict[str, Tensor] = {}
        self.measured: dict[str, float] = {}
        self.kl_per_dimension = torch.zeros(0)
        self.validation_psnr: float | None = None
        self._validation_scores: list[Tensor] = []
        self._parts_measured: list[dict[str, float]] = []

    @property
    def epoch(self) -> int:
        return self.step // self.recipe.training.epoch_size

    @property
    def evaluated(self) -> VideoModel[Any]:
        """The model that is validated and sampled from: the average where there is one."""
        return self.model if self.average is None else self.average.model

    @property
    def share(self) -> Share:
        parts = self.recipe.training.accumulate
        return Share(self.trainer.global_rank, self.trainer.world_size, parts)

    def on_fit_start(self) -> None:
        if self.average is not None:
            self.average.model.to(self.device)

    def on_train_start(self) -> None:
        if self.average is not None and self.step == 0:  # now all have what the first has fitted
            self.average = WeightAverage(self.model, self.average.decay)

    def train_dataloader(self) -> DataLoader[Clip]:
        """From the present step to the end of its epoch."""
        end = min((self.epoch + 1) * self.recipe.training.epoch_size, self.recipe.num_steps)
        steps = range(self.step, end)
        return DataLoader(
            TrainingBatches(self.training_windows, self.recipe, steps, self.share),
            batch_size=None,
            num_workers=self.recipe.clips.num_workers,
            pin_memory=self.device.type == "cuda",
        )

    def val_dataloader(self) -> DataLoader[Clip] | list[Clip]:
        """The same clips every time, spread evenly over the split."""
        if self.validation_windows is None:
            return []
        windows, recipe = self.validation_windows, self.recipe
        starts = windows.disjoint()
        count = min(len(starts), recipe.training.validation_clips)
        spread = np.linspace(0, len(starts) - 1, count).astype(int)
        batches = list(windows.batches(starts[spread], recipe.clips.batch_size))
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]

    def transfer_batch_to_device(self, batch: Clip, device: torch.device, _: int) -> Clip:
        return batch.to(device)

    def configure_optimizers(self) -> Optimizer:
        optimizer = build_optimizer(self.recipe.optimizer, self.model)
        if self.optimizer_numbers:
            load_optimizer_tensors(optimizer, self.optimizer_numbers)
        return optimizer

    def training_step(self, clip: Clip, batch_index: int) -> Tensor:
        recipe, step = self.recipe, self.step
        beta = schedules.kl_weight(recipe.kl, step, recipe.num_steps)
        if self.dynamic_weight is not None:
            beta = self.dynamic_weight.value
        ratio = schedules.teacher_forcing_ratio(recipe, step)
        shape = (clip.num_frames - 1, recipe.clips.batch_size)
        mine = self.share.of_part(batch_index % self.share.parts)
        truth = schedules.feed_truth(recipe.teacher_forcing, ratio, shape, recipe.seed, step)
        noise = schedules.latent_noise((*shape, self.model.latent_dim), recipe.seed, step)
        loss = self.model.loss(
            clip, beta, truth[:, mine].to(self.device), noise[:, mine].to(self.device)
        )
        total = self._with_free_bits(loss, beta)
        lr = schedules.learning_rate(recipe, step)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = lr
        self._measure(loss, total, {"teacher_forcing": ratio, "beta": beta, "lr": lr})
        if not math.isfinite(self.measured["loss"]):
            raise self._not_finite("loss", self.measured["loss"])
        return total

    def _with_free_bits(self, loss: Loss, beta: float) -> Tensor:
        free = self.recipe.kl.free_bits
        if not free or loss.kl_per_dimension is None:
            return loss.total
        charged = loss.kl_per_dimension.clamp(min=free).sum()
        return loss.total + beta * (charged - loss.kl)

    def _measure(self, loss: Loss, total: Tensor, weights: dict[str, float]) -> None:
        """Means over the parts of this step and all processes."""
        spec = self.model.spec
        named = {
            "loss": total,
            "mse": loss.reconstruction,
            "kl": loss.kl,
            "state_mse": loss.state_error,
        }
        per_dimension = loss.kl_per_dimension
        scalars = torch.stack([value.detach().float() for value in named.values()])
        numbers = scalars if per_dimension is None else torch.cat([scalars, per_dimension.detach()])
        if self.trainer.world_size > 1:
            numbers = self.trainer.strategy.reduce(numbers, reduce_op="mean")
        values = numbers.cpu()
        measured = dict(zip(named, values[: len(named)].tolist(), strict=True))
        if per_dimension is not None:
            self.kl_per_dimension = values[len(named) :]
            measured["active_dimensions"] = schedules.active_dimensions(self.kl_per_dimension)
        parts = self._parts_measured
        parts.append(measured)
        means = {name: sum(part[name] for part in parts) / len(parts) for name in measured}
        num_pixels = spec.channels * spec.height * spec.width
        self.measured = means | weights
        self.measured["psnr"] = -10 * math.log10(max(means["mse"], 1e-10))
        self.measured["pixel_sigma"] = schedules.implied_pixel_sigma(weights["beta"], num_pixels)

    def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
        clip = self.recipe.optimizer.gradient_clip or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip))
        if not math.isfinite(norm):
            raise self._not_finite("gradient", norm)
        self.measured["grad_norm"] = norm

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.step += 1
        self._parts_measured.clear()
        if self.average is not None:
            self.average.follow(self.model, self.step)
        if self.dynamic_weight is not None:
            self.dynamic_weight.follow(self.measured["kl"])

    def validation_step(self, clip: Clip, _: int) -> None:
        context = self.recipe.clips.context
        shape = (clip.num_frames - context, clip.batch_size, self.model.latent_dim)
        noise = schedules.latent_noise(shape, VALIDATION_SEED, step=0).to(self.device)
        predicted = self.evaluated.predict(clip, context, noise, states_given=True)
        true = clip.float_frames(torch.float32)[context:]
        self._validation_scores.append(psnr(predicted, true).mean(dim=0))

    def on_validation_epoch_end(self) -> None:
        scores = torch.cat(self._validation_scores)
        self._validation_scores.clear()
        # Every process scores all clips; the first one's figure decides for all.
        self.validation_psnr = self.trainer.strategy.broadcast(float(scores.mean()))

    def _not_finite(self, what: str, value: float) -> UserError:
        return UserError(
            f"The {what} became {value} at step {self.step}; training stopped and the checkpoints "
            "hold the steps before it. Lower optimizer.lr or kl.beta, or set "
            "optimizer.gradient_clip, and go on with --resume."
        )
