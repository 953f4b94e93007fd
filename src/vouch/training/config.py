"""Resolves the configuration of a training run: defaults, overridden by a YAML file, overridden by the command line."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from vouch.augment.config import AugmentConfig
from vouch.base.errors import VouchError, nearest, pick
from vouch.base.options import resolve_options
from vouch.encoder import NORMALIZATIONS, check_normalization
from vouch.losses.config import LossConfig
from vouch.models.config import NetworkConfig
from vouch.training.train_options import TrainOptions

SECTIONS = ("model", "loss", "normalization", "train")
# A section that the command line sets as a whole, by the name of a file.
AUGMENT = "augment"
# Length of an experiment's name, and of the digest that ends a longer one. File systems allow 255 bytes, which must
# also hold what other files add to the name.
LONGEST_NAME, DIGEST = 100, 8


@dataclass(frozen=True)
class Config:
    """The complete configuration of a training run, with a value for every option.

    Attributes
    ----------
    network : NetworkConfig
    loss : LossConfig
    normalization : str
        Normalisation of the features, see `vouch.encoder.EncoderConfig`; "none" for waveforms.
    train : TrainOptions
    augment : AugmentConfig
    """

    network: NetworkConfig
    loss: LossConfig
    normalization: str
    train: TrainOptions
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    @property
    def reads_waveforms(self) -> bool:
        """Whether training reads recordings, of which features, if the network takes those, are computed then."""
        return self.network.takes_waveforms or self.augment.is_online

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for YAML."""
        values = (self.network.as_dict(), self.loss.as_dict(), self.normalization, asdict(self.train))
        augment = self.augment.as_dict()
        return dict(zip(SECTIONS, values, strict=True)) | ({AUGMENT: augment} if augment else {})


def resolve_config(file: Mapping[str, object], overrides: Mapping[str, object]) -> Config:
    """Combine defaults, a configuration file and the command line.

    Parameters
    ----------
    file : mapping of str to object
        `{"model": {...}, "loss": {...}, "normalization": ..., "train": {...}, "augment": {...}}`, all optional; the
        name of a model or loss can replace its section.
    overrides : mapping of str to object
        Dotted names to values: `{"loss": "ge2e", "loss.variant": "contrast", "train.epochs": "3"}`, or for a sum
        `{"loss": "softmax+ge2e", "loss.ge2e.weight": "0.5"}`. Another model or loss than that of the file gets its own
        defaults.

    Raises
    ------
    VouchError
        A name, option or value is unknown; the message names the nearest.
    """
    for section in file:
        if section not in (*SECTIONS, AUGMENT):
            known = (*SECTIONS, AUGMENT)
            raise VouchError(f"unknown section '{section}' of the configuration{nearest(str(section), known)}")
    model = _named(file.get("model", "resnetse34l"), "model")
    loss = _named(file.get("loss", "aamsoftmax"), "loss")
    train = file.get("train", {})
    if not isinstance(train, Mapping):
        raise VouchError("section 'train' of the configuration must hold 'option: value' lines")
    sections: dict[str, dict[str, object]] = {"model": model, "loss": loss, "train": dict(train)}
    normalization = file.get("normalization", "mean")
    for name in ("model", "loss"):
        if overrides.get(name, sections[name]["name"]) != sections[name]["name"]:
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
    network = NetworkConfig.from_dict(sections["model"])
    if network.takes_waveforms:
        # A recipe's normalisation does not apply to waveforms; one on the command line is kept and leads to an error.
        normalization = overrides.get("normalization", "none")
    check_normalization(str(normalization), network)
    told = file.get(AUGMENT, {})
    if not isinstance(told, Mapping):
        raise VouchError(f"section '{AUGMENT}' of the configuration must hold 'option: value' lines")
    augment = AugmentConfig.from_dict(told)
    if network.takes_waveforms and augment.features is not None:
        raise VouchError(
            f"the augmentation masks features, and {network.name} takes waveforms; take its section 'features' out"
        )
    return Config(
        network,
        LossConfig.from_dict(sections["loss"]),
        str(normalization),
        TrainOptions(**resolve_options(TrainOptions, sections["train"], "train")),
        augment,
    )


def known_options(sections: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Return the dotted names of all options that the command line can set for this model and loss."""
    loss = LossConfig.from_dict({"name": sections["loss"]["name"]})
    network = NetworkConfig.from_dict({"name": sections["model"]["name"]})
    options = {"loss": loss.as_dict(), "model": network.as_dict(), "train": asdict(TrainOptions())}
    return [*SECTIONS[:3], *(name for name in _dotted(options) if name not in ("model.name", "loss.name"))]


def _set(options: dict[str, object], name: str, value: object) -> None:
    """Set an option; for a sum of losses, `part.option` sets an option of that part."""
    part, dot, inner = name.partition(".")
    if not dot:
        options[name] = value
        return
    below = options.get(part, {})
    options[part] = {**(below if isinstance(below, Mapping) else {}), inner: value}


def experiment_name(file: Mapping[str, object], config: Config, overrides: Mapping[str, object]) -> str:
    """Return a folder name that distinguishes experiments: model, loss, and the options on the command line.

    Parameters
    ----------
    file, overrides : mapping of str to object
        Arguments that were passed to `resolve_config`.
    config : Config
        The resolved configuration. Overrides that change nothing are left out of the name.

    Returns
    -------
    str
        At most `LONGEST_NAME` characters: letters, digits, `_`, `.`, `+`, `-`. A longer name ends with a digest of the
        whole name instead of its rest.

    Examples
    --------
    `resnetse34l_aamsoftmax`, `xvector_ge2e_train.epochs3`, `xvector_softmax_model.channels8-8-8-8-16`
    """
    named = {key: value for key, value in overrides.items() if key in ("model", "loss")}
    ours, usual = (_dotted(part.as_dict()) for part in (config, resolve_config(file, named)))
    set_by_hand = (f"{key}{_plain(ours[key])}" for key in sorted(overrides) if ours.get(key) != usual.get(key))
    name = "_".join([config.network.name, config.loss.name, *set_by_hand])
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:DIGEST]
    return f"{name[: LONGEST_NAME - DIGEST - 1]}_{digest}"


def _dotted(section: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Flatten nested mappings to dotted names: `{"train": {"epochs": 3}}` becomes `{"train.epochs": 3}`."""
    flat: dict[str, object] = {}
    for name, value in section.items():
        flat |= _dotted(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _plain(value: object) -> str:
    """Write a value with characters that are safe in a folder name: `[8, 16]` becomes `8-16`."""
    text = "-".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return re.sub(r"[^A-Za-z0-9_.+-]", "", text)


def _named(value: object, what: str) -> dict[str, object]:
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise VouchError(f"section '{what}' of the configuration needs a 'name'")
    return dict(value)
