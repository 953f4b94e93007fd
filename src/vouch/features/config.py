"""Configuration of a front end: checks its type and options, builds it, converts to plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vouch.base.channels import MEAN, parse_channel
from vouch.base.errors import VouchError, pick
from vouch.base.options import Options, plain_values, read_yaml, resolve_options
from vouch.features import FEATURES
from vouch.features.base import FrontEnd


@dataclass(frozen=True)
class FrontEndConfig:
    """The type and the options of a front end, and the channel of recordings that it gets.

    Attributes
    ----------
    type : str
        A name in `vouch.features.FEATURES`.
    options : mapping
        Options of that front end, as its constructor names them; missing ones get their defaults.
    channel : "mean" or int
        Channel of recordings: the mean of all, or a channel number from 0.

    Raises
    ------
    VouchError
        A type or option is unknown (the message names the nearest), a value has the wrong type, or there is no channel.
    """

    type: str
    options: Mapping[str, Any] = field(default_factory=dict)
    channel: int | str = MEAN

    def __post_init__(self) -> None:
        resolved = resolve_options(pick(FEATURES, self.type, "feature type"), self.options, f"feature '{self.type}'")
        object.__setattr__(self, "options", Options(resolved))
        object.__setattr__(self, "channel", parse_channel(self.channel))

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> FrontEndConfig:
        """Read a configuration from YAML or a checkpoint: "type", the options, and "channel" unless it is "mean"."""
        if "type" not in config:
            raise VouchError(f"a feature configuration needs 'type', one of: {', '.join(FEATURES)}")
        options = {name: value for name, value in config.items() if name not in ("type", "channel")}
        return cls(str(config["type"]), options, config.get("channel", MEAN))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for YAML and checkpoints."""
        return {"type": self.type, **plain_values(self.options), "channel": self.channel}

    @property
    def sample_rate(self) -> int:
        """Sampling rate of its input in Hz."""
        return self.options["sample_rate"]

    @property
    def gives_waveforms(self) -> bool:
        """Whether its output is the waveform itself, for networks that take waveforms."""
        return self.type == "waveform"

    def build(self) -> FrontEnd:
        """Return the front end, a module without weights.

        The reader of a recording applies the channel, since the input of a front end has only one.

        Raises
        ------
        VouchError
            An option has an impossible value.
        """
        return FEATURES[self.type](**plain_values(self.options))


def read_feature(data: str | Path) -> FrontEndConfig | None:
    """Return the front end of the features in a data directory; None if it is unknown."""
    path = Path(data) / "feature.yaml"
    return FrontEndConfig.from_dict(read_yaml(path)) if path.exists() else None


def check_same_feature(wanted: FrontEndConfig | None, found: FrontEndConfig | None, where: str) -> None:
    """Raise `VouchError` with the first option in which features differ from those that a model was trained on.

    Parameters
    ----------
    wanted : FrontEndConfig or None
        The model's front end; None: unknown.
    found : FrontEndConfig or None
        The front end of the features; None: unknown.
    where : str
        File with the configuration of the features, for the message.
    """
    if wanted is None or found is None:
        return
    theirs = found.as_dict()
    for name, value in wanted.as_dict().items():
        other = theirs.get(name)
        if other != value:
            raise VouchError(f"{where}: {name} is {other}, the model was trained with {value}; rerun stage 1")
