"""`framecast results`: every score of some runs on one page."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from framecast.cli.console import command_parser, console

EXAMPLES = """  framecast results runs/course runs/svg runs/best
  framecast results runs/course runs/svg runs/best --out docs/results.md"""


def main(argv: list[str]) -> None:
    parser = command_parser(
        "results",
        "Print all scores of evaluated runs as Markdown, a table a protocol.",
        EXAMPLES,
    )
    parser.add_argument("runs", type=Path, nargs="+", help="run folders, evaluated before")
    parser.add_argument("--out", type=Path, help="file to write instead of printing")
    options = parser.parse_args(argv)
    with console.status("Loading PyTorch ..."):
        from framecast.evaluation.results import results_page

    command = shlex.join(["framecast", "results", *argv])
    page = results_page(options.runs, command)
    if options.out is None:
        print(page, end="")
        return
    options.out.parent.mkdir(parents=True, exist_ok=True)
    partial = options.out.with_name(f".{options.out.name}.partial")
    try:
        partial.write_text(page, encoding="utf-8")
        os.replace(partial, options.out)
    finally:
        partial.unlink(missing_ok=True)
    console.print(f"Written to {options.out}.", soft_wrap=True)
