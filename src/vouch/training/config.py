"""The configuration of a training run: defaults here, overridden by a YAML file, overridden by the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from vouch.encoder import NORMALIZATIONS, Encoder, resolve_model
from vouch.errors import VouchError, nearest, pick
from vouch.losses import LOSSES
from vouch.options import resolve_options
from vouch.training.schedule import SCHEDULES

SECTIONS = ("model", "loss", "normalization", "train")
OPTIMIZERS = ("adam", "sgd")
PRECISIONS = ("float32", "bfloat16")
# What the program itself passes to a loss.
LOSS_ARGUMENTS = ("embedding_dim", "num_speakers")
PLACEHOLDER_BINS = 40


@dataclass(frozen=True)
class TrainOptions:
    """How to train.

    Attributes
    ----------
    epochs : passes over the training set
    batch_size : utterances in a batch
    crop_frames : length of a training example in frames
    max_utterances_per_speaker : at most so many utterances of a speaker in an epoch; 0: all
    optimizer : "adam" or "sgd" (with momentum 0.9)
    learning_rate : at its peak
    weight_decay : L2 penalty on all weights
    schedule : "cosine", "step" or "constant"; see `vouch.training.schedule`
    warmup : share of the training during which the learning rate rises linearly from zero
    clip_norm : largest L2 norm of the gradient; 0: no limit
    precision : "float32", or "bfloat16" for mixed precision
    valid_interval : epochs between validations
    checkpoint_minutes : time between checkpoints within an epoch (there is one after every epoch)
    seed : of initialisation, order and crops
    """

    epochs: int = 40
    batch_size: int = 64
    crop_frames: int = 200
    max_utterances_per_speaker: int = 500
    optimizer: str = "adam"
    learning_rate: float = 0.001
    weight_decay: float = 0.0
    schedule: str = "cosine"
    warmup: float = 0.05
    clip_norm: float = 3.0
    precision: str = "float32"
    valid_interval: int = 1
    checkpoint_minutes: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise VouchError(f"unknown train.optimizer '{self.optimizer}'{nearest(self.optimizer, OPTIMIZERS)}")
        if self.precision not in PRECISIONS:
            raise VouchError(f"unknown train.precision '{self.precision}'{nearest(self.precision, PRECISIONS)}")
        pick(SCHEDULES, self.schedule, "train.schedule")
        for name in ("epochs", "batch_size", "crop_frames", "valid_interval"):
            if getattr(self, name) < 1:
                raise VouchError(f"train.{name} must be at least 1, not {getattr(self, name)}")
        for name in ("max_utterances_per_speaker", "weight_decay", "clip_norm", "checkpoint_minutes", "seed"):
            if getattr(self, name) < 0:
                raise VouchError(f"train.{name} must not be negative, it is {getattr(self, name)}")
        if self.learning_rate <= 0 or not 0 <= self.warmup < 1:
            raise VouchError("train.learning_rate must be positive and train.warmup from 0 to below 1")


@dataclass(frozen=True)
class Config:
    """A resolved configuration: every option has its value.

    Attributes
    ----------
    model, loss : "name" and all options
    normalization : of the features, see `vouch.encoder.Encoder`
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
        dotted names to values: `{"loss": "ge2e", "loss.variant": "contrast", "train.epochs": "3"}`. Another model or
        loss than the file's starts from its own defaults.

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
            sections[section][option] = value
        elif key not in ("model", "loss"):
            raise VouchError(f"unknown configuration option '{key}'{nearest(key, known_options(sections))}")
    pick({**NORMALIZATIONS, "none": None}, str(normalization), "normalization")
    return Config(
        resolve_model(sections["model"]),
        _resolve_loss(sections["loss"]),
        str(normalization),
        TrainOptions(**resolve_options(TrainOptions, sections["train"], "train")),
    )


def check_networks(config: Config) -> None:
    """Build network and loss once, for placeholder sizes: what only their constructors refuse is refused now.

    Raises
    ------
    VouchError : an option that has the right type but an impossible value
    """
    embedding_dim = Encoder(config.model, PLACEHOLDER_BINS, config.normalization).embedding_dim
    options = {name: value for name, value in config.loss.items() if name != "name"}
    LOSSES[str(config.loss["name"])](embedding_dim, num_speakers=2, **options)


def known_options(sections: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Return the dotted names that the command line may set for this model and loss."""
    model = resolve_model({"name": sections["model"]["name"]})
    loss = _resolve_loss({"name": sections["loss"]["name"]})
    train = TrainOptions.__dataclass_fields__
    names = {"model": model, "loss": loss, "train": train}
    return [
        *SECTIONS[:3],
        *(f"{section}.{option}" for section, options in names.items() for option in options if option != "name"),
    ]


def experiment_name(config: Config, overrides: Mapping[str, object]) -> str:
    """Return a folder name that tells experiments apart: model, loss, and what else was set by hand.

    Examples
    --------
    `resnetse34l_aamsoftmax`, `xvector_ge2e_train.epochs3`
    """
    set_by_hand = (f"{key}{overrides[key]}" for key in sorted(overrides) if key not in ("model", "loss"))
    parts = [str(config.model["name"]), str(config.loss["name"]), *set_by_hand]
    return "_".join(re.sub(r"[^A-Za-z0-9.-]", "", part) for part in parts)


def _named(value: object, what: str) -> dict[str, object]:
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, Mapping) or "name" not in value:
        raise VouchError(f"section '{what}' of the configuration needs a 'name'")
    return dict(value)


def _resolve_loss(loss: Mapping[str, object]) -> dict[str, object]:
    name = str(loss["name"])
    options = {key: value for key, value in loss.items() if key != "name"}
    return {"name": name, **resolve_options(pick(LOSSES, name, "loss"), options, f"loss '{name}'", LOSS_ARGUMENTS)}
