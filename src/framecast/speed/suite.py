"""What `framecast bench` times, each beside a plain way to do the same, with its goal.

The training steps and the samples are those of SVG-LP without a condition at the published sizes:
12 clips of 12 frames of 64x64, or 100 futures of 28 frames after 2.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.optim import Adam
from torch.utils.flop_counter import FlopCounterMode

from framecast.clip import Clip, ClipSpec, VectorSpec
from framecast.data.episodes import EpisodeStore
from framecast.data.exports import export_dataset, open_splits
from framecast.data.formats import open_recordings
from framecast.data.importing import ImportOptions, import_recordings
from framecast.data.windows import Windows
from framecast.evaluation.protocols import PRESETS
from framecast.evaluation.sampling import clip_noise, sample_futures, sampler_of
from framecast.metrics import METRICS
from framecast.models.config import ImageNetwork, SvgConfig
from framecast.models.course import CourseModel
from framecast.recording import Recording, record
from framecast.speed.pairs import Benchmark
from framecast.speed.plain import PlainSvg
from framecast.training.optimizers import build_optimizer
from framecast.training.settings import OptimizerConfig

BATCH, FRAMES, CONTEXT = 12, 12, 2
BETA = 1e-4
WORKERS = 2
EPISODE = 30  # frames of a recorded episode
PLAIN_SAMPLES = {"dcgan": 10, "vgg": 2}  # of 100: one sample after another takes as long each
SVG = PRESETS["svg"]
NETWORKS: tuple[ImageNetwork, ...] = get_args(ImageNetwork)
Build = Callable[[Path], Benchmark]


def benchmarks(quick: bool) -> dict[str, Build]:
    """By name; each is built in a folder of its own when its turn comes."""
    chosen: dict[str, Build] = {
        "cli_help": lambda _: cli_help(),
        "load_windows": load_windows,
        "pusher_episodes": lambda folder: pusher_episodes(folder, 16 if quick else 60),
        "train_step_dcgan64": lambda _: train_step("dcgan", teacher_forcing=True),
        "train_step_rollout_dcgan64": lambda _: train_step("dcgan", teacher_forcing=False),
        "train_step_vgg64": lambda _: train_step("vgg", teacher_forcing=True),
        "sample_dcgan64": lambda _: sample("dcgan"),
        "sample_vgg64": lambda _: sample("vgg"),
    }
    if not quick:
        chosen["import_course"] = lambda folder: import_course(folder, 40)
        chosen["evaluate_best_of_20"] = lambda _: best_of_20()
    return chosen


@contextmanager
def workspace() -> Iterator[Path]:
    with TemporaryDirectory(prefix="framecast-bench-") as folder:
        yield Path(folder)


def train_step(image_network: ImageNetwork, teacher_forcing: bool) -> Benchmark:
    """One optimisation step, the frames' conversion to floats included."""
    model, clip = _model(image_network).train(), _clip(FRAMES, BATCH)
    plain = PlainSvg(model).train()
    noise = torch.randn(FRAMES - 1, BATCH, model.latent_dim)
    truth = torch.full((FRAMES - 1, BATCH), teacher_forcing)
    optimizer = build_optimizer(OptimizerConfig(), model)
    plain_optimizers = [Adam(network.parameters(), lr=2e-3) for network in plain.children()]

    def ours() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.loss(clip, BETA, truth, noise).total
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def plainly() -> None:
        frames = clip.frames.contiguous().float() / 255
        loss, _ = plain.loss(frames, BETA, noise, teacher_forcing)
        plain.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for each in plain_optimizers:
            each.step()

    goals = {"vgg": 8.0, "dcgan": 6.0} if teacher_forcing else {"dcgan": 3.0}
    kind = "" if teacher_forcing else "_rollout"
    return Benchmark(
        name=f"train_step{kind}_{image_network}64",
        title=f"training step, {image_network}64"
        + ("" if teacher_forcing else ", teacher forcing 0"),
        goal=goals[image_network],
        ours=ours,
        plain=plainly,
        flops=_operations(ours),
    )


