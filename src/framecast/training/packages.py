"""A trained model as a folder to hand on, and the one that comes with framecast.

    model.safetensors   weights, in half precision where that is enough; the clip spec as metadata
    recipe.yaml         complete, as resolved
    data.json           the clip spec again, for people
    README.md           the model card

Nothing in it is run or unpickled. `framecast export RUN --out FOLDER` makes one.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from framecast.clip import ClipSpec
from framecast.errors import UserError
from framecast.models.base import VideoModel
from framecast.training.recipe import Recipe, parse_yaml, recipe_from
from framecast.training.runs import Checkpoint, Run, build_model, load_weights

MAX_MEGABYTES = 15.0
SMALL = 1024  # numbers; norms and biases of this size stay as they are
SHIPPED = Path(__file__).parents[1] / "weights" / "pusher"


@dataclass(frozen=True)
class Package:
    """A folder with one trained model."""

    folder: Path

    @property
    def weights_file(self) -> Path:
        return self.folder / "model.safetensors"

    @property
    def recipe_file(self) -> Path:
        return self.folder / "recipe.yaml"

    @classmethod
    def is_one(cls, folder: Path) -> bool:
        package = cls(folder)
        return package.weights_file.is_file() and package.recipe_file.is_file()

    @classmethod
    def shipped(cls) -> Package:
        """The model that comes with framecast. Raises UserError when this installation has none."""
        if not cls.is_one(SHIPPED):
            raise UserError(
                "This installation of framecast holds no trained model. "
                "Name a run: `framecast steer RUN`; `framecast train` makes one."
            )
        return cls(SHIPPED)

    def recipe(self) -> Recipe:
        try:
            settings = parse_yaml(self.recipe_file.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError, UnicodeDecodeError):
            raise UserError(f"{self.recipe_file} is not YAML.") from None
        return recipe_from(settings, str(self.recipe_file))

    def load_model(self) -> VideoModel[Any]:
        """The model in evaluation mode, in full precision. Raises UserError if it is not whole."""
        spec, weights = self.load()
        model = build_model(self.recipe(), spec)
        load_weights(model, weights, self.weights_file)
        return model.eval()

    def load(self) -> tuple[ClipSpec, dict[str, Tensor]]:
        """Its clips and its weights in full precision. Raises UserError if they are not whole."""
        checkpoint = Checkpoint.load(self.weights_file)
        whole = {name: _whole(tensor) for name, tensor in checkpoint.model.items()}
        return checkpoint.spec, whole


def export(run: Run, checkpoint_name: str, out: Path, overwrite: bool = False) -> Package:
    """Write a run's model into a folder of its own; the folder appears when it is whole.

    Raises UserError when there is something already, or the model is too large to hand on.
    """
    if out.exists() and not (overwrite and Package.is_one(out)):
        raise UserError(
            f"{out} exists already. Choose another --out"
            + (", or add --overwrite." if Package.is_one(out) else ".")
        )
    checkpoint = Checkpoint.load(run.checkpoint_file(checkpoint_name))
    best = checkpoint.average or checkpoint.model
    halved = {name: _halved(tensor) for name, tensor in best.items()}
    small = dataclasses.replace(checkpoint, model=halved, average={}, optimizer={})
    partial = Package(out.with_name(f".{out.name}.partial"))
    shutil.rmtree(partial.folder, ignore_errors=True)
    partial.folder.mkdir(parents=True)
    try:
        small.save(partial.weights_file)
        _require_small(partial.weights_file)
        partial.recipe_file.write_text(run.recipe().to_yaml(), encoding="utf-8")
        spec = {"clip_spec": json.loads(checkpoint.spec.to_json())}
        (partial.folder / "data.json").write_text(json.dumps(spec, indent=1) + "\n")
        (partial.folder / "README.md").write_text(_card(run, checkpoint), encoding="utf-8")
        partial.load_model()
        if out.exists():
            shutil.rmtree(out)
        os.replace(partial.folder, out)
    finally:
        shutil.rmtree(partial.folder, ignore_errors=True)
    return Package(out)


def _require_small(path: Path) -> None:
    megabytes = path.stat().st_size / 1e6
    if megabytes > MAX_MEGABYTES:
        raise UserError(
            f"The model takes {megabytes:.1f} MB in half precision; a model to hand on has at most "
            f"{MAX_MEGABYTES:.0f}. Train a smaller one."
        )


def _halved(tensor: Tensor) -> Tensor:
    if tensor.dtype != torch.float32 or tensor.numel() < SMALL:
        return tensor
    half = tensor.half()
    return half if bool(torch.isfinite(half).all()) else tensor


def _whole(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.float16 else tensor


def _card(run: Run, checkpoint: Checkpoint) -> str:
    """The model card, from what the run folder knows."""
    spec, clips = checkpoint.spec, run.recipe().clips
    environment = _read_json(run.folder / "environment.json")
    packages = environment.get("packages", {})
    versions = ", ".join(f"{name} {number}" for name, number in packages.items() if number)
    return f"""# {run.folder.resolve().name}

An action-conditioned video prediction model, exported by framecast.

- Data: {spec.source}
- Frames: {spec.width}x{spec.height}, {spec.channels} channels, {spec.fps:g} a second
- Actions: {_names(spec.action)}
- States: {_names(spec.state)}
- Training: {checkpoint.step} steps, {checkpoint.minutes:.0f} minutes on
  {environment.get("machine", "an unknown machine")}; seed {environment.get("seed", "unknown")}
- Versions: {versions or "unknown"}; commit {environment.get("git_commit") or "unknown"}
- Weights: half precision; norms and biases in full

## Scores

{_scores(run)}

## Limits

It knows only scenes of the kind it was trained on, sees {clips.context} frames of the past, and
was trained on rollouts of {clips.horizon} frames: futures further away drift. Commands beyond the
range of its training are not meaningful to it.

## Recipe

`recipe.yaml` beside this card; `framecast train recipe.yaml --data DATASET --out RUN` trains it.
"""


def _scores(run: Run) -> str:
    lines = []
    for path in sorted((run.folder / "evaluation").glob("*.json")):
        document = _read_json(path)
        protocol, scores = document.get("protocol", {}), document.get("scores", {})
        lines += [
            f"Protocol {path.stem}: {protocol.get('context')} frames in, "
            f"{protocol.get('horizon')} out, {protocol.get('split')} split, "
            f"states {protocol.get('states')}.",
            "",
            "| | PSNR dB | SSIM |",
            "|---|---|---|",
            *(f"| {row} | {s['psnr']:.2f} | {s['ssim']:.3f} |" for row, s in scores.items()),
            "",
        ]
    return "\n".join(lines) or "Not evaluated: run `framecast evaluate` before exporting."


def _names(vector: Any) -> str:
    if vector is None:
        return "none"
    pairs = zip(vector.names, vector.units, strict=True)
    return ", ".join(f"{name} ({unit})" for name, unit in pairs)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
