"""What every command prints with: one console, one kind of parser, one kind of progress bar."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

console = Console()


def write_json(file: Path, content: object) -> None:
    """Write it whole or not at all."""
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(json.dumps(content, indent=1))
    os.replace(partial, file)


class Advance(Protocol):
    """Called after each finished piece of work, with a word on what is going on."""

    def __call__(self, finished: int = 1, note: str = "") -> None: ...


def command_parser(command: str, description: str, examples: str) -> argparse.ArgumentParser:
    """A parser whose help ends with examples."""
    return argparse.ArgumentParser(
        prog=f"framecast {command}",
        description=description,
        epilog="examples:\n" + examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Advance]:
    """A bar with counts and time left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=total, note="")

        def advance(finished: int = 1, note: str = "") -> None:
            progress.update(task, advance=finished, note=note)

        yield advance
