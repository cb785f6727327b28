"""What a sweep tries: a YAML file, checked before anything is trained.

recipe: course                       # the recipe that every trial starts from
settings:                            # and what all trials change in it
  training.max_minutes: 4
seeds: [1, 2]                        # every trial once a seed
search:
  optimizer.lr: [0.002, 0.0005]      # a setting and its values
  kl.beta: {low: 1.0e-7, high: 1.0e-3, log: true}
  forcing:                           # a name, and what each of its levels sets
    always: {teacher_forcing.start: 1.0}
    decaying: {teacher_forcing.schedule: linear}
trials: 40                           # where a range is searched; choices alone make a grid
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from framecast.errors import UserError, did_you_mean
from framecast.training.recipe import Recipe, parse_yaml, read_recipe, recipe_from, recipe_path

KEYS = ("recipe", "settings", "seeds", "search", "trials")
SEED = "seed"


@dataclass(frozen=True)
class Range:
    """Numbers between two ends, drawn evenly, or evenly in their logarithm."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class SweepSpec:
    """
    Attributes:
        base: nested settings of the recipe all trials start from.
        search: for every factor its levels, by name what each sets; or a range of one setting.
        trials: number of trials; of a grid, its size.
    """

    base: dict[str, Any]
    search: dict[str, dict[str, dict[str, Any]] | Range]
    trials: int
    where: str

    @property
    def is_grid(self) -> bool:
        return not any(isinstance(factor, Range) for factor in self.search.values())

    def grid(self) -> Iterator[dict[str, str]]:
        """Every combination of levels, seeds outermost: half a sweep is a whole one of a seed."""
        names = sorted(self.search, key=lambda name: name != SEED)
        factors = (self.search[name] for name in names)
        levels = [list(factor) for factor in factors if not isinstance(factor, Range)]
        for chosen in itertools.product(*levels):
            yield dict(zip(names, chosen, strict=True))

    def recipe(self, chosen: dict[str, Any]) -> Recipe:
        """The recipe of a trial with these levels (names) and values (of ranges)."""
        settings = _copy(self.base)
        for factor, value in chosen.items():
            levels = self.search[factor]
            given = {factor: value} if isinstance(levels, Range) else levels[str(value)]
            for path, setting in given.items():
                _set(settings, path, setting)
        return recipe_from(settings, self.where)


def read_spec(path: Path) -> SweepSpec:
    """Raises UserError for a spec that is not one, or whose trials are not recipes."""
    try:
        document = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no sweep {path}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(document, dict) or not isinstance(document.get("search"), dict):
        raise UserError(f"{path} should name a recipe and, under search, what to try.")
    for key in document:
        if key not in KEYS:
            hint = did_you_mean(str(key), KEYS) or f" Known keys: {', '.join(KEYS)}."
            raise UserError(f"{path}: there is no key {key}.{hint}")
    base = read_recipe(recipe_path(str(document.get("recipe", "course"))))
    for name, value in dict(document.get("settings") or {}).items():
        _set(base, str(name), value)
    search = {str(name): _factor(str(name), f, path) for name, f in document["search"].items()}
    if "seeds" in document:
        search[SEED] = {str(seed): {SEED: seed} for seed in document["seeds"]}
    spec = SweepSpec(base, search, int(document.get("trials", 0)), str(path))
    if not spec.is_grid and spec.trials < 1:
        raise UserError(f"{path} searches a range, so it should say how many trials to make.")
    combinations = list(spec.grid()) if spec.is_grid else []
    for chosen in combinations:
        spec.recipe(chosen)
    if not spec.is_grid:
        spec.recipe(_first(spec))
    return SweepSpec(base, search, len(combinations) or spec.trials, str(path))


def _factor(name: str, factor: Any, path: Path) -> dict[str, dict[str, Any]] | Range:
    if isinstance(factor, list) and factor:
        return {str(value): {name: value} for value in factor}
    if isinstance(factor, dict) and {"low", "high"} <= factor.keys() <= {"low", "high", "log"}:
        try:
            return Range(float(factor["low"]), float(factor["high"]), bool(factor.get("log")))
        except (TypeError, ValueError):
            raise UserError(f"{path}: the ends of {name} should be numbers.") from None
    if isinstance(factor, dict) and all(isinstance(level, dict) for level in factor.values()):
        return {str(level): dict(settings) for level, settings in factor.items()}
    raise UserError(
        f"{path}: {name} should be a list of values, a range with low and high, or named levels "
        "with the settings of each."
    )


def _first(spec: SweepSpec) -> dict[str, Any]:
    return {
        name: factor.low if isinstance(factor, Range) else next(iter(factor))
        for name, factor in spec.search.items()
    }


def _set(settings: dict[str, Any], path: str, value: Any) -> None:
    *sections, name = path.split(".")
    for section in sections:
        settings = settings.setdefault(section, {})
    settings[name] = value


def _copy(settings: dict[str, Any]) -> dict[str, Any]:
    return {k: _copy(v) if isinstance(v, dict) else v for k, v in settings.items()}
