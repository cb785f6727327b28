"""One process at a time in a folder; the lock dies with the process that holds it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from framecast.errors import UserError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes the folder. Raises UserError when another process is at work in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as file:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"Another process is writing to {folder}; wait for it.") from None
        yield
