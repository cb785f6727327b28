"""Training that starts from trained weights: all of a model, or parts that are new.

They are those of another run, or of a folder that `framecast export` made.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from framecast.clip import ClipSpec
from framecast.errors import UserError
from framecast.models.base import VideoModel
from framecast.training.packages import Package
from framecast.training.recipe import Recipe
from framecast.training.runs import Checkpoint, Run


def spec_to_start_from(recipe: Recipe, data: ClipSpec, dataset: Path) -> ClipSpec:
    """The clips a model is built for: of what it starts from, whose scales its weights know.

    Raises UserError for data of other signals than that had.
    """
    if not recipe.training.start_from:
        if recipe.training.only_new_parts:
            raise UserError(
                "training.only_new_parts needs a run whose parts are kept: "
                "--training.start_from RUN."
            )
        return data
    spec = _trained(recipe).spec
    spec.require_same_signals(data, whose=str(dataset))
    return spec


def take_weights(model: VideoModel[Any], recipe: Recipe) -> list[str]:
    """Give a new model the weights that it starts from; returns the names of what they lack.

    Raises UserError where they do not fit.
    """
    before = _trained(recipe)
    own = model.state_dict()
    for name, theirs in before.weights.items():
        mine = own.get(name)
        if mine is None or mine.shape != theirs.shape:
            found = "has no such part" if mine is None else f"takes {tuple(mine.shape)}"
            raise UserError(
                f"{before.path} does not fit: its {name} is {tuple(theirs.shape)}, "
                f"this model {found}. Give the model the settings of the recipe.yaml there."
            )
    lacking: list[str] = model.load_state_dict(before.weights, strict=False).missing_keys
    return lacking


def freeze_taken(model: VideoModel[Any], recipe: Recipe) -> None:
    """Where only new parts are trained, the others get no gradients. Raises UserError for none."""
    if not recipe.training.only_new_parts:
        return
    before = _trained(recipe)
    new = [name for name, _ in model.named_parameters() if name not in before.weights]
    if not new:
        raise UserError(f"training.only_new_parts: {before.path} has every part of this model.")
    for name, parameter in model.named_parameters():
        if name in before.weights:
            parameter.requires_grad_(False)


@dataclass(frozen=True)
class _Trained:
    spec: ClipSpec
    weights: dict[str, Tensor]
    path: Path


def _trained(recipe: Recipe) -> _Trained:
    folder = Path(recipe.training.start_from)
    if Package.is_one(folder):
        package = Package(folder)
        spec, weights = package.load()
        return _Trained(spec, weights, package.weights_file)
    run = Run.open(folder)
    path = run.checkpoint_file(run.default_checkpoint())
    checkpoint = Checkpoint.load(path)
    return _Trained(run.spec(), checkpoint.average or checkpoint.model, path)
