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


@dataclass(frozen=True)
class WarpConfig(ModelConfig):
    """Our own model: it moves pixels, keeps a spatial state and learns its prior.

    Args:
        kind: warp.
        condition: what it is told besides the frame.
        num_flows: flow fields a step; as many things can move in different ways at one place.
        latent_channels: channels of the spatial latent at an eighth of the size; 0 makes the model
            deterministic.
        fine_width: channels at half the size.
        middle_width: channels at a quarter.
        coarse_width: channels at an eighth, and of the recurrent state.
        absolute_error: weight of the mean absolute error beside the mean squared error.
    """

    kind: str = "warp"
    condition: Condition = "action+state"
    num_flows: int = 4
    latent_channels: int = 4
    fine_width: int = 32
    middle_width: int = 48
    coarse_width: int = 96
    absolute_error: float = 0.1
