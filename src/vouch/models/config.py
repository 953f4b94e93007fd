"""Configuration of a network: checks its name and options, builds the network, converts to plain values."""

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
    """The name and the options of a network.

    Attributes
    ----------
    name : str
        A name in `vouch.models.MODELS`.
    options : mapping
        Options of that network, as its constructor names them; missing ones get their defaults.

    Raises
    ------
    VouchError
        The name or an option is unknown (the message names the nearest), or a value has the wrong type.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        network = pick(MODELS, self.name, "model")
        resolved = resolve_options(network, self.options, f"model '{self.name}'", given=["num_bins"])
        object.__setattr__(self, "options", Options(resolved))

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> NetworkConfig:
        """Read a configuration from YAML or a checkpoint: "name" and the options."""
        options = {option: value for option, value in config.items() if option != "name"}
        return cls(str(config.get("name", "")), options)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for YAML and checkpoints."""
        return {"name": self.name, **plain_values(self.options)}

    @property
    def takes_waveforms(self) -> bool:
        """Whether the network takes waveforms instead of features."""
        return MODELS[self.name].input_kind == "waveform"

    @property
    def front_end(self) -> FrontEndConfig | None:
        """Front end of a network that takes waveforms; None for others.

        It passes the waveform on as features of one dimension, at the sampling rate of the network.
        """
        if not self.takes_waveforms:
            return None
        return FrontEndConfig("waveform", {"sample_rate": self.options["sample_rate"]})

    def build(self, num_bins: int) -> SpeakerNetwork:
        """Return the network with newly initialised weights; `num_bins` is used only if it takes features.

        Raises
        ------
        VouchError
            An option has an impossible value.
        """
        sizes = () if self.takes_waveforms else (num_bins,)
        return MODELS[self.name](*sizes, **plain_values(self.options))

    def build_without_memory(self, num_bins: int) -> SpeakerNetwork:
        """Return a network whose tensors have shapes but no memory, to compare with the weights of a file.

        An untrusted file of a few bytes can ask for a network of any size.

        Raises
        ------
        VouchError
            No network has such sizes.
        """
        check_plain(self.as_dict())
        check_plain(num_bins)
        return build_without_memory(lambda: self.build(num_bins))
