"""Speed perturbation: speech played faster or slower, which changes its pitch too (Ko et al., Interspeech 2015)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch

from vouch.augment.base import Constant
from vouch.augment.resampling import resample, resampling_filters
from vouch.base.errors import VouchError

# A factor is taken as the nearest fraction with at most this denominator: 0.9 is 9/10.
LARGEST_DENOMINATOR = 100


class Speed:
    """Plays each crop at one of several speeds: y(t) = x(speed t).

    It comes before all effects, since it alone takes another number of samples than it gives.

    Parameters
    ----------
    factors : sequence of float
        Speeds from 0.5 to 2, each as often as the others; 1 leaves speech as it is.
    as_speakers : bool
        Whether a speaker is another one at each other speed, since the voice is; "sp0.9-NAME", as Kaldi has it.

    Raises
    ------
    VouchError
        There is no speed, one is there twice, or one is out of range.
    """

    def __init__(self, factors: Sequence[float] = (1.0, 0.9, 1.1), as_speakers: bool = False) -> None:
        if not factors or not all(isinstance(factor, (int, float)) and 0.5 <= factor <= 2 for factor in factors):
            raise VouchError(f"factors of speed must be numbers from 0.5 to 2, not {list(factors)}")
        self.factors = [Fraction(factor).limit_denominator(LARGEST_DENOMINATOR) for factor in factors]
        self.as_speakers = as_speakers
        self._filters = {factor: Constant(resampling_filters(1 / factor)) for factor in self.factors if factor != 1}
        if len(set(self.factors)) < len(factors):
            raise VouchError(f"factors of speed must differ, not {list(factors)}")

    def samples_needed(self, samples: int) -> int:
        """Return how many samples the fastest speed plays in the time of so many."""
        return max(samples, *(math.ceil(samples * factor) for factor in self.factors))

    def choose(self, rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
        """Draw the number of the speed of each row, (batch,) int64; rows of one speaker, by `labels`, have one speed.

        So a loss that compares several utterances of each speaker finds them also where speeds are new speakers.
        """
        speakers, row = np.unique(labels, return_inverse=True)
        return rng.integers(len(self.factors), size=len(speakers))[row]

    def groups(self, choice: np.ndarray) -> list[torch.Tensor]:
        """Return the rows of a batch that are played at each of the speeds, (rows,) int64 of each."""
        return [torch.from_numpy(np.flatnonzero(choice == number)) for number in range(len(self.factors))]

    def speakers(self, names: Sequence[str]) -> list[str]:
        """Return the names of the classes, of which `labels` gives the positions."""
        if not self.as_speakers:
            return list(names)
        prefixes = ["" if factor == 1 else f"{speed_name(factor)}-" for factor in self.factors]
        return [f"{prefix}{name}" for prefix in prefixes for name in names]

    def labels(self, labels: np.ndarray, choice: np.ndarray, speakers: int) -> np.ndarray:
        """Return the classes of rows, of which there are `speakers` for each speed, or in all."""
        return labels + speakers * choice if self.as_speakers else labels

    def apply(self, waves: torch.Tensor, groups: Sequence[torch.Tensor], samples: int) -> torch.Tensor:
        """Play a batch.

        Parameters
        ----------
        waves : (batch, samples_needed) float32
        groups : sequence of Tensor
            What was drawn, on the device of the waveforms.
        samples : int
            Length of what comes out.

        Returns
        -------
        (batch, samples) float32
        """
        played = waves[:, :samples].clone()
        for factor, rows in zip(self.factors, groups, strict=True):
            if factor != 1 and len(rows):
                changed = self.play(waves[rows, : math.ceil(samples * factor)], factor)[:, :samples]
                played.index_copy_(0, rows, changed)
        return played

    def play(self, waves: torch.Tensor, factor: Fraction) -> torch.Tensor:
        """Play whole waveforms, (batch, samples) float32, at one of the speeds: (batch, ceil(samples / factor))."""
        return waves if factor == 1 else resample(waves, 1 / factor, self._filters[factor].on(waves.device))


def speed_name(factor: Fraction) -> str:
    """Return what Kaldi calls a speed: "sp0.9"."""
    return f"sp{float(factor):g}"
