"""The run folder: everything that evaluation, report and later use need.

    recipe.yaml        complete, as resolved
    data.json          path of the dataset, and its clip spec
    environment.json   versions, commit, seed, command
    metrics.csv        a row every few steps, and one a validation
    kl_per_dimension.csv  nats a frame of every latent dimension, a row a validation
    tensorboard/       the same as events
    checkpoints/       last.safetensors (weights, optimizer), best.safetensors (weights)
    samples/           a strip of predictions at every validation
    evaluation/        scores, one JSON file a protocol
    report.html

A checkpoint is one safetensors file, replaced at once: it holds the whole of a step or is not
there. Nothing is unpickled.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from framecast.clip import ClipSpec
from framecast.errors import UserError
from framecast.models import registry
from framecast.models.base import VideoModel
from framecast.training.recipe import Recipe, parse_yaml, recipe_from

MODEL, AVERAGE, OPTIMIZER = "model.", "average.", "optimizer."
PACKAGES = ("framecast", "torch", "lightning", "mujoco", "numpy", "h5py", "torchmetrics")


def build_model(recipe: Recipe, spec: ClipSpec) -> VideoModel[Any]:
    """A new model of this recipe for clips of this kind, initialised from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    model = registry.build(recipe.model, spec, recipe.clips.context)
    model.feedback_gradient = recipe.teacher_forcing.gradient
    return model


@dataclass(frozen=True)
class Checkpoint:
    """A step's weights, and the optimizer's numbers where training may go on from it.

    Attributes:
        average: the exponential average of the weights, where the run keeps one and `model` is
            not that average itself.
        stale_validations: how many validations ago the best score was reached.
        kl_weight: the dynamic KL weight; None where the recipe has none.
    """

    step: int
    spec: ClipSpec
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    minutes: float
    best_psnr: float
    average: dict[str, Tensor] = field(default_factory=dict)
    stale_validations: int = 0
    kl_weight: float | None = None

    def save(self, path: Path) -> None:
        """Write beside the file, then replace it. Raises UserError for a number that is none."""
        tensors = {MODEL + name: tensor for name, tensor in self.model.items()}
        tensors |= {AVERAGE + name: tensor for name, tensor in self.average.items()}
        tensors |= {OPTIMIZER + name: tensor for name, tensor in self.optimizer.items()}
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise UserError(f"{name} holds a value that is not finite; {path} was not written.")
        metadata = {
            "step": str(self.step),
            "clip_spec": self.spec.to_json(),
            "minutes": repr(self.minutes),
            "best_psnr": repr(self.best_psnr),
            "stale_validations": str(self.stale_validations),
            "kl_weight": "" if self.kl_weight is None else repr(self.kl_weight),
        }
        partial = path.with_name(f".{path.name}.partial")
        try:
            save_file({name: x.contiguous() for name, x in tensors.items()}, partial, metadata)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Raises UserError when the file is not a whole checkpoint of framecast."""
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return cls(
                step=int(metadata["step"]),
                spec=ClipSpec.from_json(metadata["clip_spec"]),
                model=_with_prefix(tensors, MODEL),
                optimizer=_with_prefix(tensors, OPTIMIZER),
                minutes=float(metadata["minutes"]),
                best_psnr=float(metadata["best_psnr"]),
                average=_with_prefix(tensors, AVERAGE),
                stale_validations=int(metadata.get("stale_validations", 0)),
                kl_weight=float(kept) if (kept := metadata.get("kl_weight")) else None,
            )
        except FileNotFoundError:
            raise UserError(f"There is no checkpoint {path}. Train the run first.") from None
        except (SafetensorError, KeyError, ValueError) as error:
            raise UserError(f"{path} is not a whole framecast checkpoint ({error}).") from None


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


@dataclass(frozen=True)
class Run:
    """A run folder."""

    folder: Path

    @property
    def recipe_file(self) -> Path:
        return self.folder / "recipe.yaml"

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.csv"

    @classmethod
    def create(cls, folder: Path, recipe: Recipe, dataset: Path, spec: ClipSpec) -> Run:
        """Raises UserError when the folder holds a run already."""
        run = cls(folder)
        if run.recipe_file.exists():
            raise UserError(
                f"{folder} holds a run already. Add --resume to go on with it, "
                "or choose another --out."
            )
        for name in ("checkpoints", "samples", "evaluation"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        data = {"dataset": str(dataset.resolve()), "clip_spec": json.loads(spec.to_json())}
        (folder / "data.json").write_text(json.dumps(data, indent=1))
        (folder / "environment.json").write_text(json.dumps(_environment(recipe), indent=1))
        run.write_recipe(recipe)  # last: a folder with a recipe is a whole run
        return run

    def write_recipe(self, recipe: Recipe) -> None:
        partial = self.recipe_file.with_name(f".{self.recipe_file.name}.partial")
        partial.write_text(recipe.to_yaml())
        os.replace(partial, self.recipe_file)

    @classmethod
    def open(cls, folder: Path) -> Run:
        run = cls(folder)
        if not run.recipe_file.is_file():
            raise UserError(
                f"{folder} is not a run folder (it has no recipe.yaml). "
                "Make one with `framecast train RECIPE --data DATASET --out RUN`."
            )
        return run

    def recipe(self) -> Recipe:
        try:
            settings = parse_yaml(self.recipe_file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            raise UserError(f"{self.recipe_file} is not YAML.") from None
        return recipe_from(settings, str(self.recipe_file))

    def dataset(self) -> Path:
        """The dataset it was trained on."""
        return Path(self._data()["dataset"])

    def spec(self) -> ClipSpec:
        return ClipSpec.from_json(json.dumps(self._data()["clip_spec"]))

    def checkpoint_file(self, name: str) -> Path:
        return self.folder / "checkpoints" / f"{name}.safetensors"

    def default_checkpoint(self) -> str:
        """`best`, or `last` where nothing was validated."""
        return "best" if self.checkpoint_file("best").exists() else "last"

    def load_model(self, name: str) -> VideoModel[Any]:
        """The trained model in evaluation mode, from the checkpoint of this name.

        Raises UserError when there is no checkpoint, or one of another model or data.
        """
        path = self.checkpoint_file(name)
        checkpoint = Checkpoint.load(path)
        spec = self.spec()
        checkpoint.spec.require_same_signals(spec, whose=f"the run's data ({self.folder})")
        model = build_model(self.recipe(), spec)
        load_weights(model, checkpoint.average or checkpoint.model, path)
        return model.eval()

    def _data(self) -> dict[str, Any]:
        path = self.folder / "data.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return {"dataset": data["dataset"], "clip_spec": data["clip_spec"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is not what a run folder holds ({error!r}).") from None


def load_weights(model: VideoModel[Any], weights: dict[str, Tensor], path: Path) -> None:
    """Raises UserError, naming the first tensor that does not fit."""
    expected = model.state_dict()
    for name in sorted(expected.keys() | weights.keys()):
        mine, theirs = expected.get(name), weights.get(name)
        if mine is None or theirs is None or mine.shape != theirs.shape:
            raise UserError(
                f"{path} does not fit the recipe beside it: {name} is {_shape_text(theirs)} in "
                f"the file, {_shape_text(mine)} in the model."
            )
    model.load_state_dict(weights)


def _shape_text(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else str(tuple(tensor.shape))


def _environment(recipe: Recipe) -> dict[str, Any]:
    return {
        "command": " ".join(sys.argv),
        "seed": recipe.seed,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "packages": {name: _version_of(name) for name in PACKAGES},
        "git_commit": _git_commit(),
    }


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of framecast's own checkout; None for an installed package."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
