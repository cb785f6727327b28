"""Who is told how far the work before the first step of a run is."""

from __future__ import annotations

from typing import Protocol


class Preparing(Protocol):
    """Told after every step what is being prepared, and how many of its steps are done."""

    def __call__(self, what: str, done: int, steps: int) -> None: ...


def unheard(what: str, done: int, steps: int) -> None:
    """Tells nobody."""
