"""The settings of every model; plain data that imports no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ImageNetwork = Literal["dcgan", "vgg"]
Condition = Literal["none", "action", "action+state"]


@dataclass(frozen=True)
class ModelConfig:
    """
    Args:
        kind: which model; every kind has its own settings.
    """

    kind: str


@dataclass(frozen=True)
class CourseConfig(ModelConfig):
    """The model of the course report.

    Args:
        kind: course.
        image_network: encoder and decoder: dcgan (fast) or vgg (large).
        condition: what the frame predictor is told besides the frame; the course gives the
            action and the end effector's position (7 numbers).
        code_dim: size of a frame's code (the course's g_dim).
        latent_dim: size of the latent (z_dim).
        hidden_dim: hidden units of the recurrent networks (rnn_size).
        condition_dim: size of the embedded condition.
        predictor_layers: LSTM layers of the frame predictor (predictor_rnn_layers).
        posterior_layers: LSTM layers of the posterior (posterior_rnn_layers).
        last_frame_skip: skips come from the latest frame, true or predicted, instead of the last
            context frame.
    """

    kind: str = "course"
    image_network: ImageNetwork = "dcgan"
    condition: Condition = "action+state"
    code_dim: int = 128
    latent_dim: int = 64
    hidden_dim: int = 256
    condition_dim: int = 64
    predictor_layers: int = 2
    posterior_layers: int = 1
    last_frame_skip: bool = False
