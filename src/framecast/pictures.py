"""Frames as pictures: strips and films that people look at.

Shape letters: T frames, H height, W width.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Frames = NDArray[np.uint8]  # (T, H, W, 3)
INK, PAPER, ACCENT = (40, 42, 48), (255, 255, 255), (214, 84, 32)
GAP = 3
MAX_GIF_COLOURS = 256


def to_uint8(frames: NDArray[np.floating]) -> Frames:
    """(..., C, H, W) floats in [0, 1] -> (..., H, W, 3) bytes; grey becomes RGB."""
    images = np.moveaxis(np.asarray(frames), -3, -1)
    images = np.round(images.clip(0, 1) * 255).astype(np.uint8)
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images


def difference(predicted: Frames, true: Frames) -> Frames:
    """Absolute error as brightness: black is none, white is a third of the range or more."""
    error = np.abs(predicted.astype(np.int16) - true.astype(np.int16)).max(axis=-1)
    bright = np.clip(error * 3, 0, 255).astype(np.uint8)
    return np.repeat(bright[..., None], 3, axis=-1)


def strip(rows: Mapping[str, Frames], steps: Sequence[str], scale: int = 1) -> Image.Image:
    """Labelled rows of frames, time to the right, a heading over each column."""
    height, width = (scale * size for size in next(iter(rows.values())).shape[1:3])
    font = ImageFont.load_default(size=11)
    left = 6 + max(int(font.getlength(label)) for label in rows)
    top = 16
    size = (left + len(steps) * (width + GAP), top + len(rows) * (height + GAP))
    picture = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(picture)
    for column, step in enumerate(steps):
        centre = left + column * (width + GAP) + width // 2
        draw.text((centre, 1), step, INK, font, anchor="ma")
    for row, (label, frames) in enumerate(rows.items()):
        y = top + row * (height + GAP)
        draw.text((2, y + height // 2), label, INK, font, anchor="lm")
        for column, frame in enumerate(frames):
            picture.paste(_enlarged(frame, scale), (left + column * (width + GAP), y))
    return picture


def film(columns: Mapping[str, Frames], num_context: int, fps: float, scale: int = 3) -> bytes:
    """An animated GIF: labelled films side by side.

    While the context plays, a line under the films is grey; it turns orange where the models
    predict. The last frame stays for a second.
    """
    font = ImageFont.load_default(size=12)
    num_frames, height, width = next(iter(columns.values())).shape[:3]
    height, width = height * scale, width * scale
    size = (len(columns) * (width + GAP) - GAP, height + 26)
    pages = []
    for step in range(num_frames):
        page = Image.new("RGB", size, PAPER)
        draw = ImageDraw.Draw(page)
        colour = INK if step < num_context else ACCENT
        for column, (label, frames) in enumerate(columns.items()):
            x = column * (width + GAP)
            page.paste(_enlarged(frames[step], scale), (x, 18))
            draw.text((x + width // 2, 2), label, INK, font, anchor="ma")
        done = int(size[0] * (step + 1) / num_frames)
        draw.rectangle((0, height + 21, done, height + 25), fill=colour)
        pages.append(page)
    durations = [int(1000 / fps)] * (num_frames - 1) + [1000]
    return _gif(pages, durations)


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _gif(pages: list[Image.Image], durations: list[int]) -> bytes:
    # One palette for the whole film: separate ones would make still parts flicker.
    sheet = Image.new("RGB", (pages[0].width, pages[0].height * len(pages)))
    for index, page in enumerate(pages):
        sheet.paste(page, (0, index * page.height))
    palette = sheet.quantize(MAX_GIF_COLOURS, Image.Quantize.MEDIANCUT)
    frames = [page.quantize(palette=palette, dither=Image.Dither.NONE) for page in pages]
    buffer = io.BytesIO()
    frames[0].save(
        buffer, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0
    )
    return buffer.getvalue()


def _enlarged(frame: NDArray[np.uint8], scale: int) -> Image.Image:
    image = Image.fromarray(frame)
    if scale == 1:
        return image
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
