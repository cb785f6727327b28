"""Training that starts from the weights of another run: all of a model, or parts that are new."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from framecast.clip import ClipSpec
from framecast.errors import UserError
from framecast.models.base import VideoModel
from framecast.training.recipe import Recipe
from framecast.training.runs import Checkpoint, Run


def spec_to_start_from(recipe: Recipe, data: ClipSpec, dataset: Path) -> ClipSpec:
    """The clips a model is built for: of the run it starts from, whose scales its weights know.

    Raises UserError for data of other signals than that run's.
    """
    if not recipe.training.start_from:
        if recipe.training.only_new_parts:
            raise UserError(
                "training.only_new_parts needs a run whose parts are kept: "
                "--training.start_from RUN."
            )
        return data
    spec = Run.open(Path(recipe.training.start_from)).spec()
    spec.require_same_signals(data, whose=str(dataset))
    return spec


def take_weights(model: VideoModel[Any], recipe: Recipe) -> None:
    """Give a new model the weights that the run it starts from has. Raises UserError."""
    weights, path = _weights(recipe)
    own = model.state_dict()
    for name, theirs in weights.items():
        mine = own.get(name)
        if mine is None or mine.shape != theirs.shape:
            found = "has no such part" if mine is None else f"takes {tuple(mine.shape)}"
            raise UserError(
                f"{path} does not fit: its {name} is {tuple(theirs.shape)}, this model {found}. "
                "Give the model the settings of that run's recipe.yaml."
            )
    model.load_state_dict(weights, strict=False)


def freeze_taken(model: VideoModel[Any], recipe: Recipe) -> None:
    """Where only new parts are trained, the others get no gradients. Raises UserError for none."""
    if not recipe.training.only_new_parts:
        return
    weights, path = _weights(recipe)
    new = [name for name, _ in model.named_parameters() if name not in weights]
    if not new:
        raise UserError(f"training.only_new_parts: {path} has every part of this model.")
    for name, parameter in model.named_parameters():
        if name in weights:
            parameter.requires_grad_(False)


def _weights(recipe: Recipe) -> tuple[dict[str, Tensor], Path]:
    run = Run.open(Path(recipe.training.start_from))
    path = run.checkpoint_file(run.default_checkpoint())
    checkpoint = Checkpoint.load(path)
    return checkpoint.average or checkpoint.model, path
