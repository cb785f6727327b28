"""`framecast import`: recordings of any known format -> a dataset."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from framecast.cli.console import command_parser, console, progress_bar
from framecast.data.formats import FORMATS, open_recordings
from framecast.data.formats.base import Keys, Reader
from framecast.data.geometry import Geometry, parse_box
from framecast.data.importing import Imported, ImportOptions, import_recordings
from framecast.data.splits import parse_fractions
from framecast.errors import UserError

EXAMPLES = """  framecast import recordings/g1_pick_bottle --out data/g1 --size 64 --fps 10
  framecast import softmotion30_44k --out data/bair --workers 2
  framecast import softmotion_png --format course --out data/course
  framecast import teleop.h5 --out data/teleop --crop 80,0,480,480 --size 128 --actions sum,sum,last
  framecast import films/ --out data/films --fps 5 --skip-broken"""
MANY_NAMES = 8
MANY_LINES = 10


def main(argv: list[str]) -> None:
    given = _parser().parse_args(argv)
    if given.workers < 1 or given.shard_mb < 1:
        raise UserError("--workers and --shard-mb should be at least 1.")
    options = ImportOptions(
        geometry=Geometry(
            given.size, given.fit, None if given.crop is None else parse_box(given.crop), given.flip
        ),
        fps=given.fps,
        action_rules=None if given.actions is None else tuple(given.actions.split(",")),
        fractions=None if given.split is None else parse_fractions(given.split),
        split_seed=given.split_seed,
        skip_broken=given.skip_broken,
        shard_bytes=given.shard_mb * 2**20,
    )
    keys = Keys(given.camera, given.action_key, given.state_key)
    reader = open_recordings(given.path, given.format, keys)
    with progress_bar("importing", len(reader)) as advance:
        imported = import_recordings(
            reader, given.out, options, given.overwrite, given.workers, advance
        )
    console.print(_summary(reader, imported, options, given.out))


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "import",
        "Turn recordings into a dataset. The format is detected. An import that was interrupted "
        "goes on where it was when the same command is run again.",
        EXAMPLES,
    )
    parser.add_argument("path", type=Path, help="folder or file of recordings")
    parser.add_argument("--out", type=Path, required=True, help="dataset folder to make")
    parser.add_argument("--format", choices=FORMATS, help="instead of detecting it")
    parser.add_argument("--size", type=int, default=64, help="pixels a side (64)")
    parser.add_argument(
        "--fit",
        choices=("crop", "letterbox", "stretch"),
        default="crop",
        help="what becomes of frames that are not square: middle square, black borders, stretched",
    )
    parser.add_argument("--crop", metavar="LEFT,TOP,WIDTH,HEIGHT", help="first cut out this box")
    parser.add_argument(
        "--flip", choices=("none", "vertical", "horizontal", "both"), default="none"
    )
    parser.add_argument("--fps", type=float, help="frames a second; default: the source's")
    parser.add_argument(
        "--actions",
        metavar="RULES",
        help="how to compose the commands of dropped frames: sum or last, once or for each "
        "number (sum,sum,last); default: by their kind",
    )
    parser.add_argument("--split", help="fractions to train, validate and test, such as .8,.1,.1")
    parser.add_argument("--split-seed", type=int, default=0, help="shuffles episodes for --split")
    parser.add_argument("--camera", help="video or image key, where there are several")
    parser.add_argument("--action-key", help="column of the actions, where it is not the usual one")
    parser.add_argument("--state-key", help="column of the states, where it is not the usual one")
    parser.add_argument("--workers", type=int, default=1, help="processes (1); one makes a shard")
    parser.add_argument("--shard-mb", type=int, default=256, help="MiB of pixels a shard (256)")
    parser.add_argument(
        "--skip-broken", action="store_true", help="leave out what cannot be read, and list it"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing dataset")
    return parser


def _summary(reader: Reader, imported: Imported, options: ImportOptions, out: Path) -> Table:
    signals = reader.signals
    splits = ", ".join(f"{count} {split}" for split, count in imported.episodes.items())
    table = Table(show_header=False, title=f"imported into {out}", title_justify="left")
    rows = [
        ("found", reader.what),
        ("episodes", splits),
        ("frames", f"{imported.frames} at {imported.fps:g} a second"),
        ("size", str(options.geometry)),
        ("actions", _names(signals.action_names)),
        ("states", _names(signals.state_names)),
        ("kept", imported.composed),
        *(("note", note) for note in imported.notes[:MANY_LINES]),
        *(("left out", line) for line in imported.left_out[:MANY_LINES]),
    ]
    if imported.kept_shards:
        rows.append(("taken up", f"{imported.kept_shards} shards were finished before"))
    if len(imported.left_out) > MANY_LINES:
        count = len(imported.left_out)
        rows.append(("left out", f"{count} in all: they are listed in {out / 'left_out.txt'}"))
    for what, line in rows:
        table.add_row(what, escape(line))
    return table


def _names(names: tuple[str, ...]) -> str:
    if not names:
        return "none"
    shown = ", ".join(names[:MANY_NAMES])
    return f"{len(names)}: {shown}" + (", ..." if len(names) > MANY_NAMES else "")
