"""Metrics that stand on a trained network: LPIPS, and features for the Frechet video distance.

Nothing is downloaded. A network comes from a local file whose SHA-256 has to be the expected one,
and only with the published weights does a score get the published name: `lpips`, `fvd`. With any
other network it is called `perceptual_` or `frechet_` and the start of the checksum.

Shape letters: N frames or videos, C H W image, T frames, F features.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchmetrics
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from framecast.errors import UserError

# torchvision puts the first digits into its own file name: alexnet-owt-7be5be79.pth
PUBLISHED = {
    "lpips": "7be5be79",
    "fvd": "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2",
}
OTHER_NAMES = {"lpips": "perceptual", "fvd": "frechet"}
LPIPS_VARIANT = (
    "AlexNet features, linear heads version 0.1 (Zhang 2018), frames at their own size, in [-1, 1]"
)
FVD_VARIANT = (
    "I3D, 400 logits (Unterthiner 2018), frames resized to 224; context frames included; the first "
    "sample of every clip against the same clips' truth"
)
MIN_VIDEO_FRAMES = 10
LARGEST_FILE = 1_000_000_000
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


@dataclass(frozen=True)
class WeightsFile:
    """A local file of weights that has the checksum it should have.

    Attributes:
        kind: lpips or fvd.
    """

    kind: str
    path: Path
    sha256: str

    @classmethod
    def checked(cls, kind: str, path: Path, expected: str | None) -> WeightsFile:
        """Raises UserError when the file is missing or another one than expected."""
        if not path.is_file():
            raise UserError(
                f"There is no file {path}. framecast downloads no weights: put the file there "
                f"yourself (docs/protocols.md says which), or leave {kind} out."
            )
        if path.stat().st_size > LARGEST_FILE:
            raise UserError(f"{path} is larger than any weights for {kind}: over 1 GB.")
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        wanted = (expected or PUBLISHED[kind]).lower()
        if len(wanted) < 8 or not found.startswith(wanted):
            raise UserError(
                f"{path} has the SHA-256 {found}, expected {wanted}. Another network gives "
                f"another score: to use it under the name {OTHER_NAMES[kind]}_{found[:8]}, give "
                "its whole checksum as well."
            )
        return cls(kind, path, found)

    @property
    def name(self) -> str:
        """The key of its scores."""
        if self.sha256.startswith(PUBLISHED[self.kind]):
            return self.kind
        return f"{OTHER_NAMES[self.kind]}_{self.sha256[:8]}"


def refuse_borrowed_names(
    scores: Mapping[str, Any], weights: Mapping[str, str], where: str
) -> None:
    """Raises UserError for a score called lpips or fvd that the published network did not make."""
    for kind, checksum in PUBLISHED.items():
        named = any(kind in row for row in scores.values())
        if named and not str(weights.get(kind, "")).startswith(checksum):
            raise UserError(
                f"{where} calls a score {kind} that was not made with the published weights "
                f"(SHA-256 {checksum}...). Evaluate again; it will get another name."
            )


class PerceptualDistance(nn.Module):
    """LPIPS (Zhang 2018): distance of normalised AlexNet features, weighted by learned heads."""

    def __init__(self, weights: WeightsFile) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            (
                nn.Conv2d(3, 64, 11, 4, 2),
                nn.Conv2d(64, 192, 5, 1, 2),
                nn.Conv2d(192, 384, 3, 1, 1),
                nn.Conv2d(384, 256, 3, 1, 1),
                nn.Conv2d(256, 256, 3, 1, 1),
            )
        )
        state = _tensors(weights.path)
        heads = _tensors(
            Path(torchmetrics.__file__).parent / "functional/image/lpips_models/alex.pth"
        )
        try:
            for layer, index in zip(self.layers, (0, 3, 6, 8, 10), strict=True):
                parts = {part: state[f"features.{index}.{part}"] for part in ("weight", "bias")}
                layer.load_state_dict(parts)
            self.heads = [heads[f"lin{index}.model.1.weight"] for index in range(5)]
        except (KeyError, RuntimeError) as error:
            message = " ".join(str(error).split())
            raise UserError(f"{weights.path} does not hold an AlexNet ({message}).") from None
        self.eval().requires_grad_(False)

    def forward(self, predicted: Tensor, true: Tensor) -> Tensor:
        """(..., 3, H, W) in [0, 1], leading dimensions broadcast -> (...)."""
        total: Tensor | float = 0.0
        pairs = zip(self._features(predicted), self._features(true), self.heads, strict=True)
        for ours, theirs, head in pairs:
            weighted = (ours - theirs).square() * head.view(-1, 1, 1).to(ours.device)
            total = total + weighted.sum(dim=-3).mean(dim=(-2, -1))
        assert isinstance(total, Tensor)
        return total

    def _features(self, frames: Tensor) -> list[Tensor]:
        """Features of every layer, each scaled to length 1 over its channels."""
        shift = frames.new_tensor(SHIFT)[:, None, None]
        scale = frames.new_tensor(SCALE)[:, None, None]
        features = (2 * frames.flatten(0, -4) - 1 - shift) / scale
        kept = []
        for index, layer in enumerate(self.layers):
            if index in (1, 2):
                features = functional.max_pool2d(features, 3, 2)
            features = functional.relu(layer(features))
            length = features.square().sum(dim=1, keepdim=True).sqrt()
            scaled = features / (length + 1e-10)
            kept.append(scaled.reshape(*frames.shape[:-3], *scaled.shape[1:]))
        return kept


class VideoFeatures:
    """What a TorchScript video network says of whole clips, called as the published I3D is."""

    def __init__(self, weights: WeightsFile) -> None:
        try:
            with warnings.catch_warnings():
                # TorchScript goes out of use, but it is what the network was published in.
                warnings.simplefilter("ignore", DeprecationWarning)
                network: Any = torch.jit.load(str(weights.path), "cpu")  # type: ignore[no-untyped-call]
            self.network, self.name = network.eval(), weights.name
        except RuntimeError:
            raise UserError(
                f"{weights.path} is not a TorchScript file, which `fvd` needs."
            ) from None

    @torch.no_grad()
    def __call__(self, videos: Tensor) -> Tensor:
        """(T, N, 3, H, W) in [0, 1] -> (N, F) float64. Raises UserError for too short ones."""
        if len(videos) < MIN_VIDEO_FRAMES:
            raise UserError(
                f"A Frechet video distance needs clips of at least {MIN_VIDEO_FRAMES} frames, "
                f"context included; the protocol's have {len(videos)}."
            )
        inputs = 255 * videos.permute(1, 2, 0, 3, 4)
        features: Tensor = self.network(inputs, rescale=True, resize=True, return_features=True)
        return features.double()


def _tensors(path: Path) -> dict[str, Tensor]:
    """Tensors and nothing else; the file's checksum was compared before."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return dict(state)
    except Exception as error:  # every loader has its own
        message = " ".join(str(error).split())[:100]
        raise UserError(f"{path} does not hold weights that can be read ({message}).") from None
