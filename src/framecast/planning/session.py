"""Planning until done: in an environment, or once on a recorded clip.

Shape letters: T frames, H W C image.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from framecast import pictures
from framecast.planning.control import Controller, Decision
from framecast.planning.films import control_film, plan_film
from framecast.recording import Recorder

Frames = NDArray[np.uint8]
Progress = Callable[[int, str], None]


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        document: every decision, as JSON; the same seed gives the same but for the seconds.
        film: an animated GIF.
    """

    document: dict[str, Any]
    film: bytes

    def write(self, folder: Path) -> tuple[Path, Path]:
        """plan.gif and plan.json, each moved into place when whole."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.document, indent=1).encode()
        paths = folder / "plan.gif", folder / "plan.json"
        for path, content in zip(paths, (self.film, text), strict=True):
            partial = path.with_name(f".{path.name}.partial")
            partial.write_bytes(content)
            os.replace(partial, path)
        return paths


def control(
    controller: Controller,
    recorder: Recorder,
    observation: Any,
    info: dict[str, Any],
    num_steps: int,
    goal: Frames | None,
    progress: Progress,
) -> Outcome:
    """Plan, act, look again in an environment that has just been reset, until done."""
    frame, state = recorder.look(observation, info)
    controller.start(frame, state)
    truth: list[Frames] = [frame]
    places: list[Tensor] = [controller.places]
    actions: list[list[float]] = []
    ended = False
    while len(actions) < num_steps and not ended and not controller.is_done():
        action = controller.act()
        observation, _, terminated, truncated, info = recorder.env.step(action)
        ended = bool(terminated or truncated)
        frame, state = recorder.look(observation, info)
        controller.observe(action, frame, state)
        truth.append(frame)
        places.append(controller.places)
        actions.append([float(f"{value:.6g}") for value in action])
        remaining = controller.cost.remaining(controller.present)
        progress(1, f"{remaining:.3g} to go" if np.isfinite(remaining) else "")
    fps = controller.model.spec.fps
    film = control_film(truth, controller.decisions, places, controller.cost, goal, fps)
    return Outcome(_document(controller, actions), film)


def plan_once(controller: Controller, recorded: Frames, goal: Frames | None) -> Outcome:
    """One decision from a present that the controller has been shown; nothing is carried out.

    Args:
        recorded: (T, H, W, C) the present and what was recorded after it.
    """
    decision = controller.decide()
    futures = [pictures.to_uint8(decision.imagined.cpu().numpy())]
    runners_up = decision.plan.runners_up
    if len(runners_up):
        first = torch.arange(len(runners_up)) * controller.imagination.samples
        frames = controller.imagine(runners_up, first).frames
        futures += [pictures.to_uint8(frames[:, one].cpu().numpy()) for one in range(len(first))]
    horizon = len(futures[0])
    shown = recorded[: horizon + 1]
    missing = horizon + 1 - len(shown)
    shown = np.concatenate([shown, np.repeat(shown[-1:], missing, axis=0)])
    film = plan_film(shown, futures, controller.cost, goal, controller.model.spec.fps)
    return Outcome(_document(controller, []), film)


def _document(controller: Controller, actions: list[list[float]]) -> dict[str, Any]:
    decisions: list[Decision] = controller.decisions
    remaining = controller.cost.remaining(controller.present)
    seconds = [decision.seconds for decision in decisions]
    return {
        "reached": controller.is_done(),
        "remaining": float(f"{remaining:.6g}") if np.isfinite(remaining) else None,
        "steps": len(actions),
        "seconds_per_decision": round(float(np.mean(seconds)), 3) if seconds else None,
        "action_names": list(controller.box.spec.names),
        "actions": actions,
        "decisions": [decision.to_dict() for decision in decisions],
    }
