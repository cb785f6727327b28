"""The way to the current moment, as a film or as numbers.

Shape letters: K context frames, P steps, N futures, H W image, A action.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import numpy as np

from framecast import pictures
from framecast.errors import UserError
from framecast.steering.moments import Moment
from framecast.steering.session import Session
from framecast.steering.truth import in_colour

MAX_FILM = 120  # frames; the latest ones
MAX_WIDTH = 1200  # pixels of a film


def film(session: Session) -> bytes:
    """A GIF: the truth, then every future, context included."""
    path, context = _path(session), in_colour(session.beginning.frames)
    futures = min(session.futures, *(len(moment.frames) for moment in path))
    columns: dict[str, list[np.ndarray]] = {}
    if path[-1].truth is not None:
        columns["truth"] = [m.truth.picture for m in path if m.truth is not None]
    for future in range(futures):
        columns[f"future {future + 1}"] = [moment.frames[future] for moment in path]
    films = {
        label: np.concatenate([context, np.stack(frames)])[-MAX_FILM:]
        for label, frames in columns.items()
    }
    width = session.model.spec.width
    scale = max(1, min(4, MAX_WIDTH // (len(films) * width)))
    num_context = max(0, min(len(context) + len(path), MAX_FILM) - len(path))
    return pictures.film(films, num_context, session.model.spec.fps, scale)


def numbers(session: Session) -> bytes:
    """A compressed npz of everything.

    context (K, H, W, 3), context_actions (K - 1, A), futures (P, N, H, W, 3) uint8, actions (P, A),
    seeds (P,) with -1 for the prior's mean, psnr (P, N) in dB and truth (P', H, W, 3) for as long
    as it is known; `about` is JSON: the clip spec, the start, and whether each true frame was led
    to by the same commands.
    """
    path, beginning = _path(session), session.beginning
    futures = min(session.futures, *(len(moment.frames) for moment in path))
    known = [moment for moment in path if moment.truth is not None]
    about = {
        "clip_spec": json.loads(session.model.spec.to_json()),
        "start": session.start.to_dict(),
        "truth": beginning.truth.kind,
        "commanded": [moment.truth is not None and moment.truth.commanded for moment in path],
    }
    steps = [moment.step for moment in path if moment.step is not None]
    empty = np.zeros((0, *path[0].frames.shape[1:]), np.uint8)
    arrays = {
        "context": in_colour(beginning.frames),
        "context_actions": beginning.actions,
        "futures": np.stack([moment.frames[:futures] for moment in path]),
        "actions": np.stack([step.action for step in steps]),
        "seeds": np.array([-1 if step.seed is None else step.seed for step in steps]),
        "psnr": np.array([moment.psnr[:futures] for moment in known], np.float32),
        "truth": np.stack([m.truth.picture for m in known if m.truth]) if known else empty,
        "about": np.array(json.dumps(about)),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _path(session: Session) -> list[Moment]:
    path = session.current.path() if session.moments else []
    if not path:
        raise UserError("There is nothing to save yet: take a step first.")
    return path


FORMATS: dict[str, Callable[[Session], bytes]] = {"gif": film, "npz": numbers}
