"""Compresses matrices as Kaldi does, from float32 to one or two bytes per element (compressed-matrix.cc).

The arithmetic follows Kaldi's operation by operation, so that the bytes are those of `copy-feats --compress=true`;
`vouch.kaldi.matrices.layout` decodes them to the same values as Kaldi.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from vouch.base.errors import VouchError
from vouch.kaldi.matrices.layout import decode_marks


class Method(NamedTuple):
    """A compression method: type token of its format, and range of its values (None: the range of the matrix)."""

    token: str
    low: float | None = None
    span: float = 0.0


# By name, in the order of Kaldi's --compression-method 2 to 7; "auto" is Kaldi's method 1.
METHODS = {
    "8bit": Method("CM"),
    "16bit": Method("CM2"),
    "16bit-int": Method("CM2", -32768.0, 65535.0),
    "8bit-linear": Method("CM3"),
    "8bit-int": Method("CM3", 0.0, 255.0),
    "8bit-unit": Method("CM3", 0.0, 1.0),
}
# With fewer rows than this, quartiles of the columns would not be worth their space.
_FEW_ROWS = 8
# The four marks of a column must differ by at least one, since their differences are divisors.
_HIGHEST_MARKS = (65532, 65533, 65534, 65535)

# Kaldi's sums of float32 numbers would overflow beyond this range.
_LARGEST_SPAN = 1e38

# Rounding adds this instead of 0.5: adding 0.5 would round the largest float32 below one half to 1.
_HALF = np.nextafter(np.float32(0.5), np.float32(0))


def compress(matrix: np.ndarray, method: str) -> bytes:
    """Return type token, header and data of a compressed matrix.

    Parameters
    ----------
    matrix : (rows, cols) float32 ndarray
        Finite, not empty.
    method : str
        One of `METHODS`, or "auto": "8bit" for more than eight rows, else "16bit".

    Raises
    ------
    VouchError
        The matrix holds NaN or infinite values.
    """
    if method == "auto":
        method = "8bit" if len(matrix) > _FEW_ROWS else "16bit"
    token, fixed_low, fixed_span = METHODS[method]
    lowest, highest = matrix.min(), matrix.max()
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise VouchError("NaN or infinite values cannot be compressed")
    if fixed_low is None:
        if lowest == highest:
            highest = lowest + (1 + abs(lowest))
        if float(highest) - float(lowest) > _LARGEST_SPAN:
            raise VouchError("values as far apart as these cannot be compressed")
        low, span = np.float32(lowest), np.float32(highest - lowest)
    else:
        low, span = np.float32(fixed_low), np.float32(fixed_span)
    header = token.encode() + b" " + struct.pack("<ffii", low, span, *matrix.shape)
    if token == "CM2":
        return header + _to_integers(matrix, low, span, 65535).astype("<u2").tobytes()
    if token == "CM3":
        return header + _to_integers(matrix, low, span, 255).astype("u1").tobytes()
    # The format stores columns, so they are made contiguous.
    columns = np.ascontiguousarray(matrix.T)
    marks = _column_marks(columns, low, span)
    codes = _column_codes(columns, decode_marks(marks, low, span))
    return b"".join((header, marks.T.astype("<u2").tobytes(), codes.data))


def _to_integers(values: np.ndarray, low: np.float32, span: np.float32, top: int) -> np.ndarray:
    scaled = np.clip((values - low) / span, 0, 1) * np.float32(top)
    return (scaled.astype(np.float64) + 0.499).astype(np.int64)


def _column_marks(columns: np.ndarray, low: np.float32, span: np.float32) -> np.ndarray:
    """Return the marks of `(cols, rows)` values as (4, cols) integers, which increase down each column."""
    cols, rows = columns.shape
    quarter = rows // 4
    picked = [0, quarter, 3 * quarter, rows - 1] if rows >= 5 else list(range(rows))
    # The columns are sorted completely: with vector instructions that takes a tenth of the time of a partition.
    found = _to_integers(np.sort(columns, axis=1)[:, picked].T, low, span, 65535)
    marks = np.zeros((4, cols), np.int64)
    marks[: len(found)] = found
    for index, highest in enumerate(_HIGHEST_MARKS):
        lowest = marks[index - 1] + 1 if index else 0
        marks[index] = np.minimum(np.maximum(marks[index], lowest), highest)
    return marks


def _column_codes(columns: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Return the codes of `(cols, rows)` values as (cols, rows) uint8.

    A code is the sum of the steps within three line segments between marks: all steps of the segments below the value,
    some of the segment that contains it, and none of those above.
    """
    p0, p25, p75, p100 = marks[..., None]
    # Where Kaldi divides by zero, its result is the lowest code of the segment.
    highest = _steps(columns, p75, p100, 63) * (p100 > p75)
    return _steps(columns, p0, p25, 64) + _steps(columns, p25, p75, 128) + highest


def _steps(columns: np.ndarray, begin: np.ndarray, end: np.ndarray, count: int) -> np.ndarray:
    """Return how many of the `count` steps from `begin` to `end` each value lies above `begin`: (cols, rows) uint8."""
    # If both marks are the same float32, values from there on get all steps and those below none.
    begin = np.where(end > begin, begin, np.nextafter(begin, np.float32(-np.inf)))
    part = columns - begin
    part /= end - begin
    np.clip(part, 0, 1, out=part)
    part *= np.float32(count)
    part += _HALF
    return part.astype(np.uint8)