def sample(image_network: ImageNetwork) -> Benchmark:
    """100 futures of 28 frames of one clip."""
    model, clip = _model(image_network).eval(), _clip(SVG.context + SVG.horizon, 1)
    plain = PlainSvg(model).eval()
    protocol = replace(SVG, precision="bfloat16")

    def ours() -> None:
        sampler = sampler_of(model, protocol)
        sample_futures(sampler, clip, protocol, range(1), range(SVG.num_samples))

    def plainly() -> None:
        context = clip.frames[: SVG.context].contiguous().float() / 255
        for number in range(PLAIN_SAMPLES[image_network]):
            plain.sample(context, clip_noise(model, protocol, range(1), number))

    return Benchmark(
        name=f"sample_{image_network}64",
        title=f"{SVG.num_samples} futures of {SVG.horizon} frames, {image_network}64",
        goal={"vgg": 15.0, "dcgan": 10.0}[image_network],
        ours=ours,
        plain=plainly,
        share=PLAIN_SAMPLES[image_network] / SVG.num_samples,
        flops=_operations(ours),
    )


def load_windows(folder: Path) -> Benchmark:
    """A batch as floats on the device, against the course's PNG files and CSV tables."""
    dataset, pngs = _recorded(folder, 10), folder / "course"
    export_dataset(open_splits(dataset), pngs, "course", False, lambda _: None)
    windows = Windows(EpisodeStore.open(dataset, "train"), FRAMES)
    sequences = sorted(path.parent for path in pngs.glob("train/*/*/actions.csv"))
    device, steps = torch.device("cpu"), iter(range(1_000_000))
    batches = 20

    def ours() -> None:
        for _ in range(batches):
            clip = windows.sample(seed=0, step=next(steps), batch_size=BATCH).to(device)
            clip.float_frames(torch.float32)

    def plainly() -> None:
        for number in range(BATCH):
            _load_plainly(sequences[number % len(sequences)], FRAMES)

    return Benchmark(
        name="load_windows",
        title=f"loading {BATCH} clips of {FRAMES} frames, against PNG and CSV",
        goal=150.0,
        ours=ours,
        plain=plainly,
        share=1 / batches,
    )


def pusher_episodes(folder: Path, episodes: int) -> Benchmark:
    """Episodes of 30 frames a second, starting the workers and writing the dataset included."""
    numbers = iter(range(1_000_000))

    def ours() -> None:
        out = folder / f"pusher_{next(numbers)}"
        recording = Recording("framecast/Pusher-v0", num_episodes=episodes)
        record(recording, out, (0.8, 0.1, 0.1), WORKERS, False, lambda _: None)

    return Benchmark(
        name="pusher_episodes",
        title=f"recording the pusher, {WORKERS} workers",
        goal=25.0,
        ours=ours,
        rate=episodes,
        unit="episodes/s",
    )


def cli_help() -> Benchmark:
    """How often `framecast --help` could run in .3 seconds; the goal is once."""
    command = [sys.executable, "-c", "from framecast.cli import main; main(['--help'])"]
    return Benchmark(
        name="cli_help",
        title="framecast --help, in .3 s",
        goal=1.0,
        ours=lambda: subprocess.run(command, check=True, capture_output=True),
        rate=0.3,
        unit="times",
    )


