"""What happens beside the steps: the log, the checkpoints, the samples, the clock."""

from __future__ import annotations

import dataclasses
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, Self

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from framecast import pictures
from framecast.training import schedules
from framecast.training.module import TrainingModule
from framecast.training.optimizers import optimizer_tensors
from framecast.training.runs import Checkpoint, Run
from framecast.training.tables import StepTable, read_table

COLUMNS = (
    *("step", "epoch", "minutes", "loss", "mse", "kl", "state_mse", "psnr", "validation_psnr"),
    *("teacher_forcing", "beta", "pixel_sigma", "lr", "grad_norm", "active_dimensions"),
)
STRIP_STEPS = 10


class Report(Protocol):
    """Told after every step how far the run is, and what it measured."""

    def __call__(self, step: int, minutes: float, measured: dict[str, float]) -> None: ...


class StepCallback(Callback):
    """Called once an optimisation step, however many parts its batch is worked through in."""

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, module: TrainingModule, _: Any, __: Any, batch_index: int
    ) -> None:
        if (batch_index + 1) % module.recipe.training.accumulate == 0:
            self.on_step(trainer, module)

    def on_step(self, trainer: Trainer, module: TrainingModule) -> None:
        raise NotImplementedError


class Clock(StepCallback):
    """Minutes of training, over all parts of a resumed run; stops the run when they are up."""

    def __init__(self, minutes_before: float, max_minutes: float) -> None:
        self.minutes_before, self.max_minutes = minutes_before, max_minutes
        self.started = time.monotonic()

    @property
    def minutes(self) -> float:
        return self.minutes_before + (time.monotonic() - self.started) / 60

    def on_train_start(self, *_: Any) -> None:
        self.started = time.monotonic()

    def on_step(self, trainer: Trainer, module: TrainingModule) -> None:
        if self.max_minutes and self.minutes >= self.max_minutes:
            trainer.should_stop = True


