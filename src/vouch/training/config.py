"""The configuration of a training run: defaults here, overridden by a YAML file, overridden by the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from torch import nn

from vouch.encoder import NORMALIZATIONS, Encoder, resolve_model, resolve_normalization, waveform_feature
from vouch.errors import VouchError, nearest, pick
from vouch.losses import SpeakerLoss, build_loss, resolve_loss
from vouch.losses.margin import MarginSoftmax
from vouch.options import resolve_options
from vouch.training.sampler import SAMPLERS, Demand
from vouch.training.schedule import MARGIN_RAMPS, SCHEDULES

SECTIONS = ("model", "loss", "normalization", "train")
OPTIMIZERS = ("adam", "sgd")
PRECISIONS = ("float32", "bfloat16")
NOT_NEGATIVE = (
    *("max_utterances_per_speaker", "epoch_days", "min_speaker_seconds"),
    *("weight_decay", "clip_norm", "checkpoint_minutes", "seed"),
)
# Sizes to build networks and losses with before the data are known.
PLACEHOLDER_BINS, PLACEHOLDER_SPEAKERS = 40, 1000


@dataclass(frozen=True)
class TrainOptions:
    """How to train.

    Attributes
    ----------
    epochs : passes over the training set
    batch_size : crops in a batch
    crop_frames : length of a training example in frames; of waveforms a frame is a sample
    sampler : "utterances", "speakers" or "duration"; see `vouch.training.sampler`
    max_utterances_per_speaker : sampler "utterances": at most so many of a speaker in an epoch; 0: all
    epoch_days : sampler "duration": audio in an epoch, in days; 0: as much as there is
    crops_per_utterance : crops of an utterance in a batch, whose embeddings are averaged before the loss
    data_ratio : share of the training speakers to train on, the first ones by name
    min_speaker_seconds : speakers with less audio are left out
    optimizer : "adam" or "sgd" (with momentum 0.9)
    learning_rate : at its peak
    trunk_rate : the network learns with so many times the learning rate, the loss's own weights with all of it
    freeze : modules of the network, by name, that are left as they are, batch statistics included
    weight_decay : L2 penalty on all weights
    schedule : "cosine", "step" or "constant"; see `vouch.training.schedule`
    warmup : share of the training during which the learning rate rises linearly from zero
    margin_schedule
        "constant", or "linear" or "exponential" for a margin that rises from 0 to its value; for losses with a margin
        on the angle or cosine
    margin_begin, margin_end : where that rise begins and ends, as shares of the training
    clip_norm : largest L2 norm of the gradient; 0: no limit
    precision : "float32", or "bfloat16" for mixed precision
    valid_interval : epochs between validations
    checkpoint_minutes : time between checkpoints within an epoch (there is one after every epoch)
    seed : of initialisation, order and crops
    """

    epochs: int = 40
    batch_size: int = 64
    crop_frames: int = 200
    sampler: str = "utterances"
    max_utterances_per_speaker: int = 500
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
        for name in ("epochs", "batch_size", "crop_frames", "crops_per_utterance", "valid_interval"):
            if getattr(self, name) < 1:
                raise VouchError(f"train.{name} must be at least 1, not {getattr(self, name)}")
        for name in NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise VouchError(f"train.{name} must not be negative, it is {getattr(self, name)}")
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


@dataclass(frozen=True)
class Config:
    """A resolved configuration: every option has its value.

    Attributes
    ----------
    model, loss : "name" and all options
    normalization : of the features, see `vouch.encoder.Encoder`; "none" for waveforms
    train : see `TrainOptions`
    """

    model: dict[str, object]
    loss: dict[str, object]
    normalization: str
    train: TrainOptions

    def as_dict(self) -> dict[str, object]:
        """Return plain dictionaries, as they are written to YAML."""
        return asdict(self)


def resolve_config(file: Mapping[str, object], overrides: Mapping[str, object]) -> Config:
    """Combine defaults, a configuration file and the command line.

    Parameters
    ----------
    file
        `{"model": {...}, "loss": {...}, "normalization": ..., "train": {...}}`, all optional; a model or a loss
        without options may be just its name
    overrides
        dotted names to values: `{"loss": "ge2e", "loss.variant": "contrast", "train.epochs": "3"}`, or for a sum
        `{"loss": "softmax+ge2e", "loss.ge2e.weight": "0.5"}`. Another model or loss than the file's starts from its
        own defaults.

    Raises
    ------
    VouchError : an unknown name, option or value, naming the nearest
    """
    for section in file:
        if section not in SECTIONS:
            raise VouchError(f"unknown section '{section}' of the configuration{nearest(str(section), SECTIONS)}")
    model = _named(file.get("model", "resnetse34l"), "model")
    loss = _named(file.get("loss", "aamsoftmax"), "loss")
    train = file.get("train", {})
    if not isinstance(train, Mapping):
        raise VouchError("section 'train' of the configuration must hold 'option: value' lines")
    sections = {"model": model, "loss": loss, "train": dict(train)}
    normalization = file.get("normalization", "mean")
    for name, section in (("model", model), ("loss", loss)):
        if overrides.get(name, section["name"]) != section["name"]:
            sections[name] = {"name": overrides[name]}
    for key, value in overrides.items():
        section, dot, option = key.partition(".")
        if key == "normalization":
            normalization = value
        elif dot and section in sections and option != "name":
            _set(sections[section], option, value)
        elif key not in ("model", "loss"):
            raise VouchError(f"unknown configuration option '{key}'{nearest(key, known_options(sections))}")
    pick({**NORMALIZATIONS, "none": None}, str(normalization), "normalization")
    resolved = resolve_model(sections["model"])
    if waveform_feature(resolved):
        # What a recipe says of features is not meant for waveforms; what the command line says is, and is refused.
        normalization = overrides.get("normalization", "none")
    return Config(
        resolved,
        resolve_loss(sections["loss"]),
        resolve_normalization(str(normalization), resolved),
        TrainOptions(**resolve_options(TrainOptions, sections["train"], "train")),
    )


def check_networks(config: Config) -> None:
    """Build network and loss once, for placeholder sizes: what only their constructors refuse is refused now.

    Raises
    ------
    VouchError
        an option that has the right type but an impossible value, crops that are too short for the network, a batch
        that the loss cannot take, or a schedule for a margin that the loss has not
    """
    encoder = Encoder(config.model, 1 if waveform_feature(config.model) else PLACEHOLDER_BINS, config.normalization)
    check_crops(encoder, config.train)
    frozen_modules(encoder, config.train.freeze)
    loss = build_loss(config.loss, encoder.embedding_dim, PLACEHOLDER_SPEAKERS)
    batch_demand(loss, config.train)
    if config.train.margin_schedule != "constant" and not margin_losses(loss):
        raise VouchError(
            f"train.margin_schedule is {config.train.margin_schedule}, but the loss '{config.loss['name']}' has no"
            f" margin on the angle or cosine"
        )


def check_crops(encoder: Encoder, options: TrainOptions) -> None:
    """Raise `VouchError` when the crops are shorter than the network's minimum."""
    if options.crop_frames < encoder.min_frames:
        rate = encoder.feature.sample_rate if encoder.takes_waveforms else 0
        unit = f"; it counts samples here, {2 * rate} are 2 s" if rate else ""
        raise VouchError(
            f"train.crop_frames {options.crop_frames} is below the network's minimum {encoder.min_frames}{unit}"
        )


