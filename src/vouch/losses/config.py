"""Configuration of a loss or a sum of losses: checks names and options, builds the loss, converts to plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vouch.base.errors import VouchError, pick
from vouch.base.options import Options, convert, plain_values, resolve_options
from vouch.losses import LOSSES
from vouch.losses.base import SpeakerLoss
from vouch.losses.weighted_sum import WeightedSum

# Arguments that the program itself passes to a loss.
_GIVEN = ("embedding_dim", "num_speakers")


@dataclass(frozen=True)
class LossPart:
    """One loss: its name, its options, and its weight in a sum of losses.

    Attributes
    ----------
    name : str
        A name in `vouch.losses.LOSSES`.
    options : mapping
        Options of that loss, as its constructor names them; missing ones get their defaults.
    weight : float
        Factor of this loss in a sum; a single loss has none.

    Raises
    ------
    VouchError
        A name or an option is unknown (the message names the nearest), or a value has the wrong type.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0

    def __post_init__(self) -> None:
        weight = convert(self.weight, float, f"the weight of loss '{self.name}'")
        resolved = resolve_options(pick(LOSSES, self.name, "loss"), self.options, f"loss '{self.name}'", _GIVEN)
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "options", Options(resolved))

    def build(self, embedding_dim: int, num_speakers: int) -> SpeakerLoss:
        """Return the loss with newly initialised weights; `VouchError` for an impossible value."""
        return LOSSES[self.name](embedding_dim, num_speakers, **plain_values(self.options))


@dataclass(frozen=True)
class LossConfig:
    """A loss, or the weighted sum of several.

    Attributes
    ----------
    parts : tuple of LossPart
        One loss, or the terms of a sum.

    Raises
    ------
    VouchError
        A loss occurs twice.
    """

    parts: tuple[LossPart, ...]

    def __post_init__(self) -> None:
        if len({part.name for part in self.parts}) < len(self.parts):
            raise VouchError(f"loss '{self.name}' names a loss twice; give it a larger weight")

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> LossConfig:
        """Read a configuration from YAML or a checkpoint: "name" and the options.

        A name such as "aamsoftmax+angleproto" is the sum of both losses; each has its options, and its "weight" in the
        sum, under its own name: `{"name": "softmax+triplet", "triplet": {"weight": 0.5}}`.

        Raises
        ------
        VouchError
            As in the classes, or an option belongs to no term of the sum.
        """
        name = str(config["name"])
        options = {option: value for option, value in config.items() if option != "name"}
        names = name.split("+")
        if len(names) == 1:
            return cls((LossPart(name, options),))
        for part in options:
            pick(dict.fromkeys(names), part, f"part of the loss '{name}'")
        return cls(tuple(_read_part(part, options.get(part, {})) for part in names))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for YAML and checkpoints."""
        if len(self.parts) == 1:
            return {"name": self.name, **plain_values(self.parts[0].options)}
        each = {part.name: {"weight": part.weight, **plain_values(part.options)} for part in self.parts}
        return {"name": self.name, **each}

    @property
    def name(self) -> str:
        """Names of the losses, joined by "+"."""
        return "+".join(part.name for part in self.parts)

    def build(self, embedding_dim: int, num_speakers: int) -> SpeakerLoss:
        """Return the loss with newly initialised weights.

        Raises
        ------
        VouchError
            A value is impossible, or the terms of a sum need different batches.
        """
        if len(self.parts) == 1:
            return self.parts[0].build(embedding_dim, num_speakers)
        losses = {part.name: part.build(embedding_dim, num_speakers) for part in self.parts}
        weights = {part.name: part.weight for part in self.parts}
        return WeightedSum(embedding_dim, num_speakers, losses, weights)


def _read_part(name: str, options: object) -> LossPart:
    if not isinstance(options, Mapping):
        raise VouchError(f"'{name}' in the configuration of the loss must hold 'option: value' lines, not {options!r}")
    own = {option: value for option, value in options.items() if option != "weight"}
    return LossPart(name, own, options.get("weight", 1.0))
