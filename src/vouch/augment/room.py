"""Reverberation with the responses of a bank."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch

from vouch.augment.bank import Bank
from vouch.augment.base import BankEffect
from vouch.augment.reverb import reverberate, reverberate_undelayed
from vouch.base.errors import VouchError

# Longer responses are cut: 10 s is longer than the reverberation of any room that people talk in.
MOST_SECONDS = 10.0


class Reverberate(BankEffect):
    """Puts speech into a room: a response that is drawn from a bank, each as often as the others.

    Parameters
    ----------
    bank : Bank
    kind : str
        Kind of the responses in the bank.
    seconds : float
        What is longer of a response is cut off; from 0.01 to 10.
    keep_delay : bool
        The delay of the direct sound stays, and the response has unit energy, as in voxceleb_trainer; otherwise speech
        stays where and as loud as it was, as Kaldi has it. See `vouch.augment.reverb`.

    Raises
    ------
    VouchError
        The bank has no responses of this kind, `seconds` is out of range, or what is left of a response is silent.
    """

    tiny: ClassVar = {"kind": "room"}
    sorted_by: ClassVar = "taps"

    def __init__(self, bank: Bank, kind: str = "room", seconds: float = 2.0, keep_delay: bool = False) -> None:
        self.bank, self.places, self.keep_delay = bank, bank.kind(kind), keep_delay
        if not 0.01 <= seconds <= MOST_SECONDS:
            raise VouchError(f"seconds of reverberate must be from 0.01 to {MOST_SECONDS:g}, not {seconds}")
        self.most = min(int(self.places.length.max()), round(seconds * bank.sample_rate))
        self._check_sound(kind, seconds)

    def _check_sound(self, kind: str, seconds: float) -> None:
        """Raise `VouchError` when a response is silent up to where it is cut."""
        if self.bank.samples.is_meta:
            return
        for name, first, length in zip(self.places.names, self.places.first, self.places.length, strict=True):
            if not self.bank.samples[first : first + min(length, self.most)].any():
                raise VouchError(
                    f"the response '{name}' of '{kind}' is silent for {min(length, self.most)} samples, where"
                    f" reverberate cuts it; give it more seconds than {seconds:g}, or take the file out"
                )

    def reach(self, samples: int) -> int:
        """Return the length of the longest response, whatever the waveforms."""
        return self.most

    def fetch(self, drawn: Mapping[str, torch.Tensor], samples: int) -> torch.Tensor:
        return self.bank.excerpts(drawn["first"], drawn["taps"], torch.zeros_like(drawn["first"]), samples)

    def draw(self, rng: np.random.Generator, rows: int, samples: int) -> dict[str, np.ndarray]:
        which = rng.integers(len(self.places.names), size=rows)
        return {"first": self.places.first[which], "taps": np.minimum(self.places.length[which], self.most)}

    def apply(self, waves: torch.Tensor, drawn: Mapping[str, torch.Tensor]) -> torch.Tensor:
        taps = drawn["taps"]
        # On the CPU the longest of these alone counts; to ask another device for it would be to wait for it.
        most = int(taps.max()) if taps.device.type == "cpu" else self.most
        responses = self.recordings(drawn, most)[:, :most]
        is_behind = torch.arange(most, device=waves.device) >= taps[:, None]
        responses = responses.masked_fill(is_behind, 0)
        if self.keep_delay:
            return reverberate_undelayed(waves, responses)
        return reverberate(waves, responses, taps)
