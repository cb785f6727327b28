"""The report's pictures: films of sampled futures and strips of every predicted step."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from framecast import pictures
from framecast.clip import Clip
from framecast.data.windows import Windows
from framecast.evaluation.clips import ProtocolClips
from framecast.evaluation.protocols import Protocol
from framecast.evaluation.sampling import sample_futures, sampler_of
from framecast.models.base import VideoModel

NUM_CLIPS = 4
NUM_SAMPLES = 3  # in a film
NUM_SHOWN = 8  # to choose from with the slider; fewer where frames are large
MAX_WEBP = 16383  # pixels a side
SHEET_PIXELS = 9 * 30 * 64 * 64  # keeps the whole report below 15 MB


@dataclass(frozen=True)
class ClipPictures:
    """One test clip.

    Attributes:
        number: its place in the list of test clips.
        film: GIF of the truth beside sampled futures.
        strip: PNG with truth, prediction and difference for every scored step.
        sheet: all frames, the truth in the first row and a sample in every further one; WebP
            without loss, or PNG where it is too large for that.
        num_frames: columns of the sheet.
        num_samples: samples in the sheet.
    """

    number: int
    film: bytes
    strip: bytes
    sheet: bytes
    num_frames: int
    num_samples: int


def picture_clips(
    model: VideoModel[Any], clips: ProtocolClips, protocol: Protocol, film_frames: int
) -> list[ClipPictures]:
    """Films and strips of a few clips, spread evenly over the test clips, not chosen by eye."""
    return [_picture(model, clips, protocol, film_frames, n) for n in spread(len(clips))]


def spread(num_clips: int) -> list[int]:
    """The places of the clips that are shown."""
    numbers: list[int] = np.unique(np.linspace(0, num_clips - 1, NUM_CLIPS).astype(int)).tolist()
    return numbers


def _picture(
    model: VideoModel[Any], clips: ProtocolClips, protocol: Protocol, film_frames: int, number: int
) -> ClipPictures:
    pixels = model.spec.height * model.spec.width * max(protocol.num_frames, film_frames)
    shown = max(1, min(NUM_SHOWN, SHEET_PIXELS // pixels - 1))
    truth, futures = imagined(model, clips, protocol, film_frames, number, shown)
    films = {"truth": truth}
    films |= {f"future {i + 1}": future for i, future in enumerate(futures[:NUM_SAMPLES])}
    scored = slice(protocol.context, protocol.num_frames)
    rows = {
        "truth": truth[scored],
        "predicted": futures[0][scored],
        "difference": pictures.difference(futures[0][scored], truth[scored]),
    }
    steps = [f"+{step + 1}" for step in range(len(truth[scored]))]
    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in (truth, *futures)])
    return ClipPictures(
        number,
        pictures.film(films, protocol.context, model.spec.fps),
        pictures.png(pictures.strip(rows, steps, scale=2)),
        _compressed(sheet),
        len(truth),
        len(futures),
    )


def imagined(
    model: VideoModel[Any],
    clips: ProtocolClips,
    protocol: Protocol,
    num_frames: int,
    number: int,
    num_samples: int,
) -> tuple[pictures.Frames, list[pictures.Frames]]:
    """A clip and sampled futures of it, (T, H, W, 3) bytes each, context included.

    Longer than the protocol's clip where its episode goes on, up to `num_frames`.
    """
    clip = _longer(clips, number, max(protocol.num_frames, num_frames))
    if protocol.prior == "mean" or not model.latent_dim:
        num_samples = 1
    longer = replace(protocol, horizon=clip.num_frames - protocol.context)
    device = next(model.parameters()).device
    place = range(number, number + 1)
    sampler = sampler_of(model, longer)
    drawn = sample_futures(sampler, clip.to(device), longer, place, range(num_samples)).cpu()
    context = clip.float_frames(torch.float32)
    futures = [
        pictures.to_uint8(torch.cat([context[: protocol.context, 0], drawn[:, 0, sample]]).numpy())
        for sample in range(num_samples)
    ]
    return pictures.to_uint8(context[:, 0].numpy()), futures


def _compressed(sheet: pictures.Frames) -> bytes:
    image, buffer = Image.fromarray(sheet), io.BytesIO()
    if max(image.size) > MAX_WEBP:
        return pictures.png(image)
    image.save(buffer, "WEBP", lossless=True, quality=50)
    return buffer.getvalue()


def _longer(clips: ProtocolClips, number: int, num_frames: int) -> Clip:
    """The clip and what its episode holds after it, up to this many frames."""
    store, start = clips.windows.store, clips.starts[number]
    episode = int(np.searchsorted(store.ep_offset, start, side="right")) - 1
    end = int(store.ep_offset[episode] + store.ep_len[episode])
    length = min(num_frames, end - int(start))
    return Windows(store, length).at(np.array([start]))
