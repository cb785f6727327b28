"""One training run, from the first step or from where it stopped."""

from __future__ import annotations

import dataclasses
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from framecast.data.augment import StateShift
from framecast.data.episodes import EpisodeStore
from framecast.data.windows import Windows
from framecast.errors import UserError
from framecast.mirror import mirror_of
from framecast.models.base import VideoModel
from framecast.models.norms import synchronise_norms
from framecast.training.callbacks import (
    Agreement,
    Checkpoints,
    Clock,
    MetricsLog,
    Report,
    Reporter,
    Samples,
    StopOnSignal,
    ValidationTimes,
)
from framecast.training.collapse import CollapseWatch
from framecast.training.devices import Devices, is_first_process
from framecast.training.dynamic_weight import DynamicWeight
from framecast.training.module import TrainingModule
from framecast.training.preparing import Preparing, unheard
from framecast.training.recipe import Recipe
from framecast.training.runs import Checkpoint, Run, build_model, load_weights
from framecast.training.settings import TrainingConfig
from framecast.training.shade import fit_shade
from framecast.training.sprites import fit_sprites
from framecast.training.starting import freeze_taken, spec_to_start_from, take_weights
from framecast.training.states import fit_states
from framecast.training.things import fit_things


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        reason: "finished", "was interrupted" or "stopped because ...".
        warning: what is wrong with the trained model, in words; empty when nothing is known to be.
    """

    step: int
    minutes: float
    best_psnr: float
    reason: str
    warning: str = ""


@dataclass(frozen=True)
class History:
    """What happened in earlier parts of a run."""

    minutes: float = 0.0
    best_psnr: float = -math.inf
    stale_validations: int = 0


def start(
    recipe: Recipe,
    dataset: Path,
    folder: Path,
    report: Report,
    devices: Devices | None = None,
    preparing: Preparing = unheard,
) -> Outcome:
    """Train a new run. Raises UserError before anything is written when data and recipe differ."""
    devices = devices or Devices()
    devices.require_shares(recipe.clips.batch_size, recipe.training.accumulate)
    training, validation = _windows(recipe, dataset)
    spec = spec_to_start_from(recipe, training.store.spec, dataset)
    model = build_model(recipe, spec)
    lacking = _take(model, recipe)
    run = Run(folder)
    if is_first_process():
        run = Run.create(folder, recipe, dataset, spec)
    _prepare(model, lacking, training.store, preparing)
    module = TrainingModule(model, recipe, training, validation)
    return _fit(module, run, History(), report, devices)


def resume(
    recipe: Recipe,
    dataset: Path,
    folder: Path,
    report: Report,
    devices: Devices | None = None,
    preparing: Preparing = unheard,
) -> Outcome:
    """Go on with a run from its last checkpoint, or from the start where it had none yet.

    The length of the run may change, and what decides only how its model predicts; any other
    setting has to be as it was.
    """
    devices = devices or Devices()
    devices.require_shares(recipe.clips.batch_size, recipe.training.accumulate)
    run = Run.open(folder)
    if is_first_process():  # the others may read what it has just written
        _require_same_recipe(run.recipe(), recipe, folder)
    training, validation = _windows(recipe, dataset)
    run.spec().require_same_signals(training.store.spec, whose=str(dataset))
    model = build_model(recipe, run.spec())
    begun = run.checkpoint_file("last").exists()
    if begun:
        freeze_taken(model, recipe)
    else:
        _prepare(model, _take(model, recipe), training.store, preparing)
    module = TrainingModule(model, recipe, training, validation)
    history = _restore(module, run) if begun else History()
    if is_first_process():
        run.write_recipe(recipe)
    return _fit(module, run, history, report, devices)


def _take(model: VideoModel[Any], recipe: Recipe) -> list[str]:
    """Give a new model what it starts from; returns the names of the weights that lacks."""
    names = [name for name, _ in model.named_parameters()]
    lacking = take_weights(model, recipe) if recipe.training.start_from else names
    freeze_taken(model, recipe)
    return lacking


def _prepare(
    model: VideoModel[Any], lacking: list[str], store: EpisodeStore, preparing: Preparing
) -> None:
    """Fit to the recordings what is fitted before the first step, where it is new.

    The first process does so for all; the others are sent its weights before their first step.
    """
    if not is_first_process():
        return
    fits = (
        ("state_predictor", fit_states),
        ("sprites", fit_sprites),
        ("shade", fit_shade),
        ("things", fit_things),
    )
    for part, fit in fits:  # each may use those before it
        if any(part in name for name in lacking):
            fit(model, store, preparing)


def _restore(module: TrainingModule, run: Run) -> History:
    """Put a new module where the last checkpoint left off."""
    path = run.checkpoint_file("last")
    checkpoint = Checkpoint.load(path)
    checkpoint.spec.require_same_signals(module.model.spec, whose=f"the run's data ({run.folder})")
    load_weights(module.model, checkpoint.model, path)
    module.step = checkpoint.step
    module.optimizer_numbers = checkpoint.optimizer
    if module.average is not None:
        load_weights(module.average.model, checkpoint.average, path)
    if module.dynamic_weight is not None:
        module.dynamic_weight = DynamicWeight(module.recipe.kl, checkpoint.kl_weight)
    return History(checkpoint.minutes, checkpoint.best_psnr, checkpoint.stale_validations)


def _windows(recipe: Recipe, dataset: Path) -> tuple[Windows, Windows | None]:
    training = Windows(EpisodeStore.open(dataset, "train"), recipe.num_frames)
    mirror_of(recipe.clips.mirror, training.store.spec)  # refuses names that are none
    if recipe.clips.state_shift:
        StateShift(recipe.clips.state_shift, training.store)  # refuses targets of unknown states
    if not (dataset / "validation.h5").exists():
        return training, None
    return training, Windows(EpisodeStore.open(dataset, "validation"), recipe.num_frames)


def _require_same_recipe(before: Recipe, now: Recipe, folder: Path) -> None:
    old, new = dataclasses.asdict(before), dataclasses.asdict(now)
    for setting in now.model.PREDICTION_ALONE:
        old["model"][setting] = new["model"][setting]
    free = {"training"}  # how long, how often, on what
    for section in old.keys() - free:
        if old[section] != new[section]:
            raise UserError(
                f"{folder} was trained with {section} = {old[section]}, not {new[section]}. "
                "Resume with the settings it has, or choose another --out."
            )
    for setting in ("start_from", "only_new_parts", "epoch_size", "accumulate", "average_decay"):
        was, wanted = (getattr(recipe.training, setting) for recipe in (before, now))
        if was != wanted:
            raise UserError(
                f"{folder} was trained with training.{setting} = {was}, not {wanted}; keep it."
            )


def _fit(
    module: TrainingModule, run: Run, history: History, report: Report, devices: Devices
) -> Outcome:
    config = module.recipe.training
    clock = Clock(history.minutes, config.max_minutes)
    checkpoints = Checkpoints(run, clock, history.best_psnr, history.stale_validations)
    collapse = CollapseWatch()
    steps_left = module.recipe.num_steps - module.step
    synchronise_norms(module.model, config.sync_batch_norm)
    if steps_left <= 0 or _out_of_patience(config, checkpoints):
        return _outcome(module, checkpoints, interrupted=False)
    with _quiet_lightning(), _restored_determinism(), StopOnSignal() as stop:
        trainer = Trainer(
            accelerator=config.accelerator,
            **devices.trainer_arguments(),
            use_distributed_sampler=False,
            precision=config.precision,
            max_steps=steps_left,
            max_epochs=-1,
            accumulate_grad_batches=config.accumulate,
            deterministic=config.deterministic,
            reload_dataloaders_every_n_epochs=1,
            limit_val_batches=1.0 if module.validation_windows is not None else 0,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[stop, *_callbacks(module, run, clock, checkpoints, report), collapse],
        )
        trainer.fit(module)
    outcome = _outcome(module, checkpoints, interrupted=stop.asked)
    return dataclasses.replace(outcome, warning=collapse.warning)


def _callbacks(
    module: TrainingModule, run: Run, clock: Clock, checkpoints: Checkpoints, report: Report
) -> list[Callback]:
    if not is_first_process():
        return [clock, checkpoints, Agreement(), ValidationTimes()]
    return [
        clock,
        MetricsLog(run, clock, module.step, module.model.latent_dim),
        Samples(run.folder / "samples"),
        checkpoints,
        Reporter(report, clock),
        Agreement(),
        ValidationTimes(),
    ]


def _outcome(module: TrainingModule, checkpoints: Checkpoints, interrupted: bool) -> Outcome:
    recipe = module.recipe
    if interrupted:
        reason = "was interrupted"
    elif module.step >= recipe.num_steps:
        reason = "finished"
    elif _out_of_patience(recipe.training, checkpoints):
        reason = f"stopped because {recipe.training.patience} validations brought no better score"
    else:
        reason = "stopped because its time was up"
    return Outcome(module.step, checkpoints.clock.minutes, checkpoints.best_psnr, reason)


def _out_of_patience(config: TrainingConfig, checkpoints: Checkpoints) -> bool:
    return bool(config.patience) and checkpoints.stale_validations >= config.patience


@contextmanager
def _restored_determinism() -> Iterator[None]:
    """A deterministic run does not leave its refusals on for what comes after it."""
    before = torch.are_deterministic_algorithms_enabled()
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


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
