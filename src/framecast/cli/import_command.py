"""`framecast import`: recordings of any known format -> a dataset."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from framecast.cli.console import command_parser, console, progress_bar
from framecast.data.formats import FORMATS, open_recordings
from framecast.data.formats.base import Reader
from framecast.data.importing import Imported, ImportOptions, import_recordings
from framecast.data.splits import parse_fractions

EXAMPLES = """  framecast import recordings/g1_pick_bottle --out data/g1 --size 64 --fps 10
  framecast import bair_sample.npz --out data/bair
  framecast import softmotion_png --format course --out data/course"""
MANY_NAMES = 8


def main(argv: list[str]) -> None:
    parser = command_parser(
        "import", "Turn recordings into a dataset. The format is detected.", EXAMPLES
    )
    parser.add_argument("path", type=Path, help="folder or file of recordings")
    parser.add_argument("--out", type=Path, required=True, help="dataset folder to make")
    parser.add_argument("--format", choices=FORMATS, help="instead of detecting it")
    parser.add_argument("--size", type=int, default=64, help="pixels a side (64)")
    parser.add_argument(
        "--fit",
        choices=("crop", "letterbox"),
        default="crop",
        help="what becomes of frames that are not square: middle square (crop) or black borders",
    )
    parser.add_argument("--fps", type=float, help="frames a second; default: the source's")
    parser.add_argument(
        "--actions",
        choices=("sum", "last"),
        help="how to compose the commands of dropped frames; default: by their kind",
    )
    parser.add_argument("--split", help="fractions to train, validate and test, such as .8,.1,.1")
    parser.add_argument("--split-seed", type=int, default=0, help="shuffles episodes for --split")
    parser.add_argument("--camera", help="video or image key, where there are several")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing dataset")
    given = parser.parse_args(argv)
    options = ImportOptions(
        size=given.size,
        fit=given.fit,
        fps=given.fps,
        action_kind={None: None, "sum": "displacement", "last": "target"}[given.actions],
        fractions=None if given.split is None else parse_fractions(given.split),
        split_seed=given.split_seed,
    )
    reader = open_recordings(given.path, given.format, given.camera)
    with progress_bar("importing", len(reader)) as advance:
        imported = import_recordings(reader, given.out, options, given.overwrite, advance)
    console.print(_summary(reader, imported, given.out))


def _summary(reader: Reader, imported: Imported, out: Path) -> Table:
    signals = reader.signals
    splits = ", ".join(f"{count} {split}" for split, count in imported.episodes.items())
    table = Table(show_header=False, title=f"imported into {out}", title_justify="left")
    table.add_row("found", reader.what)
    table.add_row("episodes", splits)
    table.add_row("frames", f"{imported.frames} at {imported.fps:g} a second")
    table.add_row("size", imported.fitted)
    table.add_row("actions", _names(signals.action_names))
    table.add_row("states", _names(signals.state_names))
    table.add_row("kept", imported.composed)
    for note in reader.notes:
        table.add_row("note", note)
    return table


def _names(names: tuple[str, ...]) -> str:
    if not names:
        return "none"
    shown = ", ".join(names[:MANY_NAMES])
    return f"{len(names)}: {shown}" + (", ..." if len(names) > MANY_NAMES else "")
