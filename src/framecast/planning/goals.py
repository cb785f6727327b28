"""Goals as a person writes them, turned into costs.

    reach=X,Y,Z          the robot's state: its first numbers, in its own units
    pixel=C,R:C,R        what is at the first pixel should go to the second (column, row)
    image=FILE           the picture should become this one; on a recorded clip, image=+N is the
                         clip's own frame N steps on
    module:function      your own cost of imagined futures

each with an optional weight behind an @, as in `image=goal.png@0.5`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from framecast.clip import ClipSpec
from framecast.errors import UserError
from framecast.planning.costs import (
    Cost,
    Custom,
    DesignatedPixel,
    EndEffector,
    GoalImage,
    WeightedSum,
    image_tensor,
)
from framecast.planning.handmap import HandMap

Frames = NDArray[np.uint8]
GoalKind = Literal["reach", "pixel", "image", "custom"]
MAX_PIXELS = 4096 * 4096
FORMS = "reach=X,Y,Z, pixel=C,R:C,R, image=FILE or module:function, and @WEIGHT behind it"


@dataclass(frozen=True)
class Goal:
    """One parsed goal; `text` is what follows the kind."""

    kind: GoalKind
    text: str
    weight: float


def parse_goal(text: str) -> Goal:
    """Raises UserError for what is not a goal."""
    body, at, weight_text = text.partition("@")
    try:
        weight = float(weight_text) if at else 1.0
    except ValueError:
        raise UserError(f"The weight behind the @ of {text!r} is not a number.") from None
    kind, equals, rest = body.partition("=")
    if equals and kind in ("reach", "pixel", "image"):
        return Goal(kind, rest, weight)  # type: ignore[arg-type]
    if not equals and ":" in body:
        return Goal("custom", body, weight)
    raise UserError(f"A goal is {FORMS}; got {text!r}.")


def cost_of(
    goals: list[Goal],
    frame: Tensor,
    spec: ClipSpec,
    hand_eye: HandMap | None,
    later: Frames | None = None,
) -> Cost:
    """The weighted sum of goals in a scene whose first frame is (C, H, W).

    `later` are the frames (T, H, W, C) after it, where it is a recorded clip's.
    """
    costs = [_cost(goal, frame, spec, hand_eye, later) for goal in goals]
    if len(costs) == 1 and goals[0].weight == 1:
        return costs[0]
    return WeightedSum(costs, [goal.weight for goal in goals])


def goal_picture(goals: list[Goal], spec: ClipSpec, later: Frames | None = None) -> Frames | None:
    """The first goal image (H, W, C), where there is one."""
    images = [goal for goal in goals if goal.kind == "image"]
    return _picture(images[0].text, spec, later) if images else None


def pixels_of(goal: Goal) -> tuple[tuple[float, float], tuple[float, float]]:
    """From and to, of a pixel goal."""
    first, _, second = goal.text.partition(":")
    points = [_numbers(part, goal) for part in (first, second)]
    if any(len(point) != 2 for point in points):
        raise UserError(f"A pixel goal is pixel=COLUMN,ROW:COLUMN,ROW; got pixel={goal.text}.")
    return (points[0][0], points[0][1]), (points[1][0], points[1][1])


def _cost(
    goal: Goal, frame: Tensor, spec: ClipSpec, hand_eye: HandMap | None, later: Frames | None
) -> Cost:
    if goal.kind == "reach":
        return EndEffector(_numbers(goal.text, goal), spec)
    if goal.kind == "image":
        return GoalImage(image_tensor(_picture(goal.text, spec, later)), spec)
    if goal.kind == "custom":
        return Custom.of(goal.text)
    pixel, target = pixels_of(goal)
    return DesignatedPixel(frame, pixel, target, spec, hand_eye)


def _numbers(text: str, goal: Goal) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not np.isfinite(numbers).all():
        raise UserError(f"Expected numbers with commas between, got {goal.kind}={goal.text}.")
    return numbers


def _picture(path: str, spec: ClipSpec, later: Frames | None) -> Frames:
    """(H, W, C) as the model's frames have it; the size is checked by the cost."""
    if later is not None and path.startswith("+"):
        if not path[1:].isdigit() or not 1 <= int(path[1:]) <= len(later):
            raise UserError(f"On this clip, image=+N takes 1 to {len(later)} steps; got {path}.")
        frame: Frames = later[int(path[1:]) - 1]
        return frame
    if not Path(path).is_file():
        raise UserError(f"There is no goal image {path}.")
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UserError(
                    f"The goal image {path} is {image.width}x{image.height}: too large."
                )
            mode = "L" if spec.channels == 1 else "RGB"
            picture = np.asarray(image.convert(mode))
    except (UnidentifiedImageError, OSError, SyntaxError):
        raise UserError(f"{path} is not an image that can be read.") from None
    return picture[..., None] if picture.ndim == 2 else picture
