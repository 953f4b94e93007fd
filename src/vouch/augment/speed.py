"""Speed perturbation: speech played faster or slower, which changes its pitch too (Ko et al., Interspeech 2015)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch
from torchaudio.functional import resample

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

    Raises
    ------
    VouchError
        There is no speed, or one is out of range.
    """

    def __init__(self, factors: Sequence[float] = (0.9, 1.0, 1.1)) -> None:
        if not factors or not all(isinstance(factor, (int, float)) and 0.5 <= factor <= 2 for factor in factors):
            raise VouchError(f"factors of speed must be numbers from 0.5 to 2, not {list(factors)}")
        self.factors = [Fraction(factor).limit_denominator(LARGEST_DENOMINATOR) for factor in factors]

    def samples_needed(self, samples: int) -> int:
        """Return how many samples the fastest speed plays in the time of so many."""
        return max(samples, *(math.ceil(samples * factor) for factor in self.factors))

    def draw(self, rng: np.random.Generator, rows: int) -> list[torch.Tensor]:
        """Return the rows of a batch that are played at each of the speeds, (rows,) int64 of each."""
        choice = rng.integers(len(self.factors), size=rows)
        return [torch.from_numpy(np.flatnonzero(choice == number)) for number in range(len(self.factors))]

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
                taken = waves[rows, : math.ceil(samples * factor)]
                changed = resample(taken, factor.numerator, factor.denominator)[:, :samples]
                played.index_copy_(0, rows, changed)
        return played
