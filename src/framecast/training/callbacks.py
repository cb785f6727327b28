"""What happens beside the steps: the log, the checkpoints, the samples, the clock."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch.optim import Optimizer

from framecast import pictures
from framecast.training import schedules
from framecast.training.module import TrainingModule
from framecast.training.runs import Checkpoint, Run

COLUMNS = (
    *("step", "epoch", "minutes", "loss", "mse", "kl", "state_mse", "psnr", "validation_psnr"),
    *("teacher_forcing", "beta", "pixel_sigma", "lr", "grad_norm"),
)
STRIP_STEPS = 10


class Report(Protocol):
    """Told after every step how far the run is, and what it measured."""

    def __call__(self, step: int, minutes: float, measured: dict[str, float]) -> None: ...


class Clock(Callback):
    """Minutes of training, over all parts of a resumed run; stops the run when they are up."""

    def __init__(self, minutes_before: float, max_minutes: float) -> None:
        self.minutes_before, self.max_minutes = minutes_before, max_minutes
        self.started = time.monotonic()

    @property
    def minutes(self) -> float:
        return self.minutes_before + (time.monotonic() - self.started) / 60

    def on_train_start(self, *_: Any) -> None:
        self.started = time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if self.max_minutes and self.minutes >= self.max_minutes:
            trainer.should_stop = True


class MetricsLog(Callback):
    """Rows of metrics.csv, and the same numbers as TensorBoard events.

    A resumed run first drops the rows of steps that it is going to take again.
    """

    def __init__(self, run: Run, clock: Clock, first_step: int) -> None:
        self.path = run.metrics_file
        self.clock = clock
        self.events = TensorBoardLogger(run.folder, name="tensorboard", version="")
        kept = [row for row in read_metrics(run) if int(row["step"]) <= first_step]
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(kept)

    def on_train_batch_end(self, trainer: Trainer, module: TrainingModule, *_: Any) -> None:  # type: ignore[override]
        every = module.recipe.training.log_every
        if module.step % every == 0 or module.step == 1:
            self._write(module, module.measured)

    def on_validation_end(self, trainer: Trainer, module: TrainingModule) -> None:  # type: ignore[override]
        if module.validation_psnr is not None and not trainer.sanity_checking:
            self._write(module, {"validation_psnr": module.validation_psnr})

    def on_fit_end(self, *_: Any) -> None:
        self.events.finalize("finished")

    def _write(self, module: TrainingModule, measured: dict[str, float]) -> None:
        row: dict[str, float] = {
            "step": module.step,
            "epoch": module.step / module.recipe.training.epoch_size,
            "minutes": self.clock.minutes,
        }
        rounded = {name: f"{value:.8g}" for name, value in (row | measured).items()}
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS, restval="").writerow(rounded)
        self.events.log_metrics(measured, module.step)


def read_metrics(run: Run) -> list[dict[str, str]]:
    """The rows written so far, as text; a number that was not measured is empty."""
    if not run.metrics_file.exists():
        return []
    with run.metrics_file.open(newline="") as file:
        return list(csv.DictReader(file))


class Checkpoints(Callback):
    """`last` after every epoch, every few minutes and at the end; `best` by validation PSNR."""

    def __init__(self, run: Run, clock: Clock, best_psnr: float) -> None:
        self.run, self.clock, self.best_psnr = run, clock, best_psnr
        self.saved_at = clock.minutes

    def on_train_batch_end(self, trainer: Trainer, module: TrainingModule, *_: Any) -> None:  # type: ignore[override]
        if self.clock.minutes - self.saved_at >= module.recipe.training.save_every_minutes:
            self._save_last(trainer, module)

    def on_validation_end(self, trainer: Trainer, module: TrainingModule) -> None:  # type: ignore[override]
        if module.validation_psnr is not None and module.validation_psnr > self.best_psnr:
            self.best_psnr = module.validation_psnr
            self._checkpoint(module, {}).save(self.run.checkpoint_file("best"))

    def on_train_epoch_end(self, trainer: Trainer, module: TrainingModule) -> None:  # type: ignore[override]
        self._save_last(trainer, module)

    def _save_last(self, trainer: Trainer, module: TrainingModule) -> None:
        self.saved_at = self.clock.minutes
        numbers = optimizer_tensors(trainer.optimizers[0])
        self._checkpoint(module, numbers).save(self.run.checkpoint_file("last"))

    def _checkpoint(self, module: TrainingModule, optimizer: dict[str, torch.Tensor]) -> Checkpoint:
        return Checkpoint(
            module.step,
            module.model.spec,
            module.model.state_dict(),
            optimizer,
            self.clock.minutes,
            self.best_psnr,
        )


class Samples(Callback):
    """A strip of one validation clip and its prediction, after every validation."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_validation_end(self, trainer: Trainer, module: TrainingModule) -> None:  # type: ignore[override]
        windows, context = module.validation_windows, module.recipe.clips.context
        if windows is None:
            return
        clip = windows.at(windows.disjoint()[:1]).to(module.device)
        shape = (clip.num_frames - context, 1, module.model.latent_dim)
        noise = schedules.latent_noise(shape, seed=0, step=0).to(module.device)
        was_training = module.model.training
        future = module.model.eval().predict(clip, context, noise, states_given=True)
        module.model.train(was_training)
        true = clip.float_frames(torch.float32)[context:]
        rows = {
            "truth": pictures.to_uint8(true[:STRIP_STEPS, 0].cpu().numpy()),
            "predicted": pictures.to_uint8(future[:STRIP_STEPS, 0].cpu().numpy()),
        }
        steps = [f"+{step + 1}" for step in range(len(rows["truth"]))]
        picture = pictures.strip(rows, steps)
        (self.folder / f"step_{module.step:07d}.png").write_bytes(pictures.png(picture))


class Reporter(Callback):
    """Hands every step's numbers to whoever shows them."""

    def __init__(self, report: Report, clock: Clock) -> None:
        self.report, self.clock = report, clock

    def on_train_batch_end(self, trainer: Trainer, module: TrainingModule, *_: Any) -> None:  # type: ignore[override]
        measured = dict(module.measured)
        if module.validation_psnr is not None:
            measured["validation_psnr"] = module.validation_psnr
        self.report(module.step, self.clock.minutes, measured)


def optimizer_tensors(optimizer: Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state by number of parameter and name of the quantity."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def load_optimizer_tensors(optimizer: Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """The inverse of `optimizer_tensors`."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
