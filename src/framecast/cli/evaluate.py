"""`framecast evaluate`: the scores of a trained model."""

from __future__ import annotations

import dataclasses
import re
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from rich.table import Table

from framecast.cli.console import command_parser, console, progress_bar
from framecast.errors import UserError, did_you_mean
from framecast.evaluation.protocols import BEST_BY, PRESET_SOURCES, PRESETS, Protocol

EXAMPLES = """  framecast evaluate runs/first
  framecast evaluate runs/first --windows first     # as published for BAIR
  framecast evaluate runs/first --states predicted  # future states unknown
  framecast evaluate runs/first --samples 20 --true-futures 10   # on the pusher
  framecast evaluate runs/first --protocol svg --precision bfloat16
  framecast evaluate runs/first --context 3 --horizon 8 --name short
  framecast evaluate runs/overfit --split train

protocols:
"""
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def main(argv: list[str]) -> None:
    options = _options(argv)
    protocol = _protocol(options)
    with console.status("Loading PyTorch ..."):
        import torch

        from framecast.evaluation import documents
        from framecast.evaluation.evaluate import Evaluator, ProtocolClips
        from framecast.evaluation.groups import GroupStore
        from framecast.evaluation.statistics import Bootstrap
        from framecast.evaluation.summary import Summary
        from framecast.training.runs import Run
    run = Run.open(options.run)
    checkpoint = options.checkpoint or run.default_checkpoint()
    model = run.load_model(checkpoint)
    if not model.uses_states and options.states == "predicted":
        raise UserError("This model does not condition on states, so there is none to predict.")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    beside, files = _beside(options, device)
    networks = _networks(options, protocol)
    clips = ProtocolClips.of(options.data or run.dataset(), protocol)
    world = _world(options, clips, protocol)
    model = model.to(device)
    evaluator = Evaluator(model, clips, protocol, beside, networks, options.memory, world)
    described = documents.describe(evaluator, run.checkpoint_file(checkpoint), files)
    with console.status("Reading the clips ..."):
        described["clips_sha256"] = clips.checksum()
    kept = GroupStore(run.folder / "evaluation", protocol.name, described)
    if kept.num_kept:
        console.print(f"Going on with an evaluation that has {kept.num_kept} groups of clips.")
    try:
        with progress_bar("evaluating", len(clips)) as advance:
            groups = evaluator.run(advance, kept)
    except KeyboardInterrupt:
        raise UserError(
            "interrupted; what was scored so far is kept. Give the same command to go on."
        ) from None
    summary = Summary(groups, protocol, Bootstrap(clips.episodes(), protocol.seed))
    scores = summary.scores()
    parts = {
        "scores": scores,
        "over_samples": summary.over_samples() if protocol.num_samples > 1 else None,
        "calibration": summary.calibration(),
        "world": summary.world(),
    }
    path = documents.write_scores(run, described, clips.episodes().tolist(), parts)
    kept.remove()
    console.print(_table(described, scores, states_matter=model.uses_states))
    console.print(f"Written to {path}. Next: framecast report {run.folder}", soft_wrap=True)


def _options(argv: list[str]) -> Namespace:
    presets = "\n".join(f"  {name:<8}{source}" for name, source in PRESET_SOURCES.items())
    parser = command_parser(
        "evaluate",
        "Score a trained model over a whole split, beside the rows that say what a score is worth.",
        EXAMPLES + presets,
    )
    parser.add_argument("run", type=Path, help="run folder made by train")
    parser.add_argument("--data", type=Path, help="another dataset than the run was trained on")
    parser.add_argument(
        "--checkpoint", choices=("best", "last"), help="default: best if there is one"
    )
    _add_protocol(parser)
    others = parser.add_argument_group("beside the model")
    others.add_argument("--twin", type=Path, help="run of a deterministic model of the same clips")
    others.add_argument(
        "--shipped", action="store_true", help="on the pusher: the model that comes with framecast"
    )
    others.add_argument(
        "--true-futures",
        type=int,
        default=0,
        metavar="M",
        help="on the pusher: compare with M true futures a clip, simulated anew",
    )
    for kind, option in (("lpips", "lpips"), ("fvd", "i3d")):
        others.add_argument(f"--{option}-weights", type=Path, help=f"local file for {kind}")
        others.add_argument(f"--{option}-sha256", help="its checksum, if not the published one")
    parser.add_argument(
        "--memory", type=int, default=1000, metavar="MB", help="for predicted frames (1000)"
    )
    return parser.parse_args(argv)


