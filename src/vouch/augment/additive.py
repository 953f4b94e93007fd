"""Noise, music and babble from a bank, added at a drawn signal-to-noise ratio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch

from vouch.augment.bank import Bank
from vouch.augment.base import BankEffect
from vouch.augment.draws import Ratios, check_count, draw_different
from vouch.augment.noise import mean_square, noise_gain
from vouch.augment.reverb import scale_to_power
from vouch.base.errors import VouchError

MOST_FILES = 100


class AddNoise(BankEffect):
    """Adds recordings of one kind, each at a ratio of its own; babble is several voices.

    x + sum_k n_k sqrt((P_x + f) / ((P_k + f) 10^(snr_k / 10))), where P is the mean square and f the floor. Where a
    noise is silent, or the speech, nothing is added.

    Parameters
    ----------
    bank : Bank
    kind : str
        Kind of the recordings in the bank.
    files : sequence of int
        Least and greatest number of different recordings, from 1 to 100; the number is drawn uniformly.
    snr : sequence of float, optional
        Limits of the signal-to-noise ratio of each in dB, from -200 to 200; the ratio is drawn uniformly. By default 0
        to 15.
    snrs : sequence of float, optional
        Instead of limits, ratios of which each is drawn as often as the others.
    from_start : bool
        Whether a recording always begins with its first sample, as in Kaldi's recipes; otherwise anywhere.
    power_floor : float
        f; voxceleb_trainer has 1e-4, which is not small beside quiet speech.
    keep_power : bool
        Whether all is scaled to the mean square of the speech, as Kaldi's wav-reverberate does.

    Raises
    ------
    VouchError
        The bank does not have so many recordings of this kind, a pair does not rise, or both snr and snrs are given.
    """

    tiny: ClassVar = {"kind": "noise", "files": [1, 2], "snr": [0, 15]}

    def __init__(
        self,
        bank: Bank,
        kind: str = "noise",
        files: Sequence[int] = (1, 1),
        snr: Sequence[float] | None = None,
        snrs: Sequence[float] | None = None,
        from_start: bool = False,
        power_floor: float = 0.0,
        keep_power: bool = False,
    ) -> None:
        self.bank, self.places = bank, bank.kind(kind)
        self.files = check_count("files of add_noise", files, MOST_FILES)
        self.ratios = Ratios("add_noise", snr, snrs)
        self.from_start, self.power_floor, self.keep_power = from_start, power_floor, keep_power
        if not 0 <= power_floor < 1:
            raise VouchError(f"power_floor of add_noise must be from 0 to below 1, not {power_floor}")
        if self.files[1] > len(self.places.names):
            raise VouchError(
                f"add_noise takes up to {self.files[1]} recordings of '{kind}' at once, the bank has"
                f" {len(self.places.names)}"
            )

    def draw(self, rng: np.random.Generator, rows: int, samples: int) -> dict[str, np.ndarray]:
        most, known = self.files[1], len(self.places.names)
        count = rng.integers(self.files[0], most + 1, rows)
        which = draw_different(rng, rows, most, known)
        length = self.places.length[which]
        # What is longer than the speech is not wrapped around its end.
        latest = np.zeros_like(length) if self.from_start else np.where(length > samples, length - samples, length - 1)
        return {
            "first": self.places.first[which],
            "length": length,
            "offset": rng.integers(0, latest, endpoint=True),
            "snr": self.ratios.draw(rng, (rows, most)),
            "is_used": np.arange(most) < count[:, None],
        }

    def apply(self, waves: torch.Tensor, drawn: Mapping[str, torch.Tensor]) -> torch.Tensor:
        floor, power = self.power_floor, mean_square(waves)[:, None]
        used = slice(None)
        if waves.device.type == "cpu":  # to ask another device would be to wait for it
            used = slice(int(drawn["is_used"].sum(dim=1).max()))
        drawn = {name: value[:, used] for name, value in drawn.items()}
        noise = self.recordings(drawn, waves.shape[1])
        gain = noise_gain(power + floor, mean_square(noise) + floor, drawn["snr"])
        gain = gain.masked_fill(~(drawn["is_used"] & (power > 0)), 0)
        mixed = waves + (gain[:, None] @ noise)[:, 0]
        return scale_to_power(mixed, power[:, 0], waves.shape[1]) if self.keep_power else mixed

    def fetch(self, drawn: Mapping[str, torch.Tensor], samples: int) -> torch.Tensor:
        return self.bank.excerpts(drawn["first"], drawn["length"], drawn["offset"], samples)
