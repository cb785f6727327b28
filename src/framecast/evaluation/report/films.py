"""The report's pictures: films of sampled futures and strips of every predicted step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from framecast import pictures
from framecast.clip import Clip
from framecast.data.windows import Windows
from framecast.evaluation.evaluate import ProtocolClips, clip_noise
from framecast.evaluation.protocols import Protocol
from framecast.models.base import VideoModel

NUM_CLIPS = 4
NUM_SAMPLES = 3


@dataclass(frozen=True)
class ClipPictures:
    """One test clip.

    Attributes:
        number: its place in the list of test clips.
        film: GIF of the truth beside sampled futures.
        strip: PNG with truth, prediction and difference for every scored step.
    """

    number: int
    film: bytes
    strip: bytes


def picture_clips(
    model: VideoModel[Any], clips: ProtocolClips, protocol: Protocol, film_frames: int
) -> list[ClipPictures]:
    """Films and strips of a few clips, spread evenly over the test clips, not chosen by eye."""
    numbers = np.unique(np.linspace(0, len(clips) - 1, NUM_CLIPS).astype(int)).tolist()
    return [_picture(model, clips, protocol, film_frames, number) for number in numbers]


def _picture(
    model: VideoModel[Any], clips: ProtocolClips, protocol: Protocol, film_frames: int, number: int
) -> ClipPictures:
    clip = _longer(clips, number, max(protocol.num_frames, film_frames))
    true = clip.float_frames(torch.float32)
    horizon = clip.num_frames - protocol.context
    films = {"truth": pictures.to_uint8(true[:, 0].numpy())}
    for sample in range(NUM_SAMPLES):
        future = _sample(model, clip, protocol, number, sample, horizon)
        whole = torch.cat([true[: protocol.context], future])
        films[f"future {sample + 1}"] = pictures.to_uint8(whole[:, 0].numpy())
    scored = slice(protocol.context, protocol.num_frames)
    truth, predicted = films["truth"][scored], films["future 1"][scored]
    rows = {
        "truth": truth,
        "predicted": predicted,
        "difference": pictures.difference(predicted, truth),
    }
    steps = [f"+{step + 1}" for step in range(len(truth))]
    fps = model.spec.fps
    return ClipPictures(
        number,
        pictures.film(films, protocol.context, fps),
        pictures.png(pictures.strip(rows, steps, scale=2)),
    )


def _longer(clips: ProtocolClips, number: int, num_frames: int) -> Clip:
    """The clip and what its episode holds after it, up to this many frames."""
    store, start = clips.windows.store, clips.starts[number]
    episode = int(np.searchsorted(store.ep_offset, start, side="right")) - 1
    end = int(store.ep_offset[episode] + store.ep_len[episode])
    length = min(num_frames, end - int(start))
    return Windows(store, length).at(np.array([start]))


def _sample(
    model: VideoModel[Any],
    clip: Clip,
    protocol: Protocol,
    number: int,
    sample: int,
    horizon: int,
) -> torch.Tensor:
    device = next(model.parameters()).device
    longer = Protocol(**(protocol.to_dict() | {"horizon": horizon}))  # type: ignore[arg-type]
    noise = clip_noise(model, longer, range(number, number + 1), sample).to(device)
    given = protocol.states == "given"
    return model.predict(clip.to(device), protocol.context, noise, given).cpu()
