"""The text of score files, many lines at once."""

from __future__ import annotations

import numpy as np

# Bytes set aside for a score, its newline included; -1.23456789e-308 is the longest.
_WIDTH = 24
# Where the number lies between these powers of ten it is written without exponent.
_LOW, _HIGH = -4, 8
_POWERS = 10.0 ** np.arange(_LOW, _HIGH + 1)
_SCALES = 10.0 ** (_HIGH - np.arange(_LOW, _HIGH + 1))
_THREE_DIGITS = np.frombuffer(b"".join(b"%03d" % number for number in range(1000)), "V3")


def score_lines(text: np.ndarray, starts: np.ndarray, ends: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Write scores behind pieces of text.

    Parameters
    ----------
    text : (bytes,) uint8 ndarray
    starts, ends : (n,) int64 ndarray
        First byte of the piece of `text` before each score, and the byte after it; pieces are copied unchanged.
    scores : (n,) float ndarray

    Returns
    -------
    (bytes,) uint8 ndarray
        Each piece, its score as `%.9g`, and a newline.
    """
    digits, first, widths = format_scores(scores)
    lengths = ends - starts
    stops = np.cumsum(lengths + widths)
    out = np.empty(stops[-1] if len(stops) else 0, np.uint8)
    _copy(text, starts, out, stops - widths - lengths, lengths)
    _copy(digits.reshape(-1), np.arange(len(scores)) * _WIDTH + first, out, stops - widths, widths)
    return out


def _copy(source: np.ndarray, at: np.ndarray, target: np.ndarray, to: np.ndarray, lengths: np.ndarray) -> None:
    """Copy pieces of bytes, all of one length together."""
    for length in np.flatnonzero(np.bincount(lengths)):
        # Overlapping pieces, one from each byte on; only those asked for are touched.
        pieces: np.ndarray
        places: np.ndarray
        pieces, places = (np.ndarray(len(a) - length + 1, f"V{length}", a, strides=(1,)) for a in (source, target))
        which = np.flatnonzero(lengths == length)
        places[to[which]] = pieces[at[which]]


def format_scores(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Write numbers as Python's `%.9g` does, the 9 digits that tell any two float32 apart, with a newline.

    Parameters
    ----------
    scores : (n,) float ndarray

    Returns
    -------
    text : (n, 24) uint8 ndarray
    first, widths : (n,) int64 ndarray
        Where in its row each text starts, and its bytes with the newline.
    """
    size = np.abs(scores).astype(np.float64)
    exponent = np.searchsorted(_POWERS, size, side="right") - 1
    scaled = size * _SCALES[exponent]
    number = np.rint(scaled)
    # Products are rounded: one near the middle of two numbers of 9 digits is left to Python, which is exact.
    with np.errstate(invalid="ignore"):
        plain = (exponent >= 0) & (number < 1e9) & (np.abs(scaled - number) < 0.499999)
    number = np.where(plain, number, 1e8).astype(np.int64)
    exponent += _LOW
    digits = np.empty((len(scores), 3), "V3")
    for column, part in enumerate((number // 1_000_000, number // 1000 % 1000, number % 1000)):
        digits[:, column] = _THREE_DIGITS[part]
    negative = scores < 0
    text = np.empty((len(scores), _WIDTH), np.uint8)
    text[:, 0] = ord("-")
    # Rows are laid out for a negative number; a positive one starts behind the sign.
    stop = _place_point(text, digits.view(np.uint8), exponent, 9 - _final_zeros(number))
    text[np.arange(len(scores)), stop] = ord("\n")
    first = (~negative).astype(np.int64)
    for row in np.flatnonzero(~plain):
        line = b"%.9g\n" % scores[row]
        text[row, : len(line)] = np.frombuffer(line, np.uint8)
        first[row], stop[row] = 0, len(line) - 1
    return text, first, stop + 1 - first


def _final_zeros(number: np.ndarray) -> np.ndarray:
    """Return (n,) int64, how many zeros end each number of 9 digits."""
    zeros = np.zeros(len(number), np.int64)
    left = np.flatnonzero(number % 10 == 0)
    power = 10
    while len(left):
        zeros[left] += 1
        power *= 10
        left = left[number[left] % power == 0]
    return zeros


def _place_point(text: np.ndarray, digits: np.ndarray, exponent: np.ndarray, significant: np.ndarray) -> np.ndarray:
    """Lay out numbers from column 1 on, and return (n,) int64, the column behind the last significant digit."""
    for power in np.unique(exponent):
        rows = np.flatnonzero(exponent == power)
        if power < 0:
            start = 2 - power
            text[rows, 1:start] = np.frombuffer(b"0." + b"0" * (-power - 1), np.uint8)
            text[rows, start : start + 9] = digits[rows]
        else:
            text[rows, 1 : power + 2] = digits[rows, : power + 1]
            text[rows, power + 2] = ord(".")
            text[rows, power + 3 : 11] = digits[rows, power + 1 :]
    below = 2 - exponent + significant
    above = np.where(significant > exponent + 1, significant + 2, exponent + 2)
    return np.where(exponent < 0, below, above)