def import_course(folder: Path, episodes: int) -> Benchmark:
    """The course's folders into a dataset, against reading them plainly into one array."""
    pngs, numbers = folder / "course", iter(range(1_000_000))
    dataset = _recorded(folder, episodes)
    export_dataset(open_splits(dataset), pngs, "course", False, lambda _: None)
    sequences = sorted(path.parent for path in pngs.glob("*/*/*/actions.csv"))

    def ours() -> None:
        out = folder / f"imported_{next(numbers)}"
        import_recordings(open_recordings(pngs), out, ImportOptions(), False, 1, lambda *_: None)

    def plainly() -> None:
        frames = torch.stack([_load_plainly(sequence, EPISODE) for sequence in sequences])
        np.save(folder / "frames.npy", frames.numpy())

    return Benchmark(
        name="import_course",
        title="importing the course's folders, one process, statistics and checks included",
        goal=1.0,
        ours=ours,
        plain=plainly,
    )


def best_of_20() -> Benchmark:
    """20 futures of 4 clips and all metrics, against one sample and one frame at a time."""
    model, num_clips, num_samples = _model("dcgan").eval(), 4, 20
    clip = _clip(FRAMES, num_clips)
    plain = PlainSvg(model).eval()
    horizon = FRAMES - CONTEXT
    protocol = replace(SVG, horizon=horizon, num_samples=num_samples, precision="bfloat16")
    places = range(num_clips)

    def ours() -> None:
        sampler = sampler_of(model, protocol)
        futures = sample_futures(sampler, clip, protocol, places, range(num_samples))
        true = clip.float_frames(torch.float32)[CONTEXT:, :, None]
        for future, truth in zip(futures, true, strict=True):
            for metric in METRICS.values():
                metric.function(future, truth)

    def plainly() -> None:
        true = clip.frames.contiguous().float() / 255
        for place in places:
            alone = slice(place, place + 1)
            future = plain.sample(true[:CONTEXT, alone], clip_noise(model, protocol, places[alone]))
            for frame, truth in zip(future[:, 0], true[CONTEXT:, place], strict=True):
                for metric in METRICS.values():
                    metric.function(frame, truth)

    return Benchmark(
        name="evaluate_best_of_20",
        title=f"scoring {num_samples} futures of {num_clips} clips, dcgan64",
        goal=5.0,
        ours=ours,
        plain=plainly,
        share=1 / num_samples,
    )


def _model(image_network: ImageNetwork) -> CourseModel:
    torch.manual_seed(0)
    return CourseModel(SvgConfig(image_network=image_network), _spec(), CONTEXT)


def _spec() -> ClipSpec:
    action = VectorSpec(("x",), ("1",), (0.0,), (1.0,), (-1.0,), (1.0,))
    return ClipSpec(64, 64, 3, 10.0, action, None, "made up")


def _clip(num_frames: int, batch_size: int) -> Clip:
    shape = (num_frames, batch_size, 64, 64, 3)
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    actions = torch.zeros(num_frames - 1, batch_size, 1)
    return Clip(frames.permute(0, 1, 4, 2, 3), actions)


def _recorded(folder: Path, episodes: int) -> Path:
    recording = Recording("framecast/Pusher-v0", num_episodes=episodes)
    record(recording, folder / "pusher", (0.8, 0.1, 0.1), WORKERS, False, lambda _: None)
    return folder / "pusher"


def _load_plainly(sequence: Path, num_frames: int) -> Tensor:
    """The first frames (T, C, H, W) of one sequence, as the course's students load them."""
    for table in ("actions.csv", "endeffector_positions.csv"):
        torch.from_numpy(np.loadtxt(sequence / table, delimiter=",", dtype=np.float32))
    frames = []
    for step in range(num_frames):
        picture = np.asarray(Image.open(sequence / f"{step}.png").convert("RGB"))
        frames.append(torch.from_numpy(picture.astype(np.float32) / 255).permute(2, 0, 1))
    return torch.stack(frames)


def _operations(work: Callable[[], Any]) -> float:
    """Floating point operations of convolutions and matrix products."""
    counter, threads = FlopCounterMode(display=False), torch.get_num_threads()
    torch.set_num_threads(1)  # it counts in its own thread only
    with counter:
        work()
    torch.set_num_threads(threads)
    return float(counter.get_total_flops())
