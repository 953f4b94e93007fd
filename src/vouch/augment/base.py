"""What all effects share: they are drawn on the host, for a whole batch, and done on the device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import ClassVar

import numpy as np
import torch

from vouch.augment.bank import FULL_SCALE, Bank

# What is drawn for an effect may hold the recordings themselves: see `BankEffect.recordings`.
RECORDINGS = "recordings"


class Effect(ABC):
    """Something that happens to waveforms: a new one is one class, and a line in `vouch.augment.EFFECTS`.

    What is random is drawn by `draw`, which knows neither samples nor device; `apply` is the same arithmetic on any
    device and never waits for it. So the draws of a batch follow from its seed alone.

    Attributes
    ----------
    tiny : mapping
        Options that suit one second of speech at 16 kHz: what tests use.
    is_offline : bool
        Whether the effect works on the host alone, row by row, so that only stage 2 may have it.
    rows_at_once : int
        Waveforms that are changed together on the CPU: few, so that they stay in its cache.
    sorted_by : str or None
        Name of what is drawn by which the waveforms are best sorted, where it saves time to change those together for
        which it is alike.
    """

    tiny: ClassVar[Mapping[str, object]] = {}
    is_offline: ClassVar[bool] = False
    rows_at_once: ClassVar[int] = 8
    sorted_by: ClassVar[str | None] = None

    @abstractmethod
    def draw(self, rng: np.random.Generator, rows: int, samples: int) -> dict[str, np.ndarray]:
        """Draw what `apply` needs besides the waveforms: arrays of which each has a row for each waveform.

        Parameters
        ----------
        rng : np.random.Generator
        rows : int
            Waveforms.
        samples : int
            Length of what `apply` gives.
        """

    @abstractmethod
    def apply(self, waves: torch.Tensor, drawn: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Change waveforms.

        Parameters
        ----------
        waves : (rows, samples) float32
        drawn : mapping of str to Tensor
            What was drawn for each, on the device of the waveforms.

        Returns
        -------
        (rows, samples) float32
        """


class BankEffect(Effect):
    """An effect that takes recordings from a bank.

    Attributes
    ----------
    bank : Bank
    """

    bank: Bank

    def reach(self, samples: int) -> int:
        """Return how many samples `fetch` gives for waveforms of so many."""
        return samples

    @abstractmethod
    def fetch(self, drawn: Mapping[str, torch.Tensor], samples: int) -> torch.Tensor:
        """Return what was drawn of the recordings, (rows, ..., samples) float32 in [-1, 1]."""

    def recordings(self, drawn: Mapping[str, torch.Tensor], samples: int) -> torch.Tensor:
        """Return what `fetch` gives, which a bank that is not on the device has given already, as 16-bit integers."""
        if RECORDINGS in drawn:
            return drawn[RECORDINGS].float() / FULL_SCALE
        return self.fetch(drawn, samples)


class Constant:
    """A tensor that `apply` needs on the device: copied there once, because a copy waits for the device.

    Parameters
    ----------
    value : Tensor
        On the CPU.
    """

    def __init__(self, value: torch.Tensor) -> None:
        self._copies = {value.device: value}
        self._value = value

    def on(self, device: torch.device) -> torch.Tensor:
        """Return the tensor on a device."""
        if device not in self._copies:
            self._copies[device] = self._value.to(device)
        return self._copies[device]


def as_tensors(drawn: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Return what was drawn as tensors, on the CPU; floating-point numbers as float32."""
    return {
        name: torch.from_numpy(value.astype(np.float32) if value.dtype.kind == "f" else value)
        for name, value in drawn.items()
    }


@dataclass(frozen=True)
class Step:
    """An effect, the rows of a batch that it changes, and what was drawn for them.

    Attributes
    ----------
    effect : Effect
    rows : (rows,) int64
        Positions in the batch.
    drawn : mapping of str to Tensor
    """

    effect: Effect
    rows: torch.Tensor
    drawn: Mapping[str, torch.Tensor]

    def split(self, rows: int) -> Iterator[Step]:
        """Yield the step in parts of so many rows, of which the last may have fewer."""
        parts = zip(*(value.split(rows) for value in self.drawn.values()), strict=True) if self.drawn else repeat(())
        for part, drawn in zip(self.rows.split(rows), parts, strict=False):
            yield Step(self.effect, part, dict(zip(self.drawn, drawn, strict=True)))

    def to(self, device: torch.device) -> Step:
        """Return the step with its tensors on a device."""
        drawn = {name: value.to(device, non_blocking=True) for name, value in self.drawn.items()}
        return Step(self.effect, self.rows.to(device, non_blocking=True), drawn)

    def pinned(self) -> Step:
        """Return the step with its tensors in page-locked memory."""
        drawn = {name: value.pin_memory() for name, value in self.drawn.items()}
        return Step(self.effect, self.rows.pin_memory(), drawn)


def run(steps: Sequence[Step], waves: torch.Tensor) -> torch.Tensor:
    """Carry out the steps of a plan one after the other.

    Parameters
    ----------
    steps : sequence of Step
        On the device of the waveforms; see `vouch.augment.tree.Tree.plan`.
    waves : (batch, samples) float32
        Changed in place.

    Returns
    -------
    (batch, samples) float32
        The same tensor.
    """
    for step in steps:
        for part in step.split(step.effect.rows_at_once) if waves.device.type == "cpu" else [step]:
            waves.index_copy_(0, part.rows, part.effect.apply(waves[part.rows], part.drawn))
    return waves
