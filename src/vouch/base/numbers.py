"""Parses numbers strictly: `int` and `float` of Python accept `1_000` and digits of other scripts."""

from __future__ import annotations

import re

_INTEGER = re.compile(r"[+-]?[0-9]+")
# No number of 64 bits is longer; Python refuses to convert numbers of some thousands of digits.
_MOST_DIGITS = 20


def plain_float(text: str) -> float:
    """Convert text to a number: digits, point and exponent, or `inf` or `nan` as `float` accepts them.

    Raises
    ------
    ValueError
        The text is not such a number.
    """
    if not text.isascii() or "_" in text:
        raise ValueError(f"{text[:40]!r} is not a number")
    return float(text)


def plain_int(text: str) -> int:
    """Convert text to a whole number: digits, optionally after a sign.

    Raises
    ------
    ValueError
        The text is not such a number, or does not fit into 64 bits.
    """
    if not _INTEGER.fullmatch(text) or len(text) > _MOST_DIGITS or abs(int(text)) >= 2**63:
        raise ValueError(f"{text[:40]!r} is not a whole number")
    return int(text)
