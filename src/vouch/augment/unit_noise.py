"""Noise beside speech of unit level, as the AddNoise of pyannote.audio 1 has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch

from vouch.augment.bank import Bank, piece_at
from vouch.augment.base import BankEffect
from vouch.augment.draws import MOST_DB, check_mean_length, check_range
from vouch.base.errors import VouchError


class AddUnitNoise(BankEffect):
    """Brings speech to a root mean square of 1, and adds recordings of that level, joined until they cover it.

    x / rms(x) + 10^(-snr / 20) n, where each piece of n is divided by its own rms. Of a recording that is longer than
    what is left to cover, a piece from anywhere is taken, else all. What is silent stays silent.

    Parameters
    ----------
    bank : Bank
    kind : sequence of str
        Kinds of the recordings in the bank; each recording of these is drawn as often as the others.
    snr : sequence of float
        Limits of the signal-to-noise ratio in dB, from -200 to 200; the ratio is drawn uniformly.

    Raises
    ------
    VouchError
        The bank has no recordings of a kind or only clicks, or the limits do not rise.
    """

    tiny: ClassVar = {"kind": ["noise", "speech"], "snr": [0, 15]}

    def __init__(self, bank: Bank, kind: Sequence[str] = ("noise",), snr: Sequence[float] = (5.0, 20.0)) -> None:
        if not kind:
            raise VouchError("kind of add_unit_noise names no kind of recordings")
        self.bank, self.places = bank, bank.kind(*kind)
        self.snr = check_range("snr of add_unit_noise", snr, -MOST_DB, MOST_DB)
        check_mean_length("add_unit_noise", self.places, 0, bank.sample_rate)

    def draw(self, rng: np.random.Generator, rows: int, samples: int) -> dict[str, np.ndarray]:
        pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        start = np.zeros(rows, np.int64)
        while (start < samples).any():
            which = rng.integers(len(self.places.names), size=rows)
            known, left = self.places.length[which], samples - start
            offset = rng.integers(0, np.maximum(known - left, 0), endpoint=True)
            length = np.minimum(known, left)
            pieces.append((self.places.first[which] + offset, length, start))
            start = start + length
        columns = zip(*pieces, strict=True)
        drawn = dict(zip(("first", "length", "start"), (np.stack(each, axis=1) for each in columns), strict=True))
        return {**drawn, "snr": rng.uniform(*self.snr, rows)}

    def apply(self, waves: torch.Tensor, drawn: Mapping[str, torch.Tensor]) -> torch.Tensor:
        length, start, samples = drawn["length"], drawn["start"], waves.shape[1]
        noise = self.recordings(drawn, samples)
        # The sum of squares over a piece is a difference of sums from the beginning on.
        sums = torch.nn.functional.pad(noise.double().square().cumsum(dim=1), (1, 0))
        power = (sums.gather(1, start + length) - sums.gather(1, start)) / length
        level = torch.where(power > 0, power.rsqrt(), 0).float().gather(1, piece_at(start, samples))
        speech_power = waves.square().mean(dim=1, keepdim=True)
        mixed = waves * speech_power.rsqrt() + 10 ** (-drawn["snr"] / 20)[:, None] * level * noise
        return torch.where(speech_power > 0, mixed, 0)

    def fetch(self, drawn: Mapping[str, torch.Tensor], samples: int) -> torch.Tensor:
        return self.bank.lay(drawn["first"], drawn["length"], drawn["start"], samples)
