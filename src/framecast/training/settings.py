"""The settings of a training run beside its model's, as typed plain data that imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ClipsConfig:
    """Which clips the model sees.

    Args:
        context: true frames given (the course's n_past).
        horizon: frames predicted (n_future).
        first_horizon: frames predicted at the start of the run, for a model that learns motion from
            short clips first; 0 predicts the whole horizon from the start.
        full_horizon_at: share of the run at which the horizon has grown, evenly, to its whole.
        batch_size: clips a step, over all devices.
        num_workers: processes that load data; 0 loads in the training process, which is fastest
            for a memory-mapped store.
        shift: training clips are moved by up to this many pixels each way; for few episodes.
        brightness: and brightened or darkened by up to this share.
        state_shift: and their states are moved, each number by a constant, within this share of the
            room that the recordings' range leaves it; an action that is a target moves with the
            state of its name.
        mirror: for a world in which left and right are alike, the names of the actions and states
            that change their sign in a mirror, with commas between them: half of the training clips
            are then seen in one.
    """

    context: int = 2
    horizon: int = 10
    first_horizon: int = 0
    full_horizon_at: float = 0.5
    batch_size: int = 12
    num_workers: int = 0
    shift: int = 0
    brightness: float = 0.0
    state_shift: float = 0.0
    mirror: str = ""


@dataclass(frozen=True)
class TeacherForcingConfig:
    """The probability of being fed the true frame, which may fall during the run.

    Args:
        start: the probability before any decay (tfr).
        lower_bound: where the decay ends (tfr_lower_bound).
        schedule: epochs (the course: every epoch takes off decay_step), constant, or a fall from
            start to lower_bound over a share of the run: linear, inverse_sigmoid or exponential
            (Bengio 2015).
        start_decay_epoch: first epoch of the epochs schedule's decay (tfr_start_decay_epoch).
        decay_step: what every epoch takes off in the epochs schedule (tfr_decay_step).
        decay_from: share of the run after which the other schedules begin to fall.
        decay_until: share of the run at which they have reached lower_bound.
        steepness: of inverse_sigmoid and exponential; the larger, the more sudden.
        draw: one draw for the whole batch (the course), or for every sequence, or every frame.
        gradient: whether gradients flow through the frames that are fed back.
    """

    start: float = 1.0
    lower_bound: float = 0.0
    schedule: Literal["epochs", "constant", "linear", "inverse_sigmoid", "exponential"] = "epochs"
    start_decay_epoch: int = 0
    decay_step: float = 0.0
    decay_from: float = 0.0
    decay_until: float = 1.0
    steepness: float = 10.0
    draw: Literal["batch", "sequence", "frame"] = "batch"
    gradient: bool = True


@dataclass(frozen=True)
class KLConfig:
    """The weight of the KL divergence, and its annealing.

    Args:
        beta: the largest weight; annealing multiplies it by 0 to 1.
        annealing: constant, monotonic (one rise), cyclical (kl_anneal_cyclical), or dynamic: a
            weight that follows the KL towards target_rate (a Lagrange multiplier), at most beta.
        ratio: the share of a cycle that rises; the rest stays at beta (kl_anneal_ratio).
        cycles: number of rises in the run when cyclical (kl_anneal_cycle).
        free_bits: nats a dimension that cost nothing (Kingma 2016); against collapse.
        target_rate: nats a frame that the dynamic weight holds.
        dynamic_start: the dynamic weight before its first step.
        dynamic_least: the dynamic weight never falls below.
        dynamic_speed: how fast it follows: the change of its logarithm a step for a KL that is
            twice the target.
    """

    beta: float = 1e-4
    annealing: Literal["constant", "monotonic", "cyclical", "dynamic"] = "constant"
    ratio: float = 0.5
    cycles: int = 3
    free_bits: float = 0.0
    target_rate: float = 5.0
    dynamic_start: float = 1e-6
    dynamic_least: float = 1e-12
    dynamic_speed: float = 0.01


@dataclass(frozen=True)
class OptimizerConfig:
    """
    Args:
        name: adam, adamw, muon (muon.py), rmsprop or sgd.
        lr: learning rate.
        beta1: first moment's decay of adam, adamw and, for what is no matrix, muon; momentum of
            rmsprop and sgd.
        beta2: second moment's decay of adam, adamw and, for what is no matrix, muon.
        weight_decay: of adamw and muon, on matrices and kernels only (not on biases and norms).
        warmup_steps: the learning rate rises linearly to lr over this many steps.
        lr_schedule: constant (the course), or cosine: down to 1% of lr at the last step.
        gradient_clip: largest norm of the gradient; 0 leaves it as it is.
    """

    name: Literal["adam", "adamw", "muon", "rmsprop", "sgd"] = "adam"
    lr: float = 2e-3
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.01
    warmup_steps: int = 0
    lr_schedule: Literal["constant", "cosine"] = "constant"
    gradient_clip: float = 1.0


@dataclass(frozen=True)
class TrainingConfig:
    """How long, how often, on what.

    Args:
        epochs: number of epochs (niter).
        epoch_size: steps an epoch (epoch_size).
        max_minutes: stop after this many minutes of training, whatever the epoch; 0 is no limit.
        precision: bf16-mixed runs convolutions in bfloat16; 32-true runs all in float32.
        accelerator: cpu, gpu or auto.
        start_from: folder of a run, or of an exported model, whose weights the model starts from.
            What it does not have begins anew; empty begins with everything anew.
        only_new_parts: train nothing but what `start_from` does not have.
        accumulate: a batch is worked through in this many parts whose gradients are averaged, for
            less memory; batch normalisation then sees a part at a time.
        average_decay: decay of an exponential average of the weights (EMA), which is then what is
            validated, kept as best and sampled from; 0 keeps none.
        sync_batch_norm: on several devices batch norms use the statistics of the whole batch, so
            that the number of devices does not matter; off, those of each device's share.
        deterministic: refuse operations whose result may differ from run to run (GPU).
        validate_every: epochs between validations; what a run ends with is validated too.
        validation_clips: number of validation clips scored each time.
        patience: stop after this many validations without a better score; 0 never does.
        log_every: steps between rows of metrics.csv.
        save_every_minutes: minutes between checkpoints within an epoch.
        film_frames: frames of the films in the report, context included (n_eval).
    """

    epochs: int = 300
    epoch_size: int = 600
    max_minutes: float = 0.0
    precision: Literal["bf16-mixed", "32-true"] = "bf16-mixed"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    start_from: str = ""
    only_new_parts: bool = False
    accumulate: int = 1
    average_decay: float = 0.0
    sync_batch_norm: bool = True
    deterministic: bool = False
    validate_every: int = 1
    validation_clips: int = 64
    patience: int = 0
    log_every: int = 10
    save_every_minutes: float = 10.0
    film_frames: int = 30
