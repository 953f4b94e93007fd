"""What effects draw from: limits and lists, checked, and recordings."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from vouch.augment.bank import Places
from vouch.base.errors import VouchError

MOST_DB = 200.0
USUAL_SNR = (0.0, 15.0)
LEAST_MEAN_SECONDS = 0.01


def check_range(what: str, values: Sequence[float] | float, least: float, most: float) -> tuple[float, float]:
    """Return a pair of limits between which something is drawn uniformly.

    Raises
    ------
    VouchError
        It is no pair of numbers that rises, or beyond `least` and `most`; naming `what`.
    """
    if isinstance(values, (int, float)):
        values = (values, values)
    if len(values) != 2 or not all(isinstance(value, (int, float)) and math.isfinite(value) for value in values):
        raise VouchError(f"{what} must be a number or a pair of numbers, not {values}")
    low, high = (float(value) for value in values)
    if not least <= low <= high <= most:
        raise VouchError(f"{what} must rise, from at least {least:g} to at most {most:g}, not {low:g} to {high:g}")
    return low, high


def check_count(what: str, values: Sequence[int], most: int) -> tuple[int, int]:
    """Return a pair of whole numbers from 1 to `most` between which a number is drawn; see `check_range`."""
    low, high = check_range(what, values, 1, most)
    if low != int(low) or high != int(high):
        raise VouchError(f"{what} must be whole numbers, not {low:g} to {high:g}")
    return int(low), int(high)


class Ratios:
    """Signal-to-noise ratios in dB: uniformly between two limits, or each of a list as often as the others.

    Parameters
    ----------
    effect : str
        Name of the effect, for messages.
    snr : sequence of float or None
        Limits, from -200 to 200. None, and no list: 0 to 15.
    snrs : sequence of float or None
        A list.

    Raises
    ------
    VouchError
        Both are given, or a ratio is out of range.
    """

    def __init__(self, effect: str, snr: Sequence[float] | None, snrs: Sequence[float] | None) -> None:
        if snr is not None and snrs is not None:
            raise VouchError(f"{effect} takes snr (limits) or snrs (a list), not both")
        self._limits = check_range(f"snr of {effect}", USUAL_SNR if snr is None else snr, -MOST_DB, MOST_DB)
        self._list = None
        if snrs is not None:
            if not snrs or not all(isinstance(each, (int, float)) and abs(each) <= MOST_DB for each in snrs):
                raise VouchError(f"snrs of {effect} must be numbers from {-MOST_DB:g} to {MOST_DB:g}, not {snrs}")
            self._list = np.array(snrs, np.float64)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Return ratios as an array of this shape."""
        return rng.uniform(*self._limits, shape) if self._list is None else rng.choice(self._list, shape)


def draw_different(rng: np.random.Generator, rows: int, count: int, known: int) -> np.ndarray:
    """Draw for each row `count` different ones of `known` things, in any order: (rows, count) int64."""
    drawn = np.empty((rows, count), np.int64)
    for number in range(count):
        # A place among those that are left: each smaller one that is taken moves it up by one.
        place = rng.integers(known - number, size=rows)
        for taken in np.sort(drawn[:, :number], axis=1).T:
            place += place >= taken
        drawn[:, number] = place
    return drawn


def check_mean_length(effect: str, places: Places, pause: int, sample_rate: int) -> None:
    """Raise `VouchError` where recordings, with the pauses between them, are so short that thousands fit in a crop.

    Parameters
    ----------
    effect : str
        Name of the effect, for the message.
    places : Places
    pause : int
        Samples.
    sample_rate : int
        In Hz.
    """
    mean = (places.length.mean() + pause) / sample_rate
    if mean < LEAST_MEAN_SECONDS:
        raise VouchError(
            f"{effect}: the recordings in the bank, such as {places.names[0]}, last {mean:.2g} s in the mean, with the"
            f" pause; {LEAST_MEAN_SECONDS:g} s are needed"
        )
