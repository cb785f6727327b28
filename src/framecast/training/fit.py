"""One training run, from the first step or from where it stopped."""

from __future__ import annotations

import dataclasses
import logging
import math
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch.optim import Optimizer

from framecast.data.episodes import EpisodeStore
from framecast.data.windows import Windows
from framecast.errors import UserError
from framecast.training.callbacks import (
    Checkpoints,
    Clock,
    MetricsLog,
    Report,
    Reporter,
    Samples,
    load_optimizer_tensors,
)
from framecast.training.module import TrainingModule
from framecast.training.recipe import Recipe
from framecast.training.runs import Checkpoint, Run, build_model, load_weights


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        reason: "finished", "was interrupted" or "stopped because its time was up".
    """

    step: int
    minutes: float
    best_psnr: float
    reason: str


class ResumableModule(TrainingModule):
    """A TrainingModule whose optimizer goes on with the numbers of a checkpoint."""

    optimizer_numbers: dict[str, torch.Tensor] | None = None

    def configure_optimizers(self) -> Optimizer:
        optimizer = super().configure_optimizers()
        if self.optimizer_numbers:
            load_optimizer_tensors(optimizer, self.optimizer_numbers)
        return optimizer


def start(recipe: Recipe, dataset: Path, folder: Path, report: Report) -> Outcome:
    """Train a new run. Raises UserError before anything is written when data and recipe differ."""
    training, validation = _windows(recipe, dataset)
    model = build_model(recipe, training.store.spec)
    run = Run.create(folder, recipe, dataset, training.store.spec)
    module = ResumableModule(model, recipe, training, validation)
    return _fit(module, run, minutes_before=0.0, best_psnr=-math.inf, report=report)


def resume(recipe: Recipe, dataset: Path, folder: Path, report: Report) -> Outcome:
    """Go on with a run from its last checkpoint.

    The length of the run may change; any other setting has to be as it was.
    """
    run = Run.open(folder)
    _require_same_recipe(run.recipe(), recipe, folder)
    path = run.checkpoint_file("last")
    checkpoint = Checkpoint.load(path)
    training, validation = _windows(recipe, dataset)
    checkpoint.spec.require_same_signals(training.store.spec, whose=str(dataset))
    model = build_model(recipe, checkpoint.spec)
    load_weights(model, checkpoint, path)
    run.recipe_file.write_text(recipe.to_yaml())
    module = ResumableModule(model, recipe, training, validation, step=checkpoint.step)
    module.optimizer_numbers = checkpoint.optimizer
    return _fit(module, run, checkpoint.minutes, checkpoint.best_psnr, report)


def _windows(recipe: Recipe, dataset: Path) -> tuple[Windows, Windows | None]:
    training = Windows(EpisodeStore.open(dataset, "train"), recipe.num_frames)
    if not (dataset / "validation.h5").exists():
        return training, None
    return training, Windows(EpisodeStore.open(dataset, "validation"), recipe.num_frames)


def _require_same_recipe(before: Recipe, now: Recipe, folder: Path) -> None:
    old, new = dataclasses.asdict(before), dataclasses.asdict(now)
    free = {"training"}  # how long, how often, on what
    for section in old.keys() - free:
        if old[section] != new[section]:
            raise UserError(
                f"{folder} was trained with {section} = {old[section]}, not {new[section]}. "
                "Resume with the settings it has, or choose another --out."
            )
    if before.training.epoch_size != now.training.epoch_size:
        raise UserError(f"{folder} has epochs of {before.training.epoch_size} steps; keep them.")


def _fit(
    module: TrainingModule, run: Run, minutes_before: float, best_psnr: float, report: Report
) -> Outcome:
    config = module.recipe.training
    clock = Clock(minutes_before, config.max_minutes)
    checkpoints = Checkpoints(run, clock, best_psnr)
    steps_left = module.recipe.num_steps - module.step
    if steps_left <= 0:
        return Outcome(module.step, clock.minutes, best_psnr, "finished")
    with _quiet_lightning():
        trainer = Trainer(
            accelerator=config.accelerator,
            devices=1,
            precision=config.precision,
            max_steps=steps_left,
            max_epochs=-1,
            reload_dataloaders_every_n_epochs=1,
            check_val_every_n_epoch=config.validate_every,
            limit_val_batches=1.0 if module.validation_windows is not None else 0,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[
                clock,
                MetricsLog(run, clock, module.step),
                Samples(run.folder / "samples"),
                checkpoints,
                Reporter(report, clock),
            ],
        )
        with _stop_on_interrupt(trainer) as interrupted:
            trainer.fit(module)
    if interrupted.is_set():
        reason = "was interrupted"
    else:
        reason = (
            "finished"
            if module.step >= module.recipe.num_steps
            else "stopped because its time was up"
        )
    return Outcome(module.step, clock.minutes, checkpoints.best_psnr, reason)


@contextmanager
def _stop_on_interrupt(trainer: Trainer) -> Iterator[threading.Event]:
    """The first Ctrl-C ends training after the present step, with everything saved."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def stop(_: int, __: FrameType | None) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()
        trainer.should_stop = True

    before: Any = signal.signal(signal.SIGINT, stop)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Lightning's advice is about things that are decided here on purpose."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
