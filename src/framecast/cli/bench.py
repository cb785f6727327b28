"""`framecast bench`: how fast framecast is here, against the same mathematics written plainly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.table import Table

from framecast.cli.console import command_parser, console, progress_bar, write_json
from framecast.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from framecast.speed.pairs import Timing

EXAMPLES = """  framecast bench                             # everything: 8 minutes on two cores
  framecast bench --quick --json speed.json   # less often, 3 minutes
  framecast bench --only train_step_dcgan64 sample_dcgan64 --pairs 9"""
PAIRS, QUICK_PAIRS = 7, 3
QUICK_VGG_PAIRS = 2  # a plain vgg step takes ten seconds


def main(argv: list[str]) -> None:
    parser = command_parser(
        "bench",
        "Time framecast's own way and a plain way in turn, in one process, and print the ratios.",
        EXAMPLES,
    )
    parser.add_argument("--quick", action="store_true", help="fewer pairs and benchmarks")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these benchmarks")
    parser.add_argument("--pairs", type=int, help=f"turns each ({PAIRS}, quick {QUICK_PAIRS})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    options = parser.parse_args(argv)
    if options.pairs is not None and options.pairs < 1:
        raise UserError(f"--pairs should be at least 1, got {options.pairs}.")
    if options.json is not None and not options.json.resolve().parent.is_dir():
        raise UserError(f"There is no folder for {options.json}.")
    with console.status("Loading PyTorch ..."):
        from framecast.speed.pairs import measure
        from framecast.speed.suite import benchmarks, workspace

    builders = benchmarks(options.quick)
    for name in options.only or ():
        if name not in builders:
            hint = did_you_mean(name, builders) or f" There are: {', '.join(builders)}."
            raise UserError(f"There is no benchmark {name!r}.{hint}")
    names = options.only or list(builders)
    pairs = {name: options.pairs or _pairs(name, options.quick) for name in names}
    timings = []
    with progress_bar("timing", sum(pairs.values()) + len(names)) as advance:
        for name in names:
            with workspace() as folder:
                benchmark = builders[name](folder)
                advance(0, benchmark.title)
                timings.append(measure(benchmark, pairs[name], advance))
    if options.json is not None:
        write_json(options.json, [timing.as_json() for timing in timings])
    console.print(_table(timings))
    if options.json is not None:
        console.print(f"Written to {options.json}.", soft_wrap=True)


def _pairs(name: str, quick: bool) -> int:
    if not quick:
        return PAIRS
    return QUICK_VGG_PAIRS if "vgg" in name else QUICK_PAIRS


def _table(timings: list[Timing]) -> Table:
    title = "framecast against a plain reference, paired"
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("benchmark", no_wrap=True)
    for heading in ("ratio", "range", "goal", "s", "GFLOP/s", "peak"):
        table.add_column(heading, justify="right", no_wrap=True)
    for timing in timings:
        benchmark, operations = timing.benchmark, timing.operations
        table.add_row(
            benchmark.name,
            f"{timing.ratio:.3g}{'x' if benchmark.unit == 'x' else ''}",
            f"{timing.low:.3g}-{timing.high:.3g}",
            f"{benchmark.goal:g}",
            f"{timing.seconds:.3g}",
            "" if operations is None else f"{operations / 1e9:.0f}",
            "" if operations is None else f"{operations / timing.peak:.2f}",
        )
    return table
