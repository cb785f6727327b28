"""`framecast evaluate`: the scores of a trained model."""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from pathlib import Path
from typing import Any

from rich.table import Table

from framecast.cli.console import command_parser, console, progress_bar
from framecast.errors import UserError
from framecast.evaluation.protocols import COURSE, Protocol

EXAMPLES = """  framecast evaluate runs/first
  framecast evaluate runs/first --windows first     # as published for BAIR
  framecast evaluate runs/first --states predicted  # future states unknown
  framecast evaluate runs/overfit --split train"""


def main(argv: list[str]) -> None:
    options = _options(argv)
    with console.status("Loading PyTorch ..."):
        import torch

        from framecast.evaluation import evaluate as evaluation
        from framecast.training.runs import Run
    run = Run.open(options.run)
    protocol = dataclasses.replace(
        COURSE,
        windows=options.windows,
        split=options.split,
        states=options.states,
        seed=options.seed,
    )
    checkpoint = options.checkpoint or run.default_checkpoint()
    model = run.load_model(checkpoint)
    if not model.uses_states and options.states == "predicted":
        raise UserError("This model does not condition on states, so there is none to predict.")
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    clips = evaluation.ProtocolClips.of(options.data or run.dataset(), protocol)
    with progress_bar("evaluating", evaluation.num_passes(clips)) as advance:
        scores = evaluation.evaluate(model, clips, protocol, advance)
    weights = run.checkpoint_file(checkpoint)
    path = evaluation.write_scores(run, protocol, clips, scores, weights)
    console.print(_table(protocol, scores, states_matter=model.uses_states))
    console.print(f"Written to {path}. Next: framecast report {run.folder}", soft_wrap=True)


def _options(argv: list[str]) -> Namespace:
    parser = command_parser(
        "evaluate",
        "Score a trained model: 2 frames in, 10 out, PSNR and SSIM, over a whole split.",
        EXAMPLES,
    )
    parser.add_argument("run", type=Path, help="run folder made by train")
    parser.add_argument("--data", type=Path, help="another dataset than the run was trained on")
    parser.add_argument("--split", choices=("train", "validation", "test"), default="test")
    parser.add_argument(
        "--windows",
        choices=("all", "first"),
        default="all",
        help="all: windows that tile every episode; first: the first frames of every episode",
    )
    parser.add_argument(
        "--states",
        choices=("given", "predicted"),
        default="given",
        help="whether the model is told the true future states (the course's way)",
    )
    parser.add_argument("--seed", type=int, default=0, help="names the sampled futures")
    parser.add_argument(
        "--checkpoint", choices=("best", "last"), help="default: best if there is one"
    )
    return parser.parse_args(argv)


def _table(protocol: Protocol, scores: dict[str, dict[str, Any]], states_matter: bool) -> Table:
    from framecast.evaluation.evaluate import ROWS

    clips = scores["model"]["num_clips"]
    states = f", states {protocol.states}" if states_matter else ""
    title = (
        f"{protocol.context} frames in, {protocol.horizon} out{states}: "
        f"{clips} clips of the {protocol.split} split"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for heading in ("PSNR dB", "over copying", "first step", "last step", "SSIM"):
        table.add_column(heading, justify="right")
    floor = scores["copy_last"]["psnr"]
    for row, score in scores.items():
        gain = "" if row == "copy_last" else f"{score['psnr'] - floor:+.2f}"
        steps = score["psnr_per_step"]
        table.add_row(
            ROWS[row],
            f"{score['psnr']:.2f}",
            gain,
            f"{steps[0]:.2f}",
            f"{steps[-1]:.2f}",
            f"{score['ssim']:.3f}",
        )
    return table
