"""Formats many lines of score files at once."""

from __future__ import annotations

import numpy as np

# Width of a formatted score with its newline; -1.23456789e-308 is the longest.
_WIDTH = 24
# Numbers between these powers of ten are written without exponent.
_LOW, _HIGH = -4, 8
_POWERS = 10.0 ** np.arange(_LOW, _HIGH + 1)
_SCALES = 10.0 ** (_HIGH - np.arange(_LOW, _HIGH + 1))
_THREE_DIGITS = np.frombuffer(b"".join(b"%03d" % number for number in range(1000)), "V3")


def score_lines(text: np.ndarray, starts: np.ndarray, ends: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Append scores to pieces of text.

    Parameters
    ----------
    text : (bytes,) uint8 ndarray
    starts, ends : (n,) int64 ndarray
        First byte of the piece of `text` before each score, and the byte after it.
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
    """Copy pieces of bytes, grouped by length."""
    for length in np.flatnonzero(np.bincount(lengths)):
        # A view of overlapping pieces, one from each byte on, of which only those requested are accessed.
        pieces: np.ndarray
        places: np.ndarray
        pieces, places = (np.ndarray(len(a) - length + 1, f"V{length}", a, strides=(1,)) for a in (source, target))
        which = np.flatnonzero(lengths == length)
        places[to[which]] = pieces[at[which]]


def format_scores(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Format numbers as Python's `%.9g` does, with a newline; 9 digits distinguish any two float32 numbers.

    Parameters
    ----------
    scores : (n,) float ndarray

    Returns
    -------
    text : (n, 24) uint8 ndarray
    first, widths : (n,) int64 ndarray
        Start of each text in its row, and its number of bytes with the newline.
    """
    size = np.abs(scores).astype(np.float64)
    exponent = np.searchsorted(_POWERS, size, side="right") - 1
    scaled = size * _SCALES[exponent]
    number = np.rint(scaled)
    # The scaled numbers are rounded. Those close to the middle of two 9-digit numbers are left to Python, which is
    # exact.
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
    # Rows have room for a sign; the text of a positive number starts after it.
    stop = _place_point(text, digits.view(np.uint8), exponent, 9 - _final_zeros(number))
    text[np.arange(len(scores)), stop] = ord("\n")
    first = (~negative).astype(np.int64)
    for row in np.flatnonzero(~plain):
        line = b"%.9g\n" % scores[row]
        text[row, : len(line)] = np.frombuffer(line, np.uint8)
        first[row], stop[row] = 0, len(line) - 1
    return text, first, stop + 1 - first


def _final_zeros(number: np.ndarray) -> np.ndarray:
    """Return (n,) int64, the number of trailing zeros of each number of 9 digits."""
    zeros = np.zeros(len(number), np.int64)
    left = np.flatnonzero(number % 10 == 0)
    power = 10
    while len(left):
        zeros[left] += 1
        power *= 10
        left = left[number[left] % power == 0]
    return zeros


def _place_point(text: np.ndarray, digits: np.ndarray, exponent: np.ndarray, significant: np.ndarray) -> np.ndarray:
    """Write digits and point from column 1 on; return (n,) int64, the column after the last significant digit."""
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
