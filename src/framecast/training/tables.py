"""Tables of numbers by step, in CSV files that survive a kill and a resume."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path


class StepTable:
    """Rows by step, appended one by one.

    A resumed run first drops the rows of steps that it is going to take again.
    """

    def __init__(self, path: Path, columns: Sequence[str], first_step: int) -> None:
        self.path, self.columns = path, columns
        kept = [row for row in read_table(path) if int(row["step"]) <= first_step]
        partial = path.with_name(f".{path.name}.partial")
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(kept)
        os.replace(partial, path)

    def append(self, row: dict[str, float]) -> None:
        rounded = {name: f"{value:.8g}" for name, value in row.items()}
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.columns, restval="").writerow(rounded)


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows written so far, as text; a number that was not measured is empty."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if None not in row.values()]  # a kill may tear the last row
