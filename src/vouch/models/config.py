"""Which network, with which options: checked once, built from there, and written to files as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vouch.base.errors import pick
from vouch.base.options import Options, plain_values, resolve_options
from vouch.base.torchfile import check_plain
from vouch.features.config import FrontEndConfig
from vouch.models import MODELS
from vouch.models.base import SpeakerNetwork
from vouch.models.shapes import build_without_memory


@dataclass(frozen=True)
class NetworkConfig:
    """A network by its name, and the value of each of its options.

    Attributes
    ----------
    name : str
        In `vouch.models.MODELS`.
    options : mapping
        Options of that network, as its constructor names them; those that are not given get their defaults.

    Raises
    ------
    VouchError
        An unknown name or option, naming the nearest, or a value of the wrong type.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        network = pick(MODELS, self.name, "model")
        resolved = resolve_options(network, self.options, f"model '{self.name}'", given=["num_bins"])
        object.__setattr__(self, "options", Options(resolved))

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> NetworkConfig:
        """Read what YAML and checkpoints hold: "name" and the options."""
        options = {option: value for option, value in config.items() if option != "name"}
        return cls(str(config.get("name", "")), options)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for YAML and checkpoints."""
        return {"name": self.name, **plain_values(self.options)}

    @property
    def takes_waveforms(self) -> bool:
        """Whether it takes waveforms; otherwise features."""
        return MODELS[self.name].input_kind == "waveform"

    @property
    def front_end(self) -> FrontEndConfig | None:
        """The front end of a network that takes waveforms; None for any other.

        Waveforms are features of one dimension, at the sampling rate that the network is made for.
        """
        if not self.takes_waveforms:
            return None
        return FrontEndConfig("waveform", {"sample_rate": self.options["sample_rate"]})

    def build(self, num_bins: int) -> SpeakerNetwork:
        """Return the network, with fresh weights; `num_bins` counts only for one that takes features.

        Raises
        ------
        VouchError
            An impossible value.
        """
        sizes = () if self.takes_waveforms else (num_bins,)
        return MODELS[self.name](*sizes, **plain_values(self.options))

    def build_without_memory(self, num_bins: int) -> SpeakerNetwork:
        """Return a network whose tensors have shapes but no memory, to compare weights with before they are believed.

        A file is not to be trusted: in a few bytes it can ask for a network of any size.

        Raises
        ------
        VouchError
            Sizes of no network.
        """
        check_plain(self.as_dict())
        check_plain(num_bins)
        return build_without_memory(lambda: self.build(num_bins))
