"""What a planner saw, imagined and did, as an animated GIF.

Shape letters: T frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from framecast import pictures
from framecast.planning.control import Decision
from framecast.planning.costs import Cost, DesignatedPixel, WeightedSum

Frames = NDArray[np.uint8]
THING, GOAL = (255, 235, 60), (60, 255, 90)  # colours of the rings around a mark and its goal


def control_film(
    truth: Sequence[Frames],
    decisions: Sequence[Decision],
    places: Sequence[Tensor],
    cost: Cost,
    goal: Frames | None,
    fps: float,
) -> bytes:
    """Truth, what the running plan imagined of this moment, how it imagined its end, the goal.

    Rings show the designated things (yellow) and where they should go (green).

    Args:
        truth: T frames (H, W, C); frame t was seen after t actions.
        places: T times (M, 2), where the marks were found.
        goal: (H, W, C), or None where the goal is not a picture.
    """
    frames = np.stack([_rgb(frame) for frame in truth])
    imagined, ends = frames.copy(), frames.copy()
    for index, decision in enumerate(decisions):
        future = pictures.to_uint8(decision.imagined.cpu().numpy())
        following = decisions[index + 1].step if index + 1 < len(decisions) else len(frames) - 1
        for step in range(decision.step + 1, following + 1):
            imagined[step] = future[min(step - decision.step, len(future)) - 1]
        ends[decision.step : following + 1] = future[-1]
    targets = pixel_goals(cost)
    for step, found in enumerate(places):
        for shown in (frames[step], imagined[step], ends[step]):
            ring(shown, targets, GOAL)
        ring(frames[step], [tuple(place) for place in found.tolist()], THING)
    columns = {"truth": frames, "imagined": imagined, "plan's end": ends}
    if goal is not None:
        columns["goal"] = np.repeat(_rgb(goal)[None], len(frames), axis=0)
    return pictures.film(columns, num_context=1, fps=fps)


def plan_film(
    recorded: Frames, futures: Sequence[Frames], cost: Cost, goal: Frames | None, fps: float
) -> bytes:
    """What was recorded beside the best imagined futures, all from the same present.

    Args:
        recorded: (T, H, W, C), the present first.
        futures: of (T - 1, H, W, 3) each, best first.
    """
    present = _rgb(recorded[0])
    columns = {"recorded": np.stack([_rgb(frame) for frame in recorded])}
    for index, future in enumerate(futures):
        name = "best plan" if index == 0 else f"plan {index + 1}"
        columns[name] = np.concatenate([present[None], future])
    for frames in columns.values():
        for frame in frames:
            ring(frame, pixel_goals(cost), GOAL)
    if goal is not None:
        columns["goal"] = np.repeat(_rgb(goal)[None], len(recorded), axis=0)
    return pictures.film(columns, num_context=1, fps=fps)


def pixel_goals(cost: Cost) -> list[tuple[float, ...]]:
    """Where designated things should go."""
    if isinstance(cost, WeightedSum):
        return [goal for part in cost.costs for goal in pixel_goals(part)]
    return [tuple(cost.goal.tolist())] if isinstance(cost, DesignatedPixel) else []


def ring(frame: Frames, places: Sequence[tuple[float, ...]], colour: tuple[int, ...]) -> None:
    """Draw rings of pixels around places (across, down), in place."""
    height, width = frame.shape[:2]
    down, across = np.mgrid[:height, :width] + 0.5
    for place in places:
        gap = np.hypot(across - place[0], down - place[1])
        frame[(gap > 2.2) & (gap < 3.2)] = colour


def _rgb(frame: Frames) -> Frames:
    return np.repeat(frame, 3, axis=-1) if frame.shape[-1] == 1 else np.array(frame)
