"""`framecast sweep`: many training runs, compared."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from framecast.cli.console import command_parser, console, progress_bar
from framecast.errors import UserError
from framecast.training.sweep_spec import read_spec

if TYPE_CHECKING:
    from framecast.training.sweep import Sweep

EXAMPLES = """  framecast sweep recipes/sweeps/course_discussion.yaml --data data/pusher \\
      --out sweeps/course --workers 2
  framecast sweep mine.yaml --data data/pusher --out sweeps/mine    # again: goes on where it was
  framecast sweep mine.yaml --data data/pusher --out sweeps/mine --table    # so far"""
POLL_SECONDS = 2.0


def main(argv: list[str]) -> None:
    options = _options(argv)
    spec = read_spec(options.spec)
    if options.workers < 1:
        raise UserError(f"--workers should be at least 1, got {options.workers}.")
    with console.status("Loading PyTorch ..."):
        from framecast.training.sweep import Sweep
        from framecast.training.sweep_summary import write_summary
    if options.table and not (options.out / "study.journal").exists():
        raise UserError(f"{options.out} holds no sweep yet.")
    sweep = Sweep(spec, options.data, options.out)
    if options.worker:
        sweep.work(lambda _: None)
        return
    if not options.table:
        _run(sweep, options)
    table, plot = write_summary(sweep)
    console.print(_table(sweep))
    written = f"Written to {table}" + (f" and {plot}." if plot else ".")
    console.print(written, soft_wrap=True)


def _run(sweep: Sweep, options: Namespace) -> None:
    with progress_bar("trials", sweep.spec.trials) as advance:
        seen = len(sweep.ended())
        advance(seen)

        def finished(ended: int) -> None:
            nonlocal seen
            advance(ended - seen)
            seen = ended

        if options.workers == 1:
            sweep.work(finished)
            return
        workers = [_worker(options, number) for number in range(options.workers)]
        try:
            while any(worker.poll() is None for worker in workers):
                time.sleep(POLL_SECONDS)
                finished(len(sweep.ended()))
        finally:
            for worker in workers:
                worker.terminate()
                worker.wait()
    if any(worker.returncode for worker in workers):
        raise UserError(
            f"A worker has ended with an error; see {options.out}/worker_*.log. "
            "The same command goes on with what is left."
        )


def _worker(options: Namespace, number: int) -> subprocess.Popen[bytes]:
    """A process that trains trials, with its share of the cores."""
    threads = max(1, (os.cpu_count() or 1) // options.workers)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "framecast", "sweep", str(options.spec), "--worker"]
    paths = ["--data", str(options.data), "--out", str(options.out)]
    with (options.out / f"worker_{number}.log").open("ab") as log:
        return subprocess.Popen([*command, *paths], stdout=log, stderr=log, env=environment)


def _table(sweep: Sweep) -> Table:
    from framecast.training.sweep_summary import SCORE, rows, seed_spread

    spread = seed_spread(sweep)
    title = f"{len(sweep.ended())} of {sweep.spec.trials} trials"
    if spread is not None:
        title += f"; standard deviation over seeds {spread:.2f} dB"
    table = Table(title=title, title_justify="left")
    for heading in ("trial", *sweep.spec.search, "best validation PSNR dB"):
        table.add_column(heading)
    for row in rows(sweep):
        table.add_row(*list(row.values())[:-1], row[SCORE] or "failed")
    return table


def _options(argv: list[str]) -> Namespace:
    parser = command_parser("sweep", "Train every trial of a sweep and compare them.", EXAMPLES)
    parser.add_argument("spec", type=Path, help="YAML file: a recipe, and what to try")
    parser.add_argument("--data", type=Path, required=True, help="dataset folder")
    parser.add_argument(
        "--out", type=Path, required=True, help="sweep folder; one that exists goes on"
    )
    parser.add_argument("--workers", type=int, default=1, help="trials at once on this machine (1)")
    parser.add_argument("--table", action="store_true", help="train nothing, show what there is")
    parser.add_argument("--worker", action="store_true", help="be one worker more, silently")
    return parser.parse_args(argv)
