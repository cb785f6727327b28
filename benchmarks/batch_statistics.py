"""Is a model worse because evaluation uses running statistics? Scores a run both ways.

The published SVG code generates with its encoder and decoder in training mode, where batch
normalisation uses the statistics of the clips at hand; framecast always evaluates with running
statistics. Where the second is much lower, the running statistics are those of other frames than
the ones a rollout meets: a mismatch of training and evaluation, not a model that cannot predict.

    python benchmarks/batch_statistics.py runs/first
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from framecast.data.episodes import EpisodeStore
from framecast.data.windows import Windows
from framecast.metrics import psnr
from framecast.models.norms import StepwiseBatchNorm1d, StepwiseBatchNorm2d
from framecast.training.runs import Run
from framecast.training.schedules import latent_noise

NUM_CLIPS = 48


@torch.no_grad()
def main(folder: Path) -> None:
    run = Run.open(folder)
    recipe, model = run.recipe(), run.load_model(run.default_checkpoint())
    windows = Windows(EpisodeStore.open(run.dataset(), "validation"), recipe.num_frames)
    context, batch_size = recipe.clips.context, recipe.clips.batch_size
    starts = windows.disjoint()[:NUM_CLIPS]
    for name, of_the_batch in (("running statistics", False), ("the batch's own", True)):
        for layer in model.modules():
            if isinstance(layer, StepwiseBatchNorm1d | StepwiseBatchNorm2d):
                layer.training, layer.momentum = of_the_batch, 0.0
        scores = []
        for clip in windows.batches(starts, batch_size):
            shape = (clip.num_frames - context, clip.batch_size, model.latent_dim)
            future = model.predict(clip, context, latent_noise(shape, 0, 0), states_given=True)
            scores.append(psnr(future, clip.float_frames(torch.float32)[context:]))
        print(f"{name:<20} {float(torch.cat(scores, dim=1).mean()):.2f} dB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
