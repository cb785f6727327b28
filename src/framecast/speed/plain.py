"""SVG with a learned prior as the paper's text has it: the plain reference of speed and equality.

Written from Denton and Fergus 2018 (arXiv:1802.07687): one frame at a time, one LSTM cell at a
time, single precision, every frame encoded when it is needed, which is twice for most, one sample
after another, an optimizer for every network. The numbers are those of `SvgConfig` without a
condition; only running statistics differ, since a frame that is encoded twice counts twice.

Shape letters: T frames, K context frames, B clips, C H W image, D code, Z latent, P predicted.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from framecast.models.course import CourseModel
from framecast.models.distributions import LOG_VARIANCE_RANGE
from framecast.models.layers import LEAK

CODE, LATENT, HIDDEN = 128, 64, 256
Memory = list[tuple[Tensor, Tensor]]


def _block(conv: nn.Module, channels: int, activation: nn.Module | None = None) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(channels), activation or nn.LeakyReLU(LEAK))


class PlainDcganEncoder(nn.Module):
    """Frames (B, C, H, W) -> code (B, D) and the features of every resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = (channels, 64, 128, 256, 512)
        self.blocks = nn.ModuleList(
            _block(nn.Conv2d(before, after, 4, 2, 1), after) for before, after in pairwise(widths)
        )
        self.head = _block(nn.Conv2d(512, CODE, 4), CODE, nn.Tanh())

    def forward(self, frame: Tensor) -> tuple[Tensor, list[Tensor]]:
        skips = []
        for block in self.blocks:
            frame = block(frame)
            skips.append(frame)
        return self.head(frame).flatten(1), skips


class PlainDcganDecoder(nn.Module):
    """Code (B, D) and skips -> frame (B, C, H, W) in [0, 1]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.foot = _block(nn.ConvTranspose2d(CODE, 512, 4), 512)
        widths = (512, 256, 128, 64)
        self.blocks = nn.ModuleList(
            _block(nn.ConvTranspose2d(2 * before, after, 4, 2, 1), after)
            for before, after in pairwise(widths)
        )
        self.paint = nn.ConvTranspose2d(128, channels, 4, 2, 1)

    def forward(self, code: Tensor, skips: list[Tensor]) -> Tensor:
        features = self.foot(code[:, :, None, None])
        for block, skip in zip((*self.blocks, self.paint), reversed(skips), strict=True):
            features = block(torch.cat([features, skip], dim=1))
        frame: Tensor = features.sigmoid()
        return frame


def _vgg_stage(before: int, *widths: int) -> nn.Sequential:
    pairs = pairwise((before, *widths))
    return nn.Sequential(*(_block(nn.Conv2d(a, b, 3, 1, 1), b) for a, b in pairs))


class PlainVggEncoder(nn.Module):
    """Frames (B, C, H, W) -> code (B, D) and the features of every resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            [
                _vgg_stage(channels, 64, 64),
                _vgg_stage(64, 128, 128),
                _vgg_stage(128, 256, 256, 256),
                _vgg_stage(256, 512, 512, 512),
            ]
        )
        self.head = _block(nn.Conv2d(512, CODE, 4), CODE, nn.Tanh())

    def forward(self, frame: Tensor) -> tuple[Tensor, list[Tensor]]:
        skips = []
        for stage in self.stages:
            skips.append(stage(frame))
            frame = functional.max_pool2d(skips[-1], 2)
        return self.head(frame).flatten(1), skips


