"""Noises that come and go, one after another, as Kaldi's recipes have them in the foreground."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch

from vouch.augment.bank import Bank, piece_at
from vouch.augment.base import BankEffect
from vouch.augment.draws import Ratios, check_mean_length, check_range
from vouch.augment.noise import mean_square, noise_gain
from vouch.augment.reverb import scale_to_power

MOST_SECONDS = 3600.0


class AddForeground(BankEffect):
    """Adds recordings one after another, each whole and at a ratio of its own, until the speech ends.

    x + sqrt(P_x / (P_k 10^(snr_k / 10))) n_k where the recording k lies, as steps/data/augment_data_dir.py and
    wav-reverberate of Kaldi do it: P_x is the mean square of all the speech, P_k that of the whole recording, also
    where the end of the speech cuts it.

    Parameters
    ----------
    bank : Bank
    kind : str
        Kind of the recordings in the bank; each is drawn as often as the others.
    snr : sequence of float, optional
        Limits of the signal-to-noise ratio in dB, from -200 to 200; the ratio is drawn uniformly. By default 0 to 15.
    snrs : sequence of float, optional
        Instead of limits, ratios of which each is drawn as often as the others.
    interval : float
        Pause between two recordings in seconds, from 0 to 3600.
    keep_power : bool
        Whether all is scaled to the mean square of the speech, as Kaldi's wav-reverberate does.

    Raises
    ------
    VouchError
        The bank has no recordings of this kind or only clicks, or an option is out of range.
    """

    tiny: ClassVar = {"kind": "noise", "snrs": [0, 10], "interval": 0.1}

    def __init__(
        self,
        bank: Bank,
        kind: str = "noise",
        snr: Sequence[float] | None = None,
        snrs: Sequence[float] | None = None,
        interval: float = 1.0,
        keep_power: bool = False,
    ) -> None:
        self.bank, self.places, self.keep_power = bank, bank.kind(kind), keep_power
        self.ratios = Ratios("add_foreground", snr, snrs)
        self.pause = round(check_range("interval of add_foreground", interval, 0, MOST_SECONDS)[0] * bank.sample_rate)
        check_mean_length("add_foreground", self.places, self.pause, bank.sample_rate)

    def draw(self, rng: np.random.Generator, rows: int, samples: int) -> dict[str, np.ndarray]:
        which, start = [], [np.zeros(rows, np.int64)]
        while (start[-1] < samples).any():
            which.append(rng.integers(len(self.places.names), size=rows))
            start.append(start[-1] + self.places.length[which[-1]] + self.pause)
        taken = np.stack(which, axis=1)
        return {
            "first": self.places.first[taken],
            "length": self.places.length[taken],
            "power": self.places.power[taken],
            "start": np.stack(start[:-1], axis=1),
            "snr": self.ratios.draw(rng, taken.shape),
        }

    def apply(self, waves: torch.Tensor, drawn: Mapping[str, torch.Tensor]) -> torch.Tensor:
        samples = waves.shape[1]
        gain = noise_gain(waves.square().mean(dim=1, keepdim=True), drawn["power"], drawn["snr"])
        noise = self.recordings(drawn, samples)
        mixed = waves + gain.gather(1, piece_at(drawn["start"], samples)) * noise
        return scale_to_power(mixed, mean_square(waves), samples) if self.keep_power else mixed

    def fetch(self, drawn: Mapping[str, torch.Tensor], samples: int) -> torch.Tensor:
        return self.bank.lay(drawn["first"], drawn["length"], drawn["start"], samples)
