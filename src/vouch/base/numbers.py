"""Numbers as every program reads them: Python's own rules would let `1_000` and digits of other scripts pass."""

from __future__ import annotations

import re

_INTEGER = re.compile(r"[+-]?[0-9]+")
# Longer than any number that 64 bits hold; of some thousands of digits Python itself refuses the conversion.
_MOST_DIGITS = 20


def plain_float(text: str) -> float:
    """Return the number that a text is: digits, point and exponent, or `inf` or `nan` as `float` takes them.

    Raises
    ------
    ValueError
        It is something else.
    """
    if not text.isascii() or "_" in text:
        raise ValueError(f"{text[:40]!r} is not a number")
    return float(text)


def plain_int(text: str) -> int:
    """Return the whole number that a text is: digits, perhaps after a sign.

    Raises
    ------
    ValueError
        It is something else, or fits no 64 bits.
    """
    if not _INTEGER.fullmatch(text) or len(text) > _MOST_DIGITS or abs(int(text)) >= 2**63:
        raise ValueError(f"{text[:40]!r} is not a whole number")
    return int(text)