def _add_protocol(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("protocol", "a preset, and what differs from it")
    group.add_argument("--protocol", default="course", help="course, svg, fvd or token (course)")
    group.add_argument("--name", help="names the file of scores; default: the preset's name")
    group.add_argument("--context", type=int, help="true frames given")
    group.add_argument("--horizon", type=int, help="frames predicted")
    group.add_argument("--samples", type=int, dest="num_samples", help="futures a clip (N)")
    group.add_argument("--best-by", choices=BEST_BY, help="chooses the best of N")
    group.add_argument(
        "--prior", choices=("sampled", "mean"), help="sample the prior, or take its mean"
    )
    group.add_argument("--split", choices=("train", "validation", "test"))
    group.add_argument(
        "--windows",
        choices=("all", "first"),
        help="all: windows that tile every episode; first: the first frames of every episode",
    )
    group.add_argument("--clips", type=int, dest="max_clips", help="score only this many")
    group.add_argument(
        "--states",
        choices=("given", "predicted"),
        help="whether the model is told the true future states (the course's way)",
    )
    group.add_argument("--seed", type=int, help="names the sampled futures")
    group.add_argument("--precision", choices=("float32", "bfloat16"), help="of the networks")


def _protocol(options: Namespace) -> Protocol:
    preset = PRESETS.get(options.protocol)
    if preset is None:
        hint = did_you_mean(options.protocol, PRESETS)
        raise UserError(
            f"There is no protocol {options.protocol!r}; the presets are "
            f"{', '.join(PRESETS)}.{hint}"
        )
    fields = {field.name for field in dataclasses.fields(Protocol)}
    changes = {k: v for k, v in vars(options).items() if k in fields and v is not None}
    if "name" not in changes and changes.keys() & {"context", "horizon"}:
        changes["name"] = "{context}to{horizon}".format(
            context=changes.get("context", preset.context),
            horizon=changes.get("horizon", preset.horizon),
        )
    if changes.get("prior") == "mean" and "num_samples" not in changes:
        changes["num_samples"] = 1
    protocol = dataclasses.replace(preset, **changes)
    if not FILE_NAME.fullmatch(protocol.name):
        raise UserError(f"--name takes letters, digits, - and _; got {protocol.name!r}.")
    options.states = protocol.states
    if options.memory < 1:
        raise UserError(f"--memory should be at least 1 MB, got {options.memory}.")
    return protocol


def _networks(options: Namespace, protocol: Protocol) -> tuple[Any, ...]:
    from framecast.evaluation.networks import MIN_VIDEO_FRAMES, WeightsFile

    found = []
    for kind, option in (("lpips", "lpips"), ("fvd", "i3d")):
        path = getattr(options, f"{option}_weights")
        if path is not None:
            found.append(WeightsFile.checked(kind, path, getattr(options, f"{option}_sha256")))
    if any(file.kind == "fvd" for file in found) and protocol.num_frames < MIN_VIDEO_FRAMES:
        raise UserError(
            f"A Frechet video distance needs clips of at least {MIN_VIDEO_FRAMES} frames, context "
            f"included; the protocol's have {protocol.num_frames}."
        )
    return tuple(found)


def _beside(options: Namespace, device: str) -> tuple[dict[str, Any], dict[str, Path]]:
    """Other models and their files of weights, by row."""
    from framecast.training.packages import Package
    from framecast.training.runs import Run

    models, files = {}, {}
    if options.twin:
        run = Run.open(options.twin)
        models["twin"] = run.load_model(run.default_checkpoint()).to(device)
        files["twin"] = run.checkpoint_file(run.default_checkpoint())
    if options.shipped:
        package = Package.shipped()
        models["shipped"] = package.load_model().to(device)
        files["shipped"] = package.weights_file
    return models, files


def _world(options: Namespace, clips: Any, protocol: Protocol) -> Any:
    """The simulator of the clips, or None where no true futures are asked for."""
    if not options.true_futures:
        return None
    from framecast.evaluation.true_futures import TrueFutures

    return TrueFutures.of(clips, protocol, options.true_futures)


def _table(protocol: dict[str, Any], scores: dict[str, Any], states_matter: bool) -> Table:
    from framecast.evaluation.summary import row_label

    states = f", states {protocol['states']}" if states_matter else ""
    title = (
        f"{protocol['context']} frames in, {protocol['horizon']} out{states}: "
        f"{protocol['num_clips']} clips of the {protocol['split']} split. PSNR in dB"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    for heading in ("dB", "95%", "gain", "first", "last", "SSIM"):
        table.add_column(heading, justify="right", no_wrap=True)
    floor = scores["copy_last"]["psnr"]
    for row, score in scores.items():
        low, high = score["interval"]["psnr"]
        steps = score["psnr_per_step"]
        table.add_row(
            row_label(row, protocol),
            f"{score['psnr']:.2f}",
            f"{low:.1f}-{high:.1f}",
            "" if row == "copy_last" else f"{score['psnr'] - floor:+.2f}",
            f"{steps[0]:.2f}",
            f"{steps[-1]:.2f}",
            f"{score['ssim']:.3f}",
        )
    return table
