"""Frames of any size -> frames of the dataset's: cut, turned, made to fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from framecast.errors import UserError

Fit = Literal["crop", "letterbox", "stretch"]
Flip = Literal["none", "vertical", "horizontal", "both"]
SIZE_STEP = 16
FITTED = {"crop": "middle square", "letterbox": "letterboxed", "stretch": "stretched to a square"}


@dataclass(frozen=True)
class Geometry:
    """What is done to every frame, in this order: `box`, `flip`, `fit` to size x size.

    Args:
        size: pixels a side; pixels are averaged over areas.
        fit: the middle square, or the whole frame with black borders, or out of proportion.
        box: (left, top, width, height) in the source's pixels; what is outside is cut away.
        flip: vertical turns upside-down cameras; both turns by 180 degrees.
    """

    size: int = 64
    fit: Fit = "crop"
    box: tuple[int, int, int, int] | None = None
    flip: Flip = "none"

    def __post_init__(self) -> None:
        if self.size < SIZE_STEP or self.size % SIZE_STEP:
            raise UserError(f"--size should be a multiple of {SIZE_STEP}, got {self.size}.")

    def __str__(self) -> str:
        box = f"the box {','.join(map(str, self.box))}, " if self.box else ""
        turned = f"flipped ({self.flip}), " if self.flip != "none" else ""
        return f"{self.size}x{self.size}, {box}{turned}{FITTED[self.fit]}"

    def apply(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) -> (size, size, 3); one that is already right is handed back as it is."""
        if self.box is not None:
            frame = _cut(frame, self.box)
        if self.flip in ("vertical", "both"):
            frame = frame[::-1]
        if self.flip in ("horizontal", "both"):
            frame = frame[:, ::-1]
        if frame.shape[:2] == (self.size, self.size):
            return frame
        return _fitted(Image.fromarray(np.ascontiguousarray(frame)), self.size, self.fit)


def parse_box(text: str) -> tuple[int, int, int, int]:
    """`80,0,480,480` -> (left, top, width, height)."""
    try:
        left, top, width, height = (int(part) for part in text.split(","))
    except ValueError:
        left = top = width = height = -1
    if min(left, top) < 0 or min(width, height) < 1:
        raise UserError(f"--crop takes left,top,width,height in pixels, got {text!r}.")
    return left, top, width, height


def _cut(frame: NDArray[np.uint8], box: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    left, top, width, height = box
    if top + height > frame.shape[0] or left + width > frame.shape[1]:
        raise UserError(
            f"The box {left},{top},{width},{height} (left, top, width, height) does not fit into "
            f"frames of {frame.shape[1]}x{frame.shape[0]}."
        )
    return frame[top : top + height, left : left + width]


def _fitted(image: Image.Image, size: int, fit: Fit) -> NDArray[np.uint8]:
    width, height = image.size
    if fit == "stretch":
        return np.asarray(image.resize((size, size), Image.Resampling.BOX))
    if fit == "crop":
        side = min(height, width)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        return np.asarray(image.resize((size, size), Image.Resampling.BOX, box=box))
    scale = size / max(height, width)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = Image.new("RGB", (size, size))
    corner = ((size - inner[0]) // 2, (size - inner[1]) // 2)
    canvas.paste(image.resize(inner, Image.Resampling.BOX), corner)
    return np.asarray(canvas)
