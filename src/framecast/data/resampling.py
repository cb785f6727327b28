"""Fewer frames a second, and what becomes of the commands between.

With every k-th frame kept, the action from kept frame i to kept frame i + 1 is made of the
source's actions i k up to i k + k - 1. Displacements add up; of absolute targets and grippers the
last one holds. The kind of each number is the reader's to know; `--actions` overrides it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from framecast.data.header import ActionKind
from framecast.errors import UserError

KIND_OF: dict[str, ActionKind] = {"sum": "displacement", "last": "target"}
MANY_NAMES = 6


def keep_every(source_fps: float, fps: float | None) -> int:
    """Which frames to keep. Raises UserError for a rate that is no whole part of the source's."""
    if fps is None:
        return 1
    every = round(source_fps / fps) if fps > 0 else 0
    if every < 1 or abs(source_fps / every - fps) > 1e-6 * source_fps:
        possible = ", ".join(f"{source_fps / part:g}" for part in range(1, 7))
        raise UserError(
            f"--fps {fps:g} is no whole part of the recordings' {source_fps:g} frames a second. "
            f"Possible are {possible}, and so on."
        )
    return every


def compose_actions(
    actions: NDArray[np.float32], every: int, kinds: tuple[ActionKind, ...]
) -> NDArray[np.float32]:
    """(T - 1, A) at the source's rate -> (ceil(T / every) - 1, A) between kept frames."""
    num_kept = len(actions) // every
    intervals = actions[: num_kept * every].reshape(num_kept, every, actions.shape[1])
    adds_up = np.array([kind == "displacement" for kind in kinds], bool)
    return np.where(adds_up, intervals.sum(axis=1), intervals[:, -1]).astype(np.float32)


def override_kinds(
    rules: tuple[str, ...] | None, kinds: tuple[ActionKind, ...], names: tuple[str, ...]
) -> tuple[ActionKind, ...]:
    """The kinds by the reader, or by rules: one for all numbers, or one for each."""
    if rules is None:
        return kinds
    if any(rule not in KIND_OF for rule in rules) or len(rules) not in (1, len(kinds)):
        raise UserError(
            f"--actions takes sum or last, once or once for each of the {len(kinds)} numbers "
            f"({', '.join(names)}); got {','.join(rules)}."
        )
    given = rules * len(kinds) if len(rules) == 1 else rules
    return tuple(KIND_OF[rule] for rule in given)


def describe(names: tuple[str, ...], kinds: tuple[ActionKind, ...], every: int) -> str:
    """One line for people: which frames, and which rule for which number."""
    if every == 1:
        return "every frame and action"
    chosen = {
        kind: [name for name, its in zip(names, kinds, strict=True) if its == kind]
        for kind in ("displacement", "target")
    }
    rules = [
        *([f"{_listed(chosen['displacement'])} added up"] if chosen["displacement"] else []),
        *([f"{_listed(chosen['target'])} taken from the last"] if chosen["target"] else []),
    ]
    commands = f"; of the {every} commands between, {', '.join(rules)}" if rules else ""
    return f"one frame in {every}{commands}"


def _listed(names: list[str]) -> str:
    if len(names) > MANY_NAMES:
        return f"{len(names)} numbers ({', '.join(names[:2])}, ...)"
    return ", ".join(names)
