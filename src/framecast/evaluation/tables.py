"""Tables of scores, for the terminal, Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from framecast.metrics import METRICS

LATEX = str.maketrans({sign: f"\\{sign}" for sign in "_%&#$"})


@dataclass(frozen=True)
class Grid:
    """A table of text; the first column holds labels, the others numbers."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        lines = [self.headings, ("---", *("---:" for _ in self.headings[1:])), *self.rows]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def latex(self) -> str:
        columns = "l" + "r" * (len(self.headings) - 1)
        rule = "\\hline\n"
        head, *body = (" & ".join(_latex(cell) for cell in line) for line in self._lines())
        text = "".join(f"{line} \\\\\n" for line in body)
        return f"\\begin{{tabular}}{{{columns}}}\n{head} \\\\\n{rule}{text}\\end{{tabular}}\n"

    def csv(self) -> str:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows(self._lines())
        return buffer.getvalue()

    def _lines(self) -> Sequence[tuple[str, ...]]:
        return (self.headings, *self.rows)


def title_of(metric: str) -> str:
    return METRICS[metric].title if metric in METRICS else metric.upper().replace("_", " ")


def number(metric: str, value: float | None, signed: bool = False) -> str:
    if value is None:
        return ""
    decimals = METRICS[metric].decimals if metric in METRICS else 4
    return f"{value:{'+' if signed else ''}.{decimals}f}"


def with_interval(
    metric: str, value: float, interval: Sequence[float], signed: bool = False
) -> str:
    low, high = (number(metric, end, signed) for end in interval)
    return f"{number(metric, value, signed)} [{low}, {high}]"


def metrics_of(document: Mapping[str, Any]) -> list[str]:
    """Names of the metrics of single frames in a document of scores, in order."""
    return list(document["scores"]["model"]["per_clip"])


def _latex(text: str) -> str:
    return text.translate(LATEX)
