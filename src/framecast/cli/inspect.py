"""`framecast inspect`: what a recording or a dataset holds, and whether it is sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.markup import escape
from rich.table import Table

from framecast.cli.console import command_parser, console, progress_bar
from framecast.data.formats import FORMATS, open_recordings
from framecast.data.formats.base import Keys
from framecast.data.inspecting import Inspection, Numbers, episodes_to_read, inspect
from framecast.errors import UserError

EXAMPLES = """  framecast inspect recordings/g1_pick_bottle
  framecast inspect softmotion30_44k --check
  framecast inspect data/pusher --out looks   (writes looks/sheet.png and looks/actions.png)"""
BARS = "▁▂▃▄▅▆▇█"
BINS = 10
MANY_NAMES = 32


def main(argv: list[str]) -> None:
    parser = command_parser(
        "inspect",
        "Say what a recording or a dataset holds. A few episodes are read, or all with --check, "
        "which lists every fault and then ends with 1.",
        EXAMPLES,
    )
    parser.add_argument("path", type=Path, help="recordings of any known format, or a dataset")
    parser.add_argument("--check", action="store_true", help="read everything, list every fault")
    parser.add_argument("--out", type=Path, help="folder for a contact sheet and histograms")
    parser.add_argument("--format", choices=FORMATS, help="instead of detecting it")
    parser.add_argument("--camera", help="video or image key, where there are several")
    parser.add_argument("--action-key", help="column of the actions, where it is not the usual one")
    parser.add_argument("--state-key", help="column of the states, where it is not the usual one")
    given = parser.parse_args(argv)
    keys = Keys(given.camera, given.action_key, given.state_key)
    reader = open_recordings(given.path, given.format, keys)
    with progress_bar("reading", len(episodes_to_read(len(reader), given.check))) as advance:
        inspection = inspect(reader, given.check, advance)
    console.print(_overview(inspection, given.path))
    for what, numbers in (("action", inspection.actions), ("state", inspection.states)):
        if numbers.moments.count:
            console.print(_numbers(what, numbers))
    if given.out is not None:
        _write_pictures(inspection, given.out)
    for problem in inspection.problems:
        console.print(problem, markup=False, highlight=False, soft_wrap=True)
    if given.check and inspection.problems:
        raise UserError(f"{given.path} has {len(inspection.problems)} faults, listed above.")


def _overview(inspection: Inspection, path: Path) -> Table:
    lengths, read = inspection.lengths, inspection.episodes_read
    table = Table(show_header=False, title=str(path), title_justify="left")
    extent = "" if inspection.is_whole else f" in the {read} episodes read"
    rows = [("found", inspection.what), ("format", inspection.format)]
    if lengths:
        sizes = ", ".join(f"{width}x{height}" for width, height in inspection.sizes)
        low, high = min(lengths), max(lengths)
        span = str(low) if low == high else f"{low} to {high}, median {int(np.median(lengths))}"
        rows += [
            ("frames", f"{sum(lengths)}{extent}, {span} an episode"),
            ("size", f"{sizes} pixels"),
        ]
    rows += [
        ("episodes", _episodes(inspection)),
        ("rate", f"{inspection.fps:g} frames a second"),
        ("actions", _names(inspection.actions.names)),
        ("states", _names(inspection.states.names)),
        *(("note", note) for note in inspection.notes),
        ("problems", f"{len(inspection.problems) or 'none'}{extent}"),
    ]
    for what, line in rows:
        table.add_row(what, escape(line))
    return table


def _episodes(inspection: Inspection) -> str:
    splits = ", ".join(f"{count} {split}" for split, count in inspection.splits.items())
    return f"{inspection.episodes}" + (f": {splits}" if splits else "")


def _names(names: tuple[str, ...]) -> str:
    return f"{len(names)}: {', '.join(names)}" if names else "none"


def _numbers(what: str, numbers: Numbers) -> Table:
    table = Table(what, "unit", "min", "max", "mean", "std", "histogram")
    moments = numbers.moments
    for index, name in enumerate(numbers.names[:MANY_NAMES]):
        figures = (moments.low, moments.high, moments.mean, moments.std)
        table.add_row(
            escape(name),
            escape(numbers.units[index]),
            *(f"{values[index]:.4g}" for values in figures),
            _bars(numbers.column(index)),
        )
    if len(numbers.names) > MANY_NAMES:
        table.add_row(f"{len(numbers.names) - MANY_NAMES} more")
    return table


def _bars(values: np.ndarray) -> str:
    counts, _ = np.histogram(values.astype(np.float64), BINS)
    levels = np.ceil(counts / max(counts.max(), 1) * (len(BARS) - 1)).astype(int)
    return "".join(BARS[level] for level in levels)


def _write_pictures(inspection: Inspection, out: Path) -> None:
    from framecast.pictures import png, strip

    out.mkdir(parents=True, exist_ok=True)
    if inspection.sheet:
        columns = max(map(len, inspection.sheet.values()))
        steps = ["first", *[""] * (columns - 2), "last"][:columns]
        (out / "sheet.png").write_bytes(png(strip(inspection.sheet, steps)))
        console.print(f"{out / 'sheet.png'}: frames of {len(inspection.sheet)} episodes.")
    if inspection.actions.moments.count:
        _write_histograms(inspection.actions, out / "actions.png")
        console.print(f"{out / 'actions.png'}: histograms of the actions.")


def _write_histograms(numbers: Numbers, path: Path) -> None:
    from matplotlib.figure import Figure

    shown = min(len(numbers.names), MANY_NAMES)
    columns = min(shown, 4)
    rows = -(-shown // columns)
    figure = Figure(figsize=(3.2 * columns, 2.4 * rows), layout="constrained")
    for index in range(shown):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.hist(numbers.column(index).astype(np.float64), bins=40)
        axes.set_title(numbers.names[index], fontsize=9)
        axes.set_xlabel(numbers.units[index], fontsize=8)
    figure.savefig(path, dpi=100)