def batch_demand(loss: SpeakerLoss, options: TrainOptions) -> Demand:
    """Return what the batches must look like for a loss; `VouchError` when the batch size does not fit it."""
    utterances = options.batch_size // options.crops_per_utterance
    return Demand(utterances, loss.utterances_per_speaker, loss.distinct_speakers)


def margin_losses(loss: SpeakerLoss) -> list[MarginSoftmax]:
    """Return the loss, or those parts of a sum, whose margin a schedule can change."""
    return [part for part in loss.modules() if isinstance(part, MarginSoftmax)]


def frozen_modules(encoder: Encoder, names: Sequence[str]) -> list[nn.Module]:
    """Return the modules of the network with these names; `VouchError` naming the nearest when there is none."""
    known = {name: module for name, module in encoder.model.named_modules() if name}
    for name in names:
        if name not in known:
            raise VouchError(f"train.freeze: the network has no module '{name}'{nearest(name, known)}")
    return [known[name] for name in names]


def known_options(sections: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Return the dotted names that the command line may set for this model and loss."""
    names = list(SECTIONS[:3])
    for option, value in resolve_loss({"name": sections["loss"]["name"]}).items():
        inner = [f".{name}" for name in value] if isinstance(value, Mapping) else [""]
        names += [f"loss.{option}{name}" for name in inner]
    names += [f"model.{option}" for option in resolve_model({"name": sections["model"]["name"]})]
    names += [f"train.{option}" for option in TrainOptions.__dataclass_fields__]
    return [name for name in names if name not in ("model.name", "loss.name")]


def _set(options: dict[str, object], name: str, value: object) -> None:
    """Set an option; `part.option` is an option of a part of a sum of losses."""
    part, dot, inner = name.partition(".")
    if not dot:
        options[name] = value
        return
    below = options.get(part, {})
    options[part] = {**(below if isinstance(below, Mapping) else {}), inner: value}


def experiment_name(config: Config, overrides: Mapping[str, object]) -> str:
    """Return a folder name that tells experiments apart: model, loss, and what else was set by hand.

    Examples
    --------
    `resnetse34l_aamsoftmax`, `xvector_ge2e_train.epochs3`
    """
    set_by_hand = (f"{key}{overrides[key]}" for key in sorted(overrides) if key not in ("model", "loss"))
    parts = [str(config.model["name"]), str(config.loss["name"]), *set_by_hand]
    return "_".join(re.sub(r"[^A-Za-z0-9_.+-]", "", part) for part in parts)


def _named(value: object, what: str) -> dict[str, object]:
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, Mapping) or "name" not in value:
        raise VouchError(f"section '{what}' of the configuration needs a 'name'")
    return dict(value)