class PlainVggDecoder(nn.Module):
    """Code (B, D) and skips -> frame (B, C, H, W) in [0, 1]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.foot = _block(nn.ConvTranspose2d(CODE, 512, 4), 512)
        self.stages = nn.ModuleList(
            [
                _vgg_stage(1024, 512, 512, 256),
                _vgg_stage(512, 256, 256, 128),
                _vgg_stage(256, 128, 64),
                _vgg_stage(128, 64),
            ]
        )
        self.paint = nn.ConvTranspose2d(64, channels, 3, 1, 1)

    def forward(self, code: Tensor, skips: list[Tensor]) -> Tensor:
        features = self.foot(code[:, :, None, None])
        for stage, skip in zip(self.stages, reversed(skips), strict=True):
            doubled = functional.interpolate(features, scale_factor=2, mode="nearest")
            features = stage(torch.cat([doubled, skip], dim=1))
        frame: Tensor = self.paint(features)
        return frame.sigmoid()


class PlainRecurrence(nn.Module):
    """An embedding, LSTM cells and one output layer or, for a Gaussian, two."""

    def __init__(self, inputs: int, num_layers: int, *outputs: int) -> None:
        super().__init__()
        self.embed = nn.Linear(inputs, HIDDEN)
        self.cells = nn.ModuleList(nn.LSTMCell(HIDDEN, HIDDEN) for _ in range(num_layers))
        self.outputs = nn.ModuleList(nn.Linear(HIDDEN, size) for size in outputs)

    def begin(self, batch_size: int) -> Memory:
        zeros = self.embed.weight.new_zeros(batch_size, HIDDEN)
        return [(zeros, zeros) for _ in self.cells]

    def forward(self, inputs: Tensor, memory: Memory) -> list[Tensor]:
        features = self.embed(inputs)
        for layer, cell in enumerate(self.cells):
            memory[layer] = cell(features, memory[layer])
            features = memory[layer][0]
        return [output(features) for output in self.outputs]


NETWORKS = {
    "dcgan": (PlainDcganEncoder, PlainDcganDecoder),
    "vgg": (PlainVggEncoder, PlainVggDecoder),
}


class PlainSvg(nn.Module):
    """SVG-LP. Its weights are those of a `CourseModel` of kind svg without a condition."""

    def __init__(self, model: CourseModel) -> None:
        super().__init__()
        self.num_context = model.num_context
        encoder, decoder = NETWORKS[model.config.image_network]
        self.encoder = encoder(model.spec.channels)
        self.decoder = decoder(model.spec.channels)
        self.posterior = PlainRecurrence(CODE, 1, LATENT, LATENT)
        self.frame_predictor = PlainRecurrence(CODE + LATENT, 2, CODE)
        self.prior = PlainRecurrence(CODE, 1, LATENT, LATENT)
        self.to(model.dtype)
        for name, network in self.named_children():
            theirs = model.get_submodule(name).state_dict().values()
            mine = network.state_dict()
            network.load_state_dict(dict(zip(mine, theirs, strict=True)))

    def loss(
        self, frames: Tensor, beta: float, noise: Tensor, teacher_forcing: bool
    ) -> tuple[Tensor, Tensor]:
        """Loss and predicted frames (T - 1, B, C, H, W) of a batch (T, B, C, H, W)."""
        posterior, predictor, prior = self._begin(frames.shape[1])
        error = divergence = frames.new_zeros(())
        predicted: list[Tensor] = []
        skips: list[Tensor] = []
        for step in range(1, len(frames)):
            fed = frames[step - 1]
            if step > self.num_context and not teacher_forcing:
                fed = predicted[-1]
            code, its_skips = self.encoder(fed)
            if step <= self.num_context:
                skips = its_skips
            target, _ = self.encoder(frames[step])
            mean, log_variance = self._gaussian(self.posterior, target, posterior)
            prior_mean, prior_log_variance = self._gaussian(self.prior, code, prior)
            latent = mean + torch.exp(log_variance / 2) * noise[step - 1]
            (next_code,) = self.frame_predictor(torch.cat([code, latent], dim=1), predictor)
            predicted.append(self.decoder(next_code.tanh(), skips))
            error = error + (predicted[-1] - frames[step]).square().mean()
            distance = (mean - prior_mean).square() / prior_log_variance.exp()
            ratio = log_variance - prior_log_variance
            divergence = divergence + 0.5 * (ratio.exp() + distance - 1 - ratio).sum(1).mean()
        num_steps = len(frames) - 1
        return (error + beta * divergence) / num_steps, torch.stack(predicted)

    @torch.no_grad()
    def sample(self, context: Tensor, noise: Tensor) -> Tensor:
        """One future (P, B, C, H, W) after (K, B, C, H, W); noise (P, B, Z)."""
        posterior, predictor, prior = self._begin(context.shape[1])
        code, skips = self.encoder(context[0])
        for frame in context[1:]:
            target, _ = self.encoder(frame)
            latent, _ = self._gaussian(self.posterior, target, posterior)
            self._gaussian(self.prior, code, prior)
            self.frame_predictor(torch.cat([code, latent], dim=1), predictor)
            code, skips = self.encoder(frame)
        frames = []
        for drawn in noise:
            mean, log_variance = self._gaussian(self.prior, code, prior)
            latent = mean + torch.exp(log_variance / 2) * drawn
            (next_code,) = self.frame_predictor(torch.cat([code, latent], dim=1), predictor)
            frames.append(self.decoder(next_code.tanh(), skips))
            code, _ = self.encoder(frames[-1])
        return torch.stack(frames)

    def _begin(self, batch_size: int) -> tuple[Memory, Memory, Memory]:
        networks = (self.posterior, self.frame_predictor, self.prior)
        posterior, predictor, prior = (network.begin(batch_size) for network in networks)
        return posterior, predictor, prior

    @staticmethod
    def _gaussian(network: PlainRecurrence, code: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        mean, raw = network(code, memory)
        return mean, raw.clamp(*LOG_VARIANCE_RANGE)
