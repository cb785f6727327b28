"""Scores of networks get the published name with the published weights only."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from framecast.errors import UserError
from framecast.evaluation.networks import (
    PUBLISHED,
    PerceptualDistance,
    VideoFeatures,
    WeightsFile,
    refuse_borrowed_names,
)
from tests.conftest import Outcome

Command = Callable[..., Outcome]
SHAPES = ((64, 3, 11), (192, 64, 5), (384, 192, 3), (256, 384, 3), (256, 256, 3))


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file shaped like AlexNet's, with random numbers."""
    random = torch.Generator().manual_seed(0)
    state = {}
    for index, (out, inputs, size) in zip((0, 3, 6, 8, 10), SHAPES, strict=True):
        weight = torch.randn(out, inputs, size, size, generator=random) * (inputs * size**2) ** -0.5
        state |= {f"features.{index}.weight": weight, f"features.{index}.bias": torch.zeros(out)}
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save(state, path)
    return path


class Pooling(nn.Module):
    """Called like the published I3D; its features are mean colours over time."""

    def forward(self, x: Tensor, rescale: bool, resize: bool, return_features: bool) -> Tensor:
        return (x / 255).mean(dim=(3, 4)).flatten(1)


@pytest.fixture(scope="module")
def video_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "pooling.pt"
    torch.jit.script(Pooling()).save(str(path))
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_another_network_needs_its_checksum_and_gets_another_name(alexnet: Path):
    with pytest.raises(UserError, match=f"expected {PUBLISHED['lpips']}"):
        WeightsFile.checked("lpips", alexnet, None)
    file = WeightsFile.checked("lpips", alexnet, sha256(alexnet))
    assert file.name == f"perceptual_{sha256(alexnet)[:8]}"
    with pytest.raises(UserError, match="has the SHA-256"):
        WeightsFile.checked("lpips", alexnet, "0" * 64)


def test_a_missing_weights_file_is_one_line_and_so_is_a_wrong_checksum(
    trained: Path, framecast: Command, tmp_path: Path, video_network: Path
):
    missing = framecast("evaluate", trained, "--i3d-weights", tmp_path / "none.pt").one_line()
    assert "There is no file" in missing
    wrong = framecast("evaluate", trained, "--i3d-weights", video_network).one_line()
    assert "has the SHA-256" in wrong


def test_the_perceptual_distance_is_zero_for_the_same_and_grows_with_noise(alexnet: Path):
    distance = PerceptualDistance(WeightsFile.checked("lpips", alexnet, sha256(alexnet)))
    true = torch.rand(2, 1, 3, 64, 64)
    noise = torch.randn(2, 3, 3, 64, 64)
    size = torch.tensor([0.0, 0.05, 0.3])[:, None, None, None]
    found = distance((true + size * noise).clamp(0, 1), true)
    assert found.shape == (2, 3)
    torch.testing.assert_close(found[:, 0], torch.zeros(2))
    assert (found.diff(dim=1) > 0).all()


def test_short_videos_have_no_frechet_video_distance(video_network: Path):
    features = VideoFeatures(WeightsFile.checked("fvd", video_network, sha256(video_network)))
    with pytest.raises(UserError, match="at least 10 frames"):
        features(torch.rand(9, 2, 3, 8, 8))
    assert features(torch.rand(10, 2, 3, 8, 8)).shape == (2, 30)


def test_scores_of_other_networks_are_written_under_their_own_names(
    trained: Path, tmp_path: Path, framecast: Command, alexnet: Path, video_network: Path
):
    run = shutil.copytree(trained, tmp_path / "run")
    done = framecast(
        *("evaluate", run, "--name", "networks", "--samples", 1),
        *("--lpips-weights", alexnet, "--lpips-sha256", sha256(alexnet)),
        *("--i3d-weights", video_network, "--i3d-sha256", sha256(video_network)),
    )
    assert done.code == 0, done.err
    document = json.loads((run / "evaluation" / "networks.json").read_text())
    model = document["scores"]["model"]
    assert model[f"perceptual_{sha256(alexnet)[:8]}"] > 0
    assert model[f"frechet_{sha256(video_network)[:8]}"] >= 0
    assert not {"lpips", "fvd"} & set(model)


def test_a_borrowed_name_is_refused():
    scores = {"model": {"psnr": 20.0, "fvd": 1.0}}
    with pytest.raises(UserError, match="calls a score fvd"):
        refuse_borrowed_names(scores, {"fvd": "0" * 64}, "scores.json")
    refuse_borrowed_names(scores, {"fvd": PUBLISHED["fvd"]}, "scores.json")
