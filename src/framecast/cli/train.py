"""`framecast train`: a model from a recipe and a dataset."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docstring_parser
from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from framecast.cli.console import console, progress_bar
from framecast.errors import UserError
from framecast.models.registry import KINDS
from framecast.training.devices import Devices, is_first_process
from framecast.training.recipe import Recipe, read_recipe, recipe_from, recipe_path

if TYPE_CHECKING:
    from framecast.training.fit import Outcome

USAGE = "framecast train RECIPE --data DATASET --out RUN [--resume] [--SECTION.SETTING VALUE ...]"
EXAMPLES = """examples:
  framecast train course --data data/pusher --out runs/course --training.max_minutes 30
  framecast train recipes/demo.yaml --data data/pusher --out runs/first
  framecast train course --data data/pusher --out runs/vgg --model.image_network vgg \\
      --kl.annealing cyclical --teacher_forcing.decay_step 0.05
  framecast train course --data data/pusher --out runs/course --resume
  framecast train svg_lp --data data/pusher --out runs/svg --devices 4
  torchrun --nproc-per-node 4 -m framecast train svg_lp --data data/pusher --out runs/svg"""


class _HelpFormatter(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """jsonargparse's help, with the examples as they are written."""


def main(argv: list[str]) -> None:
    options = _parser().parse_args(argv, defaults=False)
    if "out" not in options:
        raise UserError("Say where the run goes: --out RUN.")
    settings = read_recipe(recipe_path(options.recipe))
    given = {
        name: value.as_dict() if isinstance(value, Namespace) else value
        for name, value in options.items(branches=True)
        if name in Recipe.__dataclass_fields__
    }
    recipe = recipe_from(_merged(settings, given), options.recipe)
    console.quiet = not is_first_process()
    outcome = _train(recipe, options)
    best = f"; best validation PSNR {outcome.best_psnr:.2f} dB" if outcome.best_psnr > 0 else ""
    console.print(
        f"Training {outcome.reason} at step {outcome.step}, "
        f"after {outcome.minutes:.1f} minutes{best}."
    )
    if outcome.warning:
        console.print(f"Warning: {outcome.warning}", soft_wrap=True)
    if outcome.reason != "finished":
        console.print("All of it is saved; the same command with --resume goes on.")
    console.print(f"Next: framecast evaluate {options.out}", soft_wrap=True)
    if outcome.reason == "was interrupted":
        sys.exit(130)


def _train(recipe: Recipe, options: Namespace) -> Outcome:
    with console.status("Loading PyTorch ..."):
        from framecast.training import fit
        from framecast.training.runs import Run
    resume = options.get("resume", False)
    if "data" in options:
        dataset = Path(options.data)
    elif resume:
        dataset = Run.open(Path(options.out)).dataset()
    else:
        raise UserError("Say what to train on: --data DATASET.")
    devices = Devices.asked_for(options.get("devices", 1), options.get("num_nodes", 1))
    begin = fit.resume if resume else fit.start
    max_minutes = recipe.training.max_minutes
    with progress_bar("training", recipe.num_steps) as advance:
        seen = 0

        def report(step: int, minutes: float, measured: dict[str, float]) -> None:
            nonlocal seen
            advance(step - seen, _note(minutes, max_minutes, measured))
            seen = step

        preparing = _Countdown(lambda note: advance(0, note))
        advance(0, "preparing")
        return begin(recipe, dataset, Path(options.out), report, devices, preparing)


class _Countdown:
    """Says what is being prepared and how long that still takes."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self.show = show
        self.what, self.started = "", 0.0

    def __call__(self, what: str, done: int, steps: int) -> None:
        now = time.monotonic()
        if what != self.what or done <= 1:
            self.what, self.started = what, now
            return
        left = (now - self.started) * (steps - done) / (done - 1)
        self.show(f"preparing: {what}, {left:.0f} s left" if done < steps else "preparing")


def _note(minutes: float, max_minutes: float, measured: dict[str, float]) -> str:
    note = f"loss {measured['loss']:.4f} KL {measured['kl']:.2f} PSNR {measured['psnr']:.1f}"
    if "validation_psnr" in measured:
        note += f" validation {measured['validation_psnr']:.2f}"
    if max_minutes:
        note += f", at most {max(0.0, max_minutes - minutes):.1f} min"
    return note


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="framecast train",
        usage=USAGE,
        description="Train a model. Every setting of the recipe can be given as an option too.",
        epilog=EXAMPLES,
        formatter_class=_HelpFormatter,
    )
    parser.add_argument("recipe", help="a recipe file, or the name of one that comes along")
    parser.add_argument("--data", help="dataset folder made by record or import")
    parser.add_argument("--out", help="run folder to make")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in --out from its last checkpoint"
    )
    parser.add_argument("--devices", type=int, default=1, help="GPUs, or CPU processes, a machine")
    parser.add_argument("--num-nodes", type=int, default=1, help="machines that train together")
    parser.add_class_arguments(Recipe, skip={"model"})
    _add_model_options(parser)
    return parser


def _add_model_options(parser: ArgumentParser) -> None:
    """The settings of all kinds of models; `recipe_from` checks them for the kind at hand."""
    owners: dict[str, list[str]] = {}
    helps: dict[str, str] = {}
    for kind, entry in KINDS.items():
        helps |= _descriptions(entry.config) | helps
        for setting in dataclasses.fields(entry.config):
            owners.setdefault(setting.name, []).append(kind)
    group = parser.add_argument_group(f"the model; its kinds are {', '.join(KINDS)}")
    for name, kinds in owners.items():
        whose = "" if len(kinds) == len(KINDS) else f" ({', '.join(kinds)})"
        group.add_argument(f"--model.{name}", type=Any, help=helps.get(name, "") + whose)


def _descriptions(config: type) -> dict[str, str]:
    """What the docstrings of a config and its bases say of each setting."""
    described: dict[str, str] = {}
    for base in reversed(config.__mro__[:-1]):
        for parameter in docstring_parser.parse(base.__doc__ or "").params:
            described[parameter.arg_name] = parameter.description or ""
    return described


def _merged(settings: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    merged = dict(settings)
    for key, value in given.items():
        deeper = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if deeper else value
    return merged
