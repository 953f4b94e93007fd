"""The configuration of a training run: defaults here, overridden by a YAML file, overridden by the command line."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vouch.base.errors import VouchError, nearest, pick
from vouch.base.options import resolve_options
from vouch.encoder import NORMALIZATIONS, check_normalization
from vouch.losses.config import LossConfig
from vouch.models.config import NetworkConfig
from vouch.training.train_options import TrainOptions

SECTIONS = ("model", "loss", "normalization", "train")
# Characters of the name of an experiment, and of the digest that ends a longer one. File systems take 255 bytes, of
# which others are put around a name: what else was chosen, the names of scores.
LONGEST_NAME, DIGEST = 100, 8


@dataclass(frozen=True)
class Config:
    """The configuration of a training: every option has its value.

    Attributes
    ----------
    network : NetworkConfig
    loss : LossConfig
    normalization : str
        Normalization of the features, see `vouch.encoder.EncoderConfig`; "none" for waveforms.
    train : TrainOptions
    """

    network: NetworkConfig
    loss: LossConfig
    normalization: str
    train: TrainOptions

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for YAML."""
        values = (self.network.as_dict(), self.loss.as_dict(), self.normalization, asdict(self.train))
        return dict(zip(SECTIONS, values, strict=True))


def resolve_config(file: Mapping[str, object], overrides: Mapping[str, object]) -> Config:
    """Combine defaults, a configuration file and the command line.

    Parameters
    ----------
    file : mapping of str to object
        `{"model": {...}, "loss": {...}, "normalization": ..., "train": {...}}`, all optional; a model or a loss without
        options may be just its name.
    overrides : mapping of str to object
        Dotted names to values: `{"loss": "ge2e", "loss.variant": "contrast", "train.epochs": "3"}`, or for a sum
        `{"loss": "softmax+ge2e", "loss.ge2e.weight": "0.5"}`. Another model or loss than the file's starts from its own
        defaults.

    Raises
    ------
    VouchError
        An unknown name, option or value, naming the nearest.
    """
    for section in file:
        if section not in SECTIONS:
            raise VouchError(f"unknown section '{section}' of the configuration{nearest(str(section), SECTIONS)}")
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
        # What a recipe says of features is not meant for waveforms; what the command line says is, and is refused.
        normalization = overrides.get("normalization", "none")
    check_normalization(str(normalization), network)
    return Config(
        network,
        LossConfig.from_dict(sections["loss"]),
        str(normalization),
        TrainOptions(**resolve_options(TrainOptions, sections["train"], "train")),
    )


def known_options(sections: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Return the dotted names that the command line may set for this model and loss."""
    loss = LossConfig.from_dict({"name": sections["loss"]["name"]})
    network = NetworkConfig.from_dict({"name": sections["model"]["name"]})
    options = {"loss": loss.as_dict(), "model": network.as_dict(), "train": asdict(TrainOptions())}
    return [*SECTIONS[:3], *(name for name in _dotted(options) if name not in ("model.name", "loss.name"))]


def _set(options: dict[str, object], name: str, value: object) -> None:
    """Set an option; `part.option` is an option of a part of a sum of losses."""
    part, dot, inner = name.partition(".")
    if not dot:
        options[name] = value
        return
    below = options.get(part, {})
    options[part] = {**(below if isinstance(below, Mapping) else {}), inner: value}


def experiment_name(file: Mapping[str, object], config: Config, overrides: Mapping[str, object]) -> str:
    """Return a folder name that tells experiments apart: model, loss, and what else was set by hand.

    Parameters
    ----------
    file, overrides : mapping of str to object
        Arguments of `resolve_config`.
    config : Config
        Configuration that they resolve to. An override that changes nothing is left out of the name.

    Returns
    -------
    str
        At most `LONGEST_NAME` characters: letters, digits, and `_`, `.`, `+`, `-`. The end of a longer one is replaced
        by a digest of all of it.

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
    """Return the values of nested mappings by dotted name: `{"train": {"epochs": 3}}` is `{"train.epochs": 3}`."""
    flat: dict[str, object] = {}
    for name, value in section.items():
        flat |= _dotted(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _plain(value: object) -> str:
    """Write a value with the characters that a folder name has: `[8, 16]` is `8-16`."""
    text = "-".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return re.sub(r"[^A-Za-z0-9_.+-]", "", text)


def _named(value: object, what: str) -> dict[str, object]:
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise VouchError(f"section '{what}' of the configuration needs a 'name'")
    return dict(value)
