"""Kaldi's compressed matrices: float32 to one or two bytes an element and back (compressed-matrix.cc).

"8bit" is its format CM, "16bit" its format CM2. The arithmetic follows Kaldi's, float by float, so that the bytes are
the same ones that `copy-feats --compress=true --compression-method=2` (or 3) writes.
"""

from __future__ import annotations

import struct

import numpy as np

TOKENS = {"8bit": b"CM ", "16bit": b"CM2 "}
# The four marks of a column stay apart by at least one, or dividing by their differences would fail.
_HIGHEST_MARKS = (65532, 65533, 65534, 65535)


def compress(matrix: np.ndarray, method: str) -> bytes:
    """Return type token, header and data of a compressed matrix.

    Parameters
    ----------
    matrix : (rows, cols) float32 ndarray, finite, not empty
    method : "8bit" or "16bit"
    """
    low, high = matrix.min(), matrix.max()
    if low == high:
        high = low + (1 + abs(low))
    span = high - low
    header = TOKENS[method] + struct.pack("<ffii", low, span, *matrix.shape)
    if method == "16bit":
        return header + _to_marks(matrix, low, span).astype("<u2").tobytes()
    marks = _column_marks(matrix, low, span)
    codes = _column_codes(matrix, decode_marks(marks, low, span))
    return header + marks.T.astype("<u2").tobytes() + codes.T.tobytes()


def decode_marks(marks: np.ndarray, low: float, span: float) -> np.ndarray:
    """Return the float32 values that 16-bit marks stand for, of the same shape."""
    return np.float32(low) + np.float32(span) * np.float32(1 / 65535) * marks.astype(np.float32)


def decode_columns(codes: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Decode format CM: each column has its own piecewise linear map through four marks.

    Parameters
    ----------
    codes : (rows, cols) uint8 ndarray
    marks : (4, cols) float32 ndarray
        minimum, first and third quartile, and maximum of each column

    Returns
    -------
    (rows, cols) float32 ndarray
    """
    p0, p25, p75, p100 = marks
    steps = codes.astype(np.float32)
    low = p0 + (p25 - p0) * steps * np.float32(1 / 64)
    middle = p25 + (p75 - p25) * (steps - 64) * np.float32(1 / 128)
    high = p75 + (p100 - p75) * (steps - 192) * np.float32(1 / 63)
    return np.where(codes <= 64, low, np.where(codes <= 192, middle, high))


def _to_marks(values: np.ndarray, low: np.float32, span: np.float32) -> np.ndarray:
    scaled = np.clip((values - low) / span, 0, 1) * np.float32(65535)
    return (scaled.astype(np.float64) + 0.499).astype(np.int64)


def _column_marks(matrix: np.ndarray, low: np.float32, span: np.float32) -> np.ndarray:
    """Return (4, cols) integers, increasing down each column."""
    rows = len(matrix)
    quarter = rows // 4
    picked = [0, quarter, 3 * quarter, rows - 1] if rows >= 5 else list(range(rows))
    found = _to_marks(np.partition(matrix, picked, axis=0)[picked], low, span)
    marks = np.zeros((4, matrix.shape[1]), np.int64)
    marks[: len(found)] = found
    for index, highest in enumerate(_HIGHEST_MARKS):
        lowest = marks[index - 1] + 1 if index else 0
        marks[index] = np.minimum(np.maximum(marks[index], lowest), highest)
    return marks


def _column_codes(matrix: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Return (rows, cols) uint8."""
    p0, p25, p75, p100 = marks
    low = _steps(matrix, p0, p25, 64)
    middle = 64 + _steps(matrix, p25, p75, 128)
    high = 192 + _steps(matrix, p75, p100, 63)
    return np.where(matrix < p25, low, np.where(matrix < p75, middle, high)).astype(np.uint8)


def _steps(matrix: np.ndarray, begin: np.ndarray, end: np.ndarray, count: int) -> np.ndarray:
    """Return on which of the `count` steps from `begin` to `end` each value lies."""
    # Where the marks are one and the same float32, every step stands for the same value.
    width = np.where(end > begin, end - begin, np.float32(1))
    part = np.clip((matrix - begin) / width, 0, 1) * np.float32(count)
    return (part.astype(np.float64) + 0.5).astype(np.int64)
