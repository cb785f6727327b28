"""Frames of a video, one at a time, by FFmpeg. Only ordinary container formats are opened."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from framecast.data.formats.base import check_image_size
from framecast.errors import UserError

# Playlists and the like would make FFmpeg open other files, or the network.
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,mpeg,mpegts,ogg,flv"
OPTIONS = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}


@dataclass(frozen=True)
class VideoFacts:
    """What a video says of itself; `num_frames` is a guess from its length."""

    width: int
    height: int
    fps: float
    num_frames: int
    codec: str


def look_at(path: Path) -> VideoFacts:
    """Raises UserError when it is no video."""
    try:
        with av.open(str(path), "r", options=OPTIONS) as container:
            if not container.streams.video:
                raise UserError(f"{path} holds no video.")
            stream = container.streams.video[0]
            fps = float(stream.average_rate or stream.guessed_rate or 0)
            seconds = (container.duration or 0) / 1e6
            return VideoFacts(
                *(stream.width, stream.height, fps),
                *(stream.frames or round(seconds * fps), stream.codec_context.name),
            )
    except (av.error.FFmpegError, OSError) as error:
        raise _not_a_video(str(path), error) from None


def decode(
    source: Path | bytes, where: str, start: float = 0.0
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Frames (H, W, 3) uint8 with their times in seconds, from the first at or after `start`.

    Raises UserError, naming `where`, when it cannot be decoded.
    """
    opened = str(source) if isinstance(source, Path) else io.BytesIO(source)
    try:
        with av.open(opened, "r", options=OPTIONS) as container:
            if not container.streams.video:
                raise UserError(f"{where} holds no video.")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            check_image_size(stream.width, stream.height, where)
            half_a_frame = 0.5 / float(stream.average_rate or 30)
            if start and stream.time_base:
                container.seek(int(start / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                check_image_size(frame.width, frame.height, where)
                time = float(frame.time or 0.0)
                if time >= start - half_a_frame:
                    yield time, np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    except (av.error.FFmpegError, OSError) as error:
        raise _not_a_video(where, error) from None


def _not_a_video(where: str, error: Exception) -> UserError:
    return UserError(f"{where} is not a video that can be decoded ({error}).")
