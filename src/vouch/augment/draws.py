"""Checks of what effects draw from."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vouch.base.errors import VouchError


def check_range(what: str, values: Sequence[float], least: float, most: float) -> tuple[float, float]:
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
