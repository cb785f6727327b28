"""`framecast export-data`: a dataset -> a format that other software reads."""

from __future__ import annotations

from pathlib import Path

from framecast.cli.console import command_parser, console, progress_bar
from framecast.data.exports import EXPORTERS, export_dataset, open_splits

EXAMPLES = """  framecast export-data data/pusher --format lerobot-v3 --out lerobot/pusher
  framecast export-data data/bair --format course --out softmotion_png
  framecast export-data data/bair --format tfrecord --out softmotion30
  framecast export-data data/pusher --format swm-hdf5 --out plain"""


def main(argv: list[str]) -> None:
    parser = command_parser(
        "export-data",
        "Write a dataset in a format that other software reads. Pixels and numbers are the same "
        "when it is imported again: no format here loses any.",
        EXAMPLES,
    )
    parser.add_argument("dataset", type=Path, help="dataset folder")
    parser.add_argument("--format", choices=tuple(EXPORTERS), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing folder")
    given = parser.parse_args(argv)
    stores = open_splits(given.dataset)
    total = sum(store.num_episodes for store in stores.values())
    with progress_bar("exporting", total) as advance:
        export_dataset(stores, given.out, given.format, given.overwrite, advance)
    console.print(f"{given.out}: {total} episodes as {given.format}.")
