"""On the pusher the truth is known: its futures can be simulated again and again."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from framecast.cli import main
from framecast.data.episodes import EpisodeStore
from framecast.errors import UserError
from framecast.evaluation.clips import ProtocolClips
from framecast.evaluation.detectors import ArmDetector, metres_a_pixel, pixels_of
from framecast.evaluation.protocols import Protocol
from framecast.evaluation.seeds import StoredEpisodes
from framecast.evaluation.true_futures import TrueFutures, energy_distance
from tests.conftest import TINY, Outcome

Command = Callable[..., Outcome]
SHORT = Protocol("short", context=2, horizon=4)


@pytest.fixture(scope="module")
def pusher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "pusher"
    options = ["--episodes", "20", "--frames", "13", "--split", "0.7,0.1,0.2", "--seed", "3"]
    assert main(["record", "framecast/Pusher-v0", "--out", str(folder), *options]) == 0
    return folder


@pytest.fixture(scope="module")
def world(pusher: Path) -> TrueFutures:
    return TrueFutures.of(ProtocolClips.of(pusher, SHORT), SHORT, num_futures=4)


def test_every_stored_episode_is_found_again_in_the_simulator(pusher: Path):
    for split in ("validation", "test"):
        store = EpisodeStore.open(pusher, split)
        episodes = StoredEpisodes(store)
        for episode in range(store.num_episodes):
            episodes.bring_to(episode, 12)  # compares pictures


def test_true_futures_start_from_the_context_and_part_afterwards(world: TrueFutures):
    place = 1  # the second window of an episode: its start is not the episode's
    futures = world.simulate(place)
    clip = world.clips.batch(slice(place, place + 1))
    assert futures.frames.shape == (4, 4, 64, 64, 3)
    spread = futures.arm.std(axis=0).max(axis=-1)
    assert 0 < spread[0] < spread[-1] < 0.05
    assert np.abs(futures.arm[:, 0] - clip.states[2, 0].numpy()).max() < 0.01
    again = world.simulate(place)
    assert (again.frames == futures.frames).all(), "the protocol's seed names them"


def test_the_recorded_future_is_near_in_distribution_and_copying_is_far(world: TrueFutures):
    futures = world.simulate(0)
    clip = world.clips.batch(slice(0, 1))
    frames = torch.from_numpy(futures.frames).permute(0, 1, 4, 2, 3)
    measures = world.score(futures, frames, clip.frames[:, 0], clip.states[2:, 0])
    assert (measures["energy_distance"] < measures["energy_distance_of_copying"]).all()
    assert (measures["arm_error"] < 0.1).all()


def test_the_energy_distance_is_zero_only_for_the_same_distribution():
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(400, 5, generator=random), torch.randn(400, 5, generator=random)
    assert energy_distance(x, y) == pytest.approx(0, abs=0.01)
    assert energy_distance(x, y + 1) > 0.5
    assert energy_distance(x, 3 * y) > 0.1
    assert energy_distance(x, y + 1) == pytest.approx(energy_distance(y + 1, x))


def test_the_arm_is_found_where_it_is(pusher: Path):
    detector = ArmDetector.fitted(pusher / "train.h5")
    store = EpisodeStore.open(pusher, "test")
    found = detector(store.pixels[:40])
    error = np.linalg.norm(found - pixels_of(store.state[:40].astype(float), 64), axis=-1)
    assert metres_a_pixel(64) * np.median(error) < 0.03


def test_what_is_smeared_is_not_recognised(world: TrueFutures):
    futures = world.simulate(0)
    sharp = futures.frames[0]
    detector = futures.object_detector
    smeared = np.broadcast_to(sharp.mean(axis=(1, 2), keepdims=True), sharp.shape)
    faint = (0.2 * sharp + 0.8 * smeared).astype(np.uint8)
    areas = detector.areas(sharp)
    assert areas.shape == futures.recorded_objects.shape[:2]
    assert areas.sum() > 100, "pixels of objects in four frames"
    assert detector.areas(faint).sum() < areas.sum() / 4
    assert (world.arm.strengths(sharp) > world.arm.strengths(faint)).all()


def test_data_of_another_origin_has_no_true_futures(squares: Path, pusher: Path):
    clips = ProtocolClips.of(squares, SHORT)
    with pytest.raises(UserError, match="only for what `framecast record"):
        TrueFutures.of(clips, SHORT, 4)
    store = EpisodeStore.open(pusher, "test")
    source = "recorded in framecast/Pusher-v0, seed 3, policy RandomPusherPolicy, MuJoCo 0.0"
    store.spec = dataclasses.replace(store.spec, source=source)
    with pytest.raises(UserError, match="recorded with MuJoCo 0.0"):
        StoredEpisodes(store)


def test_the_command_writes_the_worlds_row_and_measures(
    pusher: Path, tmp_path: Path, framecast: Command
):
    run = tmp_path / "run"
    sizes = ["--training.epochs=1", "--training.epoch_size=2"]
    assert framecast("train", "course", "--data", pusher, "--out", run, *TINY, *sizes).code == 0
    options = ("--name", "short", "--context", 2, "--horizon", 4, "--samples", 3)
    done = framecast("evaluate", run, *options, "--true-futures", 3, "--clips", 3, "--shipped")
    assert done.code == 0, done.err
    document = json.loads((run / "evaluation" / "short.json").read_text())
    assert document["scores"]["world"]["psnr"] > document["scores"]["model"]["psnr"]
    assert document["scores"]["shipped"]["psnr"] > document["scores"]["copy_last"]["psnr"]
    assert len(document["protocol"]["shipped"]) == 64
    assert document["world"]["energy_distance"] > 0
    assert document["protocol"]["true_futures"]["futures_a_clip"] == 3
    page = framecast("results", run)
    assert "Against the true futures" in page.out
    report = framecast("report", run, "--protocol", "short")
    assert report.code == 0, report.err
    assert "Against the true futures" in (run / "report-short.html").read_text()
    shutil.rmtree(run)
