"""The settings of every model; plain data that imports no network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from framecast.errors import UserError

ImageNetwork = Literal["dcgan", "vgg"]
Condition = Literal["none", "action", "action+state"]
Norm = Literal["batch", "group"]

MOST_SCALES = 3  # below the frame's own: its sides are multiples of 8


@dataclass(frozen=True)
class ModelConfig:
    """
    Args:
        kind: which model; every kind has its own settings.
    """

    PREDICTION_ALONE: ClassVar[frozenset[str]] = frozenset()  # settings that training knows not of

    kind: str


@dataclass(frozen=True)
class CourseConfig(ModelConfig):
    """The model of the course report, its extras and the switches its relatives need.

    Args:
        image_network: encoder and decoder: dcgan (fast) or vgg (large).
        image_width: channels at the finest resolution (64 as published); coarser ones have
            multiples of it.
        norm: normalisation of the image networks: by batch (as published) or by groups of
            channels, where a frame knows nothing of its batch.
        condition: what the frame predictor is told besides the frame; the course gives the
            action and the end effector's position (7 numbers).
        condition_network: linear (the course), or convolution: the condition meets the features
            of the frame at every place of its coarsest map.
        condition_latents: posterior and prior are told the condition too (neither is, as
            published).
        code_dim: size of a frame's code (the course's g_dim).
        latent_dim: size of the latent (z_dim); 0 makes the model deterministic.
        latent_levels: parts of the latent; the later are drawn given the earlier (hierarchical).
        prior: fixed, N(0, I) (SVG-FP, the course), or learned from the past (SVG-LP).
        hidden_dim: hidden units of the recurrent networks (rnn_size).
        condition_dim: size of the embedded condition.
        predictor_layers: LSTM layers of the frame predictor (predictor_rnn_layers).
        posterior_layers: LSTM layers of the posterior (posterior_rnn_layers).
        prior_layers: LSTM layers of a learned prior (prior_rnn_layers).
        embed_code: the frame predictor embeds code and condition apart before its LSTM's own
            embedding (the course); SVG has that one alone.
        predictor_norm: batch normalisation of the predicted code (the course) or none (SVG).
        feedback_statistics: what batch normalisation uses for frames that are fed back in
            training: batch (their own, as published), or running (those of true frames, which
            they then do not change).
        last_frame_skip: skips come from the latest frame, true or predicted, instead of the last
            context frame.
        published_skips: skips come from the last context frame but one, as in the published SVG
            code; for comparison only.
        prior_share: share of the training sequences whose latents come from the prior, as when
            predicting, and that have no KL term (the hybrid objective of Sohn 2015).
    """

    kind: str = "course"
    image_network: ImageNetwork = "dcgan"
    image_width: int = 64
    norm: Norm = "batch"
    condition: Condition = "action+state"
    condition_network: Literal["linear", "convolution"] = "linear"
    condition_latents: bool = False
    code_dim: int = 128
    latent_dim: int = 64
    latent_levels: int = 1
    prior: Literal["fixed", "learned"] = "fixed"
    hidden_dim: int = 256
    condition_dim: int = 64
    predictor_layers: int = 2
    posterior_layers: int = 1
    prior_layers: int = 1
    embed_code: bool = True
    predictor_norm: Literal["batch", "none"] = "batch"
    feedback_statistics: Literal["batch", "running"] = "batch"
    last_frame_skip: bool = False
    published_skips: bool = False
    prior_share: float = 0.0

    def __post_init__(self) -> None:
        _check_prior_share(self.prior_share)
        counts = ("image_width", "code_dim", "latent_levels", "hidden_dim", "condition_dim")
        layers = ("predictor_layers", "posterior_layers", "prior_layers")
        for name in (*counts, *layers, "latent_dim"):
            least, value = 0 if name == "latent_dim" else 1, getattr(self, name)
            if not least <= value <= 65_536:
                raise UserError(f"model.{name} should be between {least} and 65536, got {value}.")
        if self.latent_levels > max(1, self.latent_dim):
            raise UserError(
                f"A latent of {self.latent_dim} numbers cannot have {self.latent_levels} levels."
            )
        if self.last_frame_skip and self.published_skips:
            raise UserError("Choose one of model.last_frame_skip and model.published_skips.")

    @property
    def code_size(self) -> int:
        """Pixels a side of the code, the recurrent states and the latent."""
        return 1


@dataclass(frozen=True)
class SvgConfig(CourseConfig):
    """SVG as published (Denton and Fergus 2018, BAIR): SVG-LP, or SVG-FP with a fixed prior.

    With a condition it is embedded and joined to code and latent, as in the course.
    """

    kind: str = "svg"
    condition: Condition = "none"
    prior: Literal["fixed", "learned"] = "learned"
    embed_code: bool = False
    predictor_norm: Literal["batch", "none"] = "none"


@dataclass(frozen=True)
class SpatialConfig(SvgConfig):
    """In the manner of SVG' (Villegas 2019): code, latent and recurrent states are 8x8 maps.

    code_dim, latent_dim, hidden_dim and condition_dim count the channels of these maps.
    """

    kind: str = "spatial"
    norm: Norm = "group"
    code_dim: int = 128
    latent_dim: int = 4
    hidden_dim: int = 128
    condition_dim: int = 32

    @property
    def code_size(self) -> int:
        return 8


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
        prior_share: share of the training sequences that are rolled out with the prior's mean and
            without a KL term, as when predicting (the hybrid objective of Sohn 2015); against a
            posterior that explains what the model could have predicted.
        absolute_error: weight of the mean absolute error beside the mean squared error.
        frame_scale: the logarithm of every frame's squared error instead of the error, as of a
            Gaussian with a sigma of its own for every frame (Rybkin 2021): frames that are easy
            count as much as those that are not.
        coarse_scales: the squared error is the mean of that at full size and at so many smaller
            ones, each half of the one before, 3 at most: then a thing that is missing costs more
            than one that is near its place.
        latent_flows: the latent is `latent_channels` numbers that weigh flow fields, trained by the
            energy score on the model's own rollouts. For a model that was trained without a latent
            (`training.start_from`).
        expected: with latent_flows, weight of the error of the prediction without noise, beside the
            energy score, so that the model still tells what is expected of all futures.
        depth: residual blocks at a quarter of the size, where the decoder has been told the
            condition.
        sharp_sampling: warps from a frame that a cubic filter has doubled in size, instead of
            bilinearly from its pixels.
        guided_flows: the condition, with the predicted change of the state in it, moves whole flow
            fields at once.
        state_history: where there are states, the next one is predicted from the step before too,
            by a small network.
        sprites: where there are states, so many pictures of the robot, fitted to the recordings
            before the training, are laid over what is moved, each where the state says; 0 for none.
            What they hide is kept and moved on behind them. Not with a spatial latent.
        shade: with sprites, the robot's shadow is drawn too, where its state and the light in the
            context say: it is taken off what is seen and laid on what is predicted. Fitted to the
            recordings before the training.
        things: with sprites, so many things at most are found in the last context frame, as regions
            of one colour, and drawn from there at every later step, moved as rigid wholes. How they
            move is told by a small network, fitted to the recordings before the training. 0 for
            none.
        sampled_things: with things, a future that is drawn by noise has each of them go one of the
            ways that it may, and without noise all go as expected; training is the same. So it is
            with latent_flows anyhow, and there the training draws them too.
        refiner_width: channels of the layer that corrects the mixed frame; 0 leaves it as it is.
        mask_sharpness: factor on the mask's logits when predicting. Above 1, a place shows more of
            what is likeliest there and less of a mixture: sharper frames, at some cost in PSNR.
            Training is the same.
        mirror: for a world in which left and right are alike, the names of the actions and states
            that change their sign in a mirror, with commas between them. Then every prediction is
            the mean of that and of the mirror image's, which takes twice as long; a future that was
            drawn by latent_flows is one, and stays as it is. Training is the same. Not with a
            spatial latent.
    """

    kind: str = "warp"
    condition: Condition = "action+state"
    num_flows: int = 4
    latent_channels: int = 4
    fine_width: int = 32
    middle_width: int = 64
    coarse_width: int = 128
    prior_share: float = 0.5
    absolute_error: float = 0.1
    frame_scale: bool = False
    coarse_scales: int = 0
    latent_flows: bool = False
    expected: float = 0.0
    depth: int = 0
    sharp_sampling: bool = False
    guided_flows: bool = False
    state_history: bool = False
    sprites: int = 0
    shade: bool = False
    things: int = 0
    sampled_things: bool = False
    refiner_width: int = 0
    mask_sharpness: float = 1.0
    mirror: str = ""

    PREDICTION_ALONE: ClassVar[frozenset[str]] = frozenset(
        {"mask_sharpness", "mirror", "sampled_things"}
    )

    def __post_init__(self) -> None:
        _check_prior_share(self.prior_share)
        if not 0 < self.mask_sharpness < math.inf:
            raise UserError(
                f"model.mask_sharpness should be above 0, got {self.mask_sharpness}; 1 leaves the "
                "masks as they were trained."
            )
        if not 0 <= self.coarse_scales <= MOST_SCALES:
            raise UserError(
                f"model.coarse_scales should be from 0 to {MOST_SCALES}, got {self.coarse_scales}: "
                "the sides of a frame are multiples of 8 pixels."
            )
        spatial_latent = self.latent_channels and not self.latent_flows
        if self.sprites and spatial_latent:
            raise UserError(
                f"model.sprites ({self.sprites}) needs model.latent_channels 0 or "
                f"model.latent_flows, got {self.latent_channels} channels: a posterior sees frames "
                "alone."
            )
        if self.shade and not self.sprites:
            raise UserError(
                "model.shade needs model.sprites, got 0: they say where the robot itself is."
            )
        if self.things and not self.sprites:
            raise UserError(
                f"model.things ({self.things}) needs model.sprites, got 0: how a thing is pushed "
                "is told from where the robot is drawn."
            )
        if self.sampled_things and not self.things:
            raise UserError("model.sampled_things needs model.things, got 0.")
        if self.mirror and spatial_latent:
            raise UserError(
                f"model.mirror ({self.mirror}) needs model.latent_channels 0 or "
                f"model.latent_flows, got {self.latent_channels} channels: the mean of two futures "
                "is none of them."
            )
        if self.expected < 0 or (self.expected and not self.latent_flows):
            raise UserError(
                "model.expected should be at least 0, and 0 without model.latent_flows, "
                f"got {self.expected}."
            )


def _check_prior_share(share: float) -> None:
    if not 0 <= share < 1:
        raise UserError(f"model.prior_share should be at least 0 and below 1, got {share}.")
