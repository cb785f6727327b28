"""Recipes: every setting of a training run, as typed plain data and as YAML.

A recipe is one YAML file; a name without a path means one of the recipes that come with
framecast. What a recipe does not say has the course's default. Reading a recipe imports no torch.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from framecast.errors import UserError, did_you_mean
from framecast.models.config import CourseConfig, ModelConfig
from framecast.models.registry import KINDS
from framecast.training.settings import (
    ClipsConfig,
    KLConfig,
    OptimizerConfig,
    TeacherForcingConfig,
    TrainingConfig,
)

DEFAULT_KIND = CourseConfig.kind
RANGES = {
    "clips.context": (1, 1000),
    "clips.horizon": (1, 1000),
    "clips.first_horizon": (0, 1000),
    "clips.full_horizon_at": (1e-6, 1),
    "clips.batch_size": (2, 100_000),
    "clips.shift": (0, 16),
    "clips.brightness": (0, 0.5),
    "clips.state_shift": (0, 1),
    "teacher_forcing.start": (0, 1),
    "teacher_forcing.lower_bound": (0, 1),
    "teacher_forcing.decay_step": (0, 1),
    "teacher_forcing.decay_from": (0, 1),
    "teacher_forcing.decay_until": (0, 1),
    "teacher_forcing.steepness": (1e-3, 1e3),
    "kl.beta": (0, 1e6),
    "kl.ratio": (1e-6, 1e6),
    "kl.cycles": (1, 1_000_000),
    "kl.free_bits": (0, 1e3),
    "kl.target_rate": (1e-6, 1e6),
    "kl.dynamic_start": (1e-12, 1e6),
    "kl.dynamic_least": (1e-12, 1e6),
    "kl.dynamic_speed": (1e-6, 1),
    "optimizer.lr": (0, 1e3),
    "optimizer.beta1": (0, 0.99999),
    "optimizer.beta2": (0, 0.9999999),
    "optimizer.weight_decay": (0, 1e3),
    "optimizer.warmup_steps": (0, 10**9),
    "optimizer.gradient_clip": (0, 1e9),
    "training.epochs": (1, 10**9),
    "training.epoch_size": (1, 10**9),
    "training.accumulate": (1, 100_000),
    "training.average_decay": (0, 0.999999),
    "training.patience": (0, 10**9),
    "training.validate_every": (1, 10**9),
    "training.log_every": (1, 10**9),
}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run, but for the data itself."""

    model: ModelConfig = field(default_factory=CourseConfig)
    clips: ClipsConfig = field(default_factory=ClipsConfig)
    teacher_forcing: TeacherForcingConfig = field(default_factory=TeacherForcingConfig)
    kl: KLConfig = field(default_factory=KLConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    seed: int = 1

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            section, _, setting = name.partition(".")
            value = getattr(getattr(self, section), setting)
            if not low <= value <= high:
                raise UserError(f"{name} should be between {low} and {high}, got {value}.")
        forcing = self.teacher_forcing
        if forcing.decay_from >= forcing.decay_until:
            raise UserError(
                f"teacher_forcing.decay_from ({forcing.decay_from}) should come before "
                f"teacher_forcing.decay_until ({forcing.decay_until})."
            )
        if self.clips.batch_size % self.training.accumulate:
            raise UserError(
                f"A batch of {self.clips.batch_size} clips cannot be worked through in "
                f"training.accumulate = {self.training.accumulate} equal parts."
            )

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


class _UniqueKeys(yaml.SafeLoader):
    """As YAML asks and PyYAML does not: a key may stand in a mapping but once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for number, (key, (where, _)) in enumerate(zip(keys, node.value, strict=True)):
            if key in keys[:number]:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key!r} stands there twice", problem_mark=where.start_mark
                )
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """Raises yaml.YAMLError, for a repeated key too."""
    return yaml.load(text, _UniqueKeys)


def read_recipe(path: Path) -> dict[str, Any]:
    """The settings a recipe file names, nested; values are checked by `recipe_from`.

    Raises UserError for YAML that does not parse and for a key that does not exist.
    """
    try:
        settings = parse_yaml(path.read_text(encoding="utf-8"))
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
    parser.add_class_arguments(Recipe, skip={"model"})
    parser.add_class_arguments(_model_config(settings.get("model"), where), "model")
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
        section = _model_config(value, where) if hints[key] is ModelConfig else hints[key]
        if dataclasses.is_dataclass(section):
            _check_keys(value, section, where, prefix=f"{prefix}{key}.")


def _model_config(settings: Any, where: str) -> type[ModelConfig]:
    """The settings that a model of the named kind has; the course's where none is named."""
    named = settings.get("kind", DEFAULT_KIND) if isinstance(settings, dict) else DEFAULT_KIND
    kind = str(named)
    if kind not in KINDS:
        hint = did_you_mean(kind, KINDS) or f" The kinds are: {', '.join(KINDS)}."
        raise UserError(f"{where}: there is no model of kind {kind!r}.{hint}")
    return KINDS[kind].config


def _recipe_folders() -> list[Path]:
    package = Path(__file__).parents[1]
    return [package / "recipes", package.parents[1] / "recipes"]  # installed, source checkout


def _known_recipes(name: str) -> str:
    names = sorted({path.stem for folder in _recipe_folders() for path in folder.glob("*.yaml")})
    return did_you_mean(name, names) or f" The recipes are: {', '.join(names)}."
