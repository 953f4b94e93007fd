"""Options of a training, with defaults and limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vouch.base.errors import VouchError, nearest, pick
from vouch.training.sampler import SAMPLERS
from vouch.training.schedule import MARGIN_RAMPS, SCHEDULES

# Limit for integers other than the seed; larger numbers are certainly mistakes.
LARGEST = 10**9
OPTIMIZERS = ("adam", "sgd")
PRECISIONS = ("float32", "bfloat16")
NOT_NEGATIVE = (
    *("max_utterances_per_speaker", "epoch_days", "min_speaker_seconds"),
    *("weight_decay", "clip_norm", "checkpoint_minutes", "seed"),
)


@dataclass(frozen=True)
class TrainOptions:
    """Options of a training.

    Attributes
    ----------
    epochs : int
        Passes over the training set.
    batch_size : int
        Number of crops in a batch.
    crop_seconds : float
        Length of a training example in seconds.
    sampler : str
        "utterances", "speakers" or "duration"; see `vouch.training.sampler`.
    max_utterances_per_speaker : int
        Sampler "utterances": largest number of utterances of a speaker in an epoch; 0: all.
    distinct_speakers : bool
        Whether a batch must not contain a speaker twice even if the loss would allow it, as in voxceleb_trainer; the
        sampler "utterances" drops utterances that do not fit.
    epoch_days : float
        Sampler "duration": audio in an epoch, in days; 0: the total duration of the set.
    crops_per_utterance : int
        Crops of each utterance in a batch, whose embeddings are averaged before the loss.
    data_ratio : float
        Share of the training speakers to use, the first ones by name.
    min_speaker_seconds : float
        Least audio of a speaker in seconds; speakers with less are left out.
    optimizer : "adam" or "sgd" (with momentum 0.9)
    learning_rate : float
        Peak learning rate.
    trunk_rate : float
        Factor on the learning rate for the network; the loss's own weights use the full learning rate.
    freeze : sequence of str
        Names of modules of the network that are not trained; their batch statistics stay fixed too.
    weight_decay : float
        L2 penalty on all weights.
    schedule : str
        "cosine", "step" or "constant"; see `vouch.training.schedule`.
    warmup : float
        Share of the training during which the learning rate rises linearly from zero.
    margin_schedule : str
        "constant", or "linear" or "exponential" for a margin that rises from 0 to its value; for losses with a margin
        on the angle or cosine.
    margin_begin, margin_end : float
        Begin and end of that rise, as shares of the training.
    clip_norm : float
        Largest L2 norm of the gradient; 0: no clipping.
    precision : str
        "float32", or "bfloat16" for mixed precision.
    valid_interval : int
        Epochs between validations.
    checkpoint_minutes : float
        Minutes between checkpoints within an epoch; there is also one after every epoch.
    seed : int
        Seed of the initialisation, the order of utterances and the crops.
    """

    epochs: int = 40
    batch_size: int = 64
    crop_seconds: float = 2.0
    sampler: str = "utterances"
    max_utterances_per_speaker: int = 500
    distinct_speakers: bool = False
    epoch_days: float = 0.0
    crops_per_utterance: int = 1
    data_ratio: float = 1.0
    min_speaker_seconds: float = 0.0
    optimizer: str = "adam"
    learning_rate: float = 0.001
    trunk_rate: float = 1.0
    freeze: Sequence[str] = ()
    weight_decay: float = 0.0
    schedule: str = "cosine"
    warmup: float = 0.05
    margin_schedule: str = "constant"
    margin_begin: float = 0.13
    margin_end: float = 0.27
    clip_norm: float = 3.0
    precision: str = "float32"
    valid_interval: int = 1
    checkpoint_minutes: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "freeze", tuple(self.freeze))
        if self.optimizer not in OPTIMIZERS:
            raise VouchError(f"unknown train.optimizer '{self.optimizer}'{nearest(self.optimizer, OPTIMIZERS)}")
        if self.precision not in PRECISIONS:
            raise VouchError(f"unknown train.precision '{self.precision}'{nearest(self.precision, PRECISIONS)}")
        pick(SCHEDULES, self.schedule, "train.schedule")
        pick(SAMPLERS, self.sampler, "train.sampler")
        pick({"constant": None, **MARGIN_RAMPS}, self.margin_schedule, "train.margin_schedule")
        for name in ("epochs", "batch_size", "crops_per_utterance", "valid_interval"):
            if getattr(self, name) < 1:
                raise VouchError(f"train.{name} must be at least 1, not {getattr(self, name)}")
        for name in NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise VouchError(f"train.{name} must not be negative, it is {getattr(self, name)}")
        for name, value in vars(self).items():
            if (
                isinstance(value, (int, float))
                and value > LARGEST
                and name not in ("seed", "learning_rate", "clip_norm")
            ):
                raise VouchError(f"train.{name} must be at most {LARGEST}, not {value}")
        if self.learning_rate <= 0 or self.trunk_rate <= 0 or not 0 <= self.warmup < 1:
            raise VouchError(
                "train.learning_rate and train.trunk_rate must be positive and train.warmup from 0 to below 1"
            )
        if not 0 < self.data_ratio <= 1:
            raise VouchError(f"train.data_ratio must be above 0 and at most 1, not {self.data_ratio}")
        if not 0 <= self.margin_begin < self.margin_end <= 1:
            raise VouchError(
                f"train.margin_begin and train.margin_end must be rising shares from 0 to 1,"
                f" not {self.margin_begin} and {self.margin_end}"
            )
        if self.epoch_days and self.sampler != "duration":
            raise VouchError(f"train.epoch_days is for train.sampler duration, which is {self.sampler}")
        if self.batch_size % self.crops_per_utterance:
            raise VouchError(
                f"train.batch_size {self.batch_size} must be a multiple of train.crops_per_utterance"
                f" {self.crops_per_utterance}"
            )