class StopOnSignal(StepCallback):
    """Inside of it the first Ctrl-C or SIGTERM ends training after the present step, with
    everything saved; a second one ends it at once.

    A signal comes at any time, but is heeded at the end of a step, where processes that train
    together agree: one that left between two agreements would leave the others waiting for it.
    """

    def __init__(self) -> None:
        self.asked = False
        self.listens = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Self:
        if self.listens:
            self.before: Any = signal.signal(signal.SIGINT, self.stop)
        return self

    def __exit__(self, *_: object) -> None:
        if self.listens:
            signal.signal(signal.SIGINT, self.before)

    def on_train_start(self, *_: Any) -> None:
        # In place of Lightning's, in which processes that train together wait for one another for
        # ever; it puts back in the end what was there before its own.
        if self.listens:
            signal.signal(signal.SIGTERM, self.stop)

    def stop(self, _: int, __: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def on_step(self, trainer: Trainer, module: TrainingModule) -> None:
        trainer.should_stop = trainer.should_stop or self.asked


class Agreement(StepCallback):
    """Processes that train together stop together. Comes after all who may want to stop."""

    def on_step(self, trainer: Trainer, module: TrainingModule) -> None:
        if trainer.world_size > 1:
            trainer.should_stop = trainer.strategy.reduce_boolean_decision(
                trainer.should_stop, all=False
            )


class ValidationTimes(StepCallback):
    """Every so many epochs, counted over all parts of a resumed run, and what a run ends with,
    whatever ends it. Comes after Agreement."""

    def on_step(self, trainer: Trainer, module: TrainingModule) -> None:
        config = module.recipe.training
        is_due = module.step % (config.validate_every * config.epoch_size) == 0
        is_over = trainer.should_stop or module.step >= module.recipe.num_steps
        trainer.check_val_every_n_epoch = 1 if is_due or is_over else sys.maxsize


class MetricsLog(StepCallback):
    """Rows of metrics.csv, and the same numbers as TensorBoard events; the KL of every latent
    dimension at every validation, in kl_per_dimension.csv."""

    def __init__(self, run: Run, clock: Clock, first_step: int, latent_dim: int) -> None:
        self.clock = clock
        self.events = TensorBoardLogger(run.folder, name="tensorboard", version="")
        self.metrics = StepTable(run.metrics_file, COLUMNS, first_step)
        names = ("step", *(f"d{index}" for index in range(latent_dim)))
        self.dimensions = (
            StepTable(run.folder / "kl_per_dimension.csv", names, first_step)
            if latent_dim
            else None
        )

    def on_step(self, trainer: Trainer, module: TrainingModule) -> None:
        every = module.recipe.training.log_every
        if module.step % every == 0 or module.step == 1:
            self._write(module, module.measured)

    def on_validation_end(self, trainer: Trainer, module: TrainingModule) -> None:  # type: ignore[override]
        if module.validation_psnr is not None and not trainer.sanity_checking:
            self._write(module, {"validation_psnr": module.validation_psnr})
            if self.dimensions is not None:
                nats = module.kl_per_dimension.tolist()
                row = {f"d{index}": value for index, value in enumerate(nats)}
                self.dimensions.append({"step": module.step} | row)

    def on_fit_end(self, *_: Any) -> None:
        self.events.finalize("finished")

    def _write(self, module: TrainingModule, measured: dict[str, float]) -> None:
        row: dict[str, float] = {
            "step": module.step,
            "epoch": module.step / module.recipe.training.epoch_size,
            "minutes": self.clock.minutes,
        }
        self.metrics.append(row | measured)
        self.events.log_metrics(measured, module.step)


def read_metrics(run: Run) -> list[dict[str, str]]:
    """The rows written so far, as text; a number that was not measured is empty."""
    return read_table(run.metrics_file)


class Checkpoints(StepCallback):
    """`last` after every epoch, every few minutes and at the end; `best` by validation PSNR."""

    def __init__(self, run: Run, clock: Clock, best_psnr: float, stale_validations: int) -> None:
        self.run, self.clock, self.best_psnr = run, clock, best_psnr
        self.stale_validations = stale_validations
        self.saved_at = clock.minutes

    def on_step(self, trainer: Trainer, module: TrainingModule) -> None:
        # After an epoch's last step comes its validation, which a run resumed here would leave out.
        in_epoch = module.step % module.recipe.training.epoch_size > 0
        due = self.clock.minutes - self.saved_at >= module.recipe.training.save_every_minutes
        if in_epoch and due:
            self._save_last(trainer, module)

    def on_validation_end(self, trainer: Trainer, module: TrainingModule) -> None:  # type: ignore[override]
        if module.validation_psnr is None:
            return
        self.stale_validations += 1
        if module.validation_psnr > self.best_psnr:
            self.best_psnr, self.stale_validations = module.validation_psnr, 0
            best = self._checkpoint(module, module.evaluated.state_dict())
            if trainer.is_global_zero:
                best.save(self.run.checkpoint_file("best"))
        patience = module.recipe.training.patience
        if patience and self.stale_validations >= patience:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Trainer, module: TrainingModule) -> None:  # type: ignore[override]
        self._save_last(trainer, module)

    def _save_last(self, trainer: Trainer, module: TrainingModule) -> None:
        self.saved_at = self.clock.minutes
        if not trainer.is_global_zero:
            return
        whole = dataclasses.replace(
            self._checkpoint(module, module.model.state_dict()),
            optimizer=optimizer_tensors(trainer.optimizers[0]),
            average={} if module.average is None else module.average.model.state_dict(),
        )
        whole.save(self.run.checkpoint_file("last"))

    def _checkpoint(self, module: TrainingModule, weights: dict[str, torch.Tensor]) -> Checkpoint:
        dynamic = module.dynamic_weight
        return Checkpoint(
            module.step,
            module.model.spec,
            weights,
            {},
            self.clock.minutes,
            self.best_psnr,
            stale_validations=self.stale_validations,
            kl_weight=None if dynamic is None else dynamic.value,
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
        was_training = module.evaluated.training
        future = module.evaluated.eval().predict(clip, context, noise, states_given=True)
        module.evaluated.train(was_training)
        true = clip.float_frames(torch.float32)[context:]
        rows = {
            "truth": pictures.to_uint8(true[:STRIP_STEPS, 0].cpu().numpy()),
            "predicted": pictures.to_uint8(future[:STRIP_STEPS, 0].cpu().numpy()),
        }
        steps = [f"+{step + 1}" for step in range(len(rows["truth"]))]
        picture = pictures.strip(rows, steps)
        (self.folder / f"step_{module.step:07d}.png").write_bytes(pictures.png(picture))


class Reporter(StepCallback):
    """Hands every step's numbers to whoever shows them."""

    def __init__(self, report: Report, clock: Clock) -> None:
        self.report, self.clock = report, clock

    def on_step(self, trainer: Trainer, module: TrainingModule) -> None:
        measured = dict(module.measured)
        if module.validation_psnr is not None:
            measured["validation_psnr"] = module.validation_psnr
        self.report(module.step, self.clock.minutes, measured)
