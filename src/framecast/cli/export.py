"""`framecast export`: a run's model as a small folder to hand on."""

from __future__ import annotations

from pathlib import Path

from framecast.cli.console import command_parser, console

EXAMPLES = """  framecast export runs/first --out models/first
  framecast steer models/first
  framecast export runs/first --out src/framecast/weights/pusher --overwrite"""


def main(argv: list[str]) -> None:
    parser = command_parser(
        "export",
        "Write a trained model into a folder of its own: weights in half precision, recipe, "
        "model card; at most 15 MB, and nothing in it is ever run.",
        EXAMPLES,
    )
    parser.add_argument("run", type=Path, help="run folder made by train")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--checkpoint", help="default: best if there is one")
    parser.add_argument("--overwrite", action="store_true", help="replace an exported model")
    options = parser.parse_args(argv)
    with console.status("Loading PyTorch ..."):
        from framecast.training.packages import export
        from framecast.training.runs import Run

        run = Run.open(options.run)
        checkpoint = options.checkpoint or run.default_checkpoint()
        package = export(run, checkpoint, options.out, options.overwrite)
    megabytes = package.weights_file.stat().st_size / 1e6
    console.print(
        f"Written to {package.folder} ({megabytes:.1f} MB). Read its README.md, the model card. "
        f"Next: framecast steer {package.folder}",
        soft_wrap=True,
    )
