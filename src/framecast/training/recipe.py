"""Recipes: every setting of a training run, as typed plain data and as YAML.

A recipe is one YAML file; a name without a path means one of the recipes that come with
framecast. What a recipe does not say has the course's default. Reading a recipe imports no torch.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_type_hints

import yaml

from framecast.errors import UserError, did_you_mean
from framecast.models.config import CourseConfig


@dataclass(frozen=True)
class ClipsConfig:
    """Which clips the model sees.

    Args:
        context: true frames given (the course's n_past).
        horizon: frames predicted (n_future).
        batch_size: clips a step.
        num_workers: processes that load data; 0 loads in the training process, which is fastest
            for a memory-mapped store.
        shift: training clips are moved by up to this many pixels each way; for few episodes.
        brightness: and brightened or darkened by up to this share.
    """

    context: int = 2
    horizon: int = 10
    batch_size: int = 12
    num_workers: int = 0
    shift: int = 0
    brightness: float = 0.0


@dataclass(frozen=True)
class TeacherForcingConfig:
    """The probability of being fed the true frame: max(lower_bound, start - decay_step * epochs).

    Args:
        start: the probability before any decay (tfr).
        start_decay_epoch: first epoch of the decay (tfr_start_decay_epoch).
        decay_step: what every epoch takes off (tfr_decay_step).
        lower_bound: where the decay ends (tfr_lower_bound).
        draw: one draw for the whole batch (the course), or for every sequence, or every frame.
    """

    start: float = 1.0
    start_decay_epoch: int = 0
    decay_step: float = 0.0
    lower_bound: float = 0.0
    draw: Literal["batch", "sequence", "frame"] = "batch"


@dataclass(frozen=True)
class KLConfig:
    """The weight of the KL divergence, and its annealing.

    Args:
        beta: the largest weight; annealing multiplies it by 0 to 1.
        annealing: constant, monotonic (one rise) or cyclical (kl_anneal_cyclical).
        ratio: the share of a cycle that rises; the rest stays at beta (kl_anneal_ratio).
        cycles: number of rises in the run when cyclical (kl_anneal_cycle).
    """

    beta: float = 1e-4
    annealing: Literal["constant", "monotonic", "cyclical"] = "constant"
    ratio: float = 0.5
    cycles: int = 3


@dataclass(frozen=True)
class OptimizerConfig:
    """
    Args:
        name: adam, rmsprop or sgd.
        lr: learning rate.
        beta1: first moment's decay of adam, momentum of rmsprop and sgd.
        lr_schedule: constant (the course), or cosine: down to 1% of lr at the last step.
        gradient_clip: largest norm of the gradient; 0 leaves it as it is.
    """

    name: Literal["adam", "rmsprop", "sgd"] = "adam"
    lr: float = 2e-3
    beta1: float = 0.9
    lr_schedule: Literal["constant", "cosine"] = "constant"
    gradient_clip: float = 1.0


@dataclass(frozen=True)
class TrainingConfig:
    """How long, how often, on what.

    Args:
        epochs: number of epochs (niter).
        epoch_size: steps an epoch (epoch_size).
        max_minutes: stop after this many minutes of training, whatever the epoch; 0 is no limit.
        precision: bf16-mixed runs convolutions in bfloat16; 32-true runs all in float32.
        accelerator: cpu, gpu or auto.
        validate_every: epochs between validations.
        validation_clips: number of validation clips scored each time.
        log_every: steps between rows of metrics.csv.
        save_every_minutes: minutes between checkpoints within an epoch.
        film_frames: frames of the films in the report, context included (n_eval).
    """

    epochs: int = 300
    epoch_size: int = 600
    max_minutes: float = 0.0
    precision: Literal["bf16-mixed", "32-true"] = "bf16-mixed"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    validate_every: int = 1
    validation_clips: int = 64
    log_every: int = 10
    save_every_minutes: float = 10.0
    film_frames: int = 30


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run, but for the data itself."""

    model: CourseConfig = field(default_factory=CourseConfig)
    clips: ClipsConfig = field(default_factory=ClipsConfig)
    teacher_forcing: TeacherForcingConfig = field(default_factory=TeacherForcingConfig)
    kl: KLConfig = field(default_factory=KLConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    seed: int = 1

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("clips.context", self.clips.context, 1, 1000),
            ("clips.horizon", self.clips.horizon, 1, 1000),
            ("clips.batch_size", self.clips.batch_size, 2, 100_000),
            ("clips.shift", self.clips.shift, 0, 16),
            ("clips.brightness", self.clips.brightness, 0, 0.5),
            ("teacher_forcing.start", self.teacher_forcing.start, 0, 1),
            ("teacher_forcing.lower_bound", self.teacher_forcing.lower_bound, 0, 1),
            ("teacher_forcing.decay_step", self.teacher_forcing.decay_step, 0, 1),
            ("kl.beta", self.kl.beta, 0, 1e6),
            ("kl.ratio", self.kl.ratio, 1e-6, 1e6),
            ("kl.cycles", self.kl.cycles, 1, 1_000_000),
            ("optimizer.lr", self.optimizer.lr, 0, 1e3),
            ("training.epochs", self.training.epochs, 1, 10**9),
            ("training.epoch_size", self.training.epoch_size, 1, 10**9),
            ("training.validate_every", self.training.validate_every, 1, 10**9),
            ("training.log_every", self.training.log_every, 1, 10**9),
        ):
            if not low <= value <= high:
                raise UserError(f"{name} should be between {low} and {high}, got {value}.")

    @property
    def num_steps(self) -> int:
        return self.training.epochs * self.training.epoch_size

    @property
    def num_frames(self) -> int:
        return self.clips.context + self.clips.horizon

    def to_yaml(self) -> str:
        return yaml.safe_dump(dataclasses.asdict(self), sort_keys=False)


def recipe_path(name: str) -> Path:
    """The file of a recipe given by path or by the name of one that comes with framecast."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UserError(f"There is no recipe file {path}.{_known_recipes(path.stem)}")
        return path
    for folder in _recipe_folders():
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    raise UserError(f"There is no recipe named {name!r}.{_known_recipes(name)}")


def read_recipe(path: Path) -> dict[str, Any]:
    """The settings a recipe file names, nested; values are checked by `recipe_from`.

    Raises UserError for YAML that does not parse and for a key that does not exist.
    """
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}.") from None
    if settings is None:
        return {}
    _check_keys(settings, Recipe, str(path), prefix="")
    return dict(settings)


def recipe_from(settings: dict[str, Any], where: str) -> Recipe:
    """A recipe from nested settings. Raises UserError for a value of the wrong type."""
    from jsonargparse import ArgumentParser

    _check_keys(settings, Recipe, where, prefix="")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Recipe)
    try:
        recipe = parser.instantiate(parser.parse_object(settings))
    except UserError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from None
        raise UserError(f"{where}: {' '.join(str(error).split())}") from None
    return Recipe(**vars(recipe))


def _check_keys(settings: Any, kind: type, where: str, prefix: str) -> None:
    if not isinstance(settings, dict):
        raise UserError(f"{where}: expected settings under {prefix[:-1] or 'the top'}.")
    hints = get_type_hints(kind)
    for key, value in settings.items():
        if key not in hints:
            hint = did_you_mean(str(key), hints) or f" Known keys: {', '.join(hints)}."
            raise UserError(f"{where}: there is no setting {prefix}{key}.{hint}")
        if dataclasses.is_dataclass(hints[key]):
            _check_keys(value, hints[key], where, prefix=f"{prefix}{key}.")


def _recipe_folders() -> list[Path]:
    package = Path(__file__).parents[1]
    return [package / "recipes", package.parents[1] / "recipes"]  # installed, source checkout


def _known_recipes(name: str) -> str:
    names = sorted({path.stem for folder in _recipe_folders() for path in folder.glob("*.yaml")})
    return did_you_mean(name, names) or f" The recipes are: {', '.join(names)}."
