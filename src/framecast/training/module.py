"""The Lightning module: a thin layer between a VideoModel and the Trainer.

It counts its own steps, from the very first of the run: data, noise, teacher forcing and all
weights are functions of (seed, step), so that a resumed run takes the same steps as an unbroken
one without any random state in the checkpoint.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer, RMSprop
from torch.utils.data import DataLoader, Dataset

from framecast.clip import Clip
from framecast.data.augment import augment
from framecast.data.windows import Windows
from framecast.errors import UserError
from framecast.metrics import psnr
from framecast.models.base import VideoModel
from framecast.training import schedules
from framecast.training.recipe import Recipe

VALIDATION_SEED = 0
AUGMENTATION_STREAM = 1


class TrainingBatches(Dataset[Clip]):
    """The batches of consecutive steps; every process of a distributed run takes its share."""

    def __init__(self, windows: Windows, recipe: Recipe, steps: range, rank: int, world: int):
        self.windows, self.recipe, self.steps = windows, recipe, steps
        self.share = slice(rank, None, world)

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> Clip:
        if index >= len(self):
            raise IndexError(index)
        step = self.steps[index]
        recipe, config = self.recipe, self.recipe.clips
        batch = self.windows.sample(recipe.seed, step, config.batch_size)
        if config.shift or config.brightness:
            random = np.random.default_rng([recipe.seed, step, AUGMENTATION_STREAM])
            batch = augment(batch, config.shift, config.brightness, random)
        return batch.take(self.share)


class TrainingModule(LightningModule):
    """Trains a VideoModel.

    Attributes:
        step: optimisation steps taken since the start of the run, resumed parts included.
        measured: the numbers of the latest step, for loggers and the progress bar.
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
        self.measured: dict[str, float] = {}
        self.validation_psnr: float | None = None
        self._validation_scores: list[Tensor] = []

    @property
    def epoch(self) -> int:
        return self.step // self.recipe.training.epoch_size

    def train_dataloader(self) -> DataLoader[Clip]:
        """From the present step to the end of its epoch."""
        end = min((self.epoch + 1) * self.recipe.training.epoch_size, self.recipe.num_steps)
        steps = range(self.step, end)
        rank, world = self.trainer.global_rank, self.trainer.world_size
        batches = TrainingBatches(self.training_windows, self.recipe, steps, rank, world)
        return DataLoader(
            batches,
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
        config = self.recipe.optimizer
        parameters = self.model.parameters()
        if config.name == "adam":
            return Adam(parameters, lr=config.lr, betas=(config.beta1, 0.999))
        if config.name == "rmsprop":
            return RMSprop(parameters, lr=config.lr, momentum=config.beta1)
        return SGD(parameters, lr=config.lr, momentum=config.beta1)

    def training_step(self, clip: Clip, _: int) -> Tensor:
        recipe, step = self.recipe, self.step
        beta = schedules.kl_weight(recipe.kl, step, recipe.num_steps)
        ratio = schedules.teacher_forcing_ratio(recipe.teacher_forcing, self.epoch)
        shape = (clip.num_frames - 1, recipe.clips.batch_size)
        share = slice(self.trainer.global_rank, None, self.trainer.world_size)
        truth = schedules.feed_truth(recipe.teacher_forcing, ratio, shape, recipe.seed, step)
        noise = schedules.latent_noise((*shape, self.model.latent_dim), recipe.seed, step)
        loss = self.model.loss(
            clip, beta, truth[:, share].to(self.device), noise[:, share].to(self.device)
        )
        if not bool(torch.isfinite(loss.total)):
            raise self._not_finite("loss", float(loss.total.detach()))
        lr = schedules.learning_rate(recipe, step)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = lr
        spec = self.model.spec
        num_pixels = spec.channels * spec.height * spec.width
        mse = float(loss.reconstruction.detach())
        self.measured = {
            "loss": float(loss.total.detach()),
            "mse": mse,
            "kl": float(loss.kl.detach()),
            "state_mse": float(loss.state_error.detach()),
            "psnr": -10 * math.log10(max(mse, 1e-10)),
            "teacher_forcing": ratio,
            "beta": beta,
            "pixel_sigma": schedules.implied_pixel_sigma(beta, num_pixels),
            "lr": lr,
        }
        return loss.total

    def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
        clip = self.recipe.optimizer.gradient_clip or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip))
        if not math.isfinite(norm):
            raise self._not_finite("gradient", norm)
        self.measured["grad_norm"] = norm

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.step += 1

    def validation_step(self, clip: Clip, _: int) -> None:
        context = self.recipe.clips.context
        shape = (clip.num_frames - context, clip.batch_size, self.model.latent_dim)
        noise = schedules.latent_noise(shape, VALIDATION_SEED, step=0).to(self.device)
        predicted = self.model.predict(clip, context, noise, states_given=True)
        true = clip.float_frames(torch.float32)[context:]
        self._validation_scores.append(psnr(predicted, true).mean(dim=0))

    def on_validation_epoch_end(self) -> None:
        scores = torch.cat(self._validation_scores)
        self._validation_scores.clear()
        self.validation_psnr = float(scores.mean())

    def _not_finite(self, what: str, value: float) -> UserError:
        return UserError(
            f"The {what} became {value} at step {self.step}; training stopped and the checkpoints "
            "hold the steps before it. Lower optimizer.lr or kl.beta, or set "
            "optimizer.gradient_clip, and go on with --resume."
        )
