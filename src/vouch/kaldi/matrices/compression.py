"""Kaldi's compressed matrices: float32 to one or two bytes an element and back (compressed-matrix.cc).

The arithmetic follows Kaldi's, float by float, so that the bytes are the same ones that `copy-feats --compress=true`
writes, and the values the same ones that it reads.
"""

from __future__ import annotations

import functools
import struct
from typing import NamedTuple

import numpy as np

from vouch.base.errors import VouchError


class Method(NamedTuple):
    """One way to compress: the type token of its format, and the range of its values (None: that of the matrix)."""

    token: str
    low: float | None = None
    span: float = 0.0


# By name, in the order of Kaldi's numbers: 2 to 7 of --compression-method; "auto" is its 1.
METHODS = {
    "8bit": Method("CM"),
    "16bit": Method("CM2"),
    "16bit-int": Method("CM2", -32768.0, 65535.0),
    "8bit-linear": Method("CM3"),
    "8bit-int": Method("CM3", 0.0, 255.0),
    "8bit-unit": Method("CM3", 0.0, 1.0),
}
# Quartiles of fewer rows than this would be worth less than the space that they take.
_FEW_ROWS = 8
# The four marks of a column stay apart by at least one, or dividing by their differences would fail.
_HIGHEST_MARKS = (65532, 65533, 65534, 65535)

# Kaldi's sums of float32 numbers would become infinite beyond.
_LARGEST_SPAN = 1e38

# Format CM maps codes to values by three straight lines, from one mark of a column to the next.
_SEGMENT = np.repeat([0, 1, 2], [65, 128, 63])
_STEP = np.concatenate([np.arange(65), np.arange(1, 129), np.arange(1, 64)]).astype(np.float32)[:, None]
_PER_STEP = np.array([[1 / 64], [1 / 128], [1]], np.float32)
# Rounds as one half does, and a float32 just below one half to 0: their sum with one half itself would become 1.
_HALF = np.nextafter(np.float32(0.5), np.float32(0))
# Decoding is done in blocks of so many rows, or the indices of a long matrix would take eight times its own space.
_BLOCK_ROWS = 4096


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
    # Column by column, as the format has it: neighbours in memory are worked on together.
    columns = np.ascontiguousarray(matrix.T)
    marks = _column_marks(columns, low, span)
    codes = _column_codes(columns, decode_marks(marks, low, span))
    return b"".join((header, marks.T.astype("<u2").tobytes(), codes.data))


def decode_marks(marks: np.ndarray, low: float | np.float32, span: float | np.float32) -> np.ndarray:
    """Return the float32 values that 16-bit marks stand for, of the same shape."""
    return np.float32(low) + np.float32(span) * np.float32(1 / 65535) * marks.astype(np.float32)


def decode_columns(columns: np.ndarray, marks: np.ndarray, out: np.ndarray) -> None:
    """Decode format CM: each column has its own piecewise linear map through four marks.

    The values of all 256 codes in all columns are computed first and then looked up.

    Parameters
    ----------
    columns : (cols, rows) uint8 ndarray
        Codes as they lie in the archive.
    marks : (4, cols) float32 ndarray
        Minimum, first and third quartile, and maximum of each column.
    out : (rows, cols) float32 ndarray
        C-contiguous.
    """
    cols, rows = columns.shape
    values = ((marks[1:] - marks[:-1]) * _PER_STEP).take(_SEGMENT, axis=0)
    values *= _steps_of_columns(cols)
    # Of the last line Kaldi rounds the sum only.
    highest = values[193:].astype(np.float64)
    highest *= 1 / 63
    highest += marks[2]
    values[:193] += marks.take(_SEGMENT[:193], axis=0)
    values[193:] = highest
    values = values.ravel()
    # Numbers of two bytes are multiplied and added several times faster than indices of eight.
    small = np.uint16 if len(values) <= 1 << 16 else np.intp
    offsets = np.arange(cols, dtype=small)
    for first in range(0, rows, _BLOCK_ROWS):
        # Turned while each code takes one byte.
        index: np.ndarray = np.ascontiguousarray(columns[:, first : first + _BLOCK_ROWS].T).astype(small)
        index *= small(cols)
        index += offsets
        # "wrap", which never happens, is faster than a check of each index.
        values.take(index.astype(np.intp, copy=False), mode="wrap", out=out[first : first + _BLOCK_ROWS])


# Multiplying by what is repeated already takes less than half the time.
@functools.lru_cache(maxsize=4)
def _steps_of_columns(cols: int) -> np.ndarray:
    return np.repeat(_STEP, cols, axis=1)


def _to_integers(values: np.ndarray, low: np.float32, span: np.float32, top: int) -> np.ndarray:
    scaled = np.clip((values - low) / span, 0, 1) * np.float32(top)
    return (scaled.astype(np.float64) + 0.499).astype(np.int64)


def _column_marks(columns: np.ndarray, low: np.float32, span: np.float32) -> np.ndarray:
    """Return the marks of `(cols, rows)` values: (4, cols) integers, increasing down each column."""
    cols, rows = columns.shape
    quarter = rows // 4
    picked = [0, quarter, 3 * quarter, rows - 1] if rows >= 5 else list(range(rows))
    # All of them sorted: the processor's vector instructions do that in a tenth of the time of a partition.
    found = _to_integers(np.sort(columns, axis=1)[:, picked].T, low, span, 65535)
    marks = np.zeros((4, cols), np.int64)
    marks[: len(found)] = found
    for index, highest in enumerate(_HIGHEST_MARKS):
        lowest = marks[index - 1] + 1 if index else 0
        marks[index] = np.minimum(np.maximum(marks[index], lowest), highest)
    return marks


def _column_codes(columns: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Return the codes of `(cols, rows)` values: (cols, rows) uint8.

    The steps from each mark to the next are added up: a value has all those of the lines below its own, and none of
    those above.
    """
    p0, p25, p75, p100 = marks[..., None]
    # Where Kaldi divides by zero, what it gets is the lowest code of the line.
    highest = _steps(columns, p75, p100, 63) * (p100 > p75)
    return _steps(columns, p0, p25, 64) + _steps(columns, p25, p75, 128) + highest


def _steps(columns: np.ndarray, begin: np.ndarray, end: np.ndarray, count: int) -> np.ndarray:
    """Return how many of the `count` steps from `begin` to `end` each value is above `begin`: (cols, rows) uint8."""
    # Where the marks are one and the same float32, values from there on have all steps and those below it none.
    begin = np.where(end > begin, begin, np.nextafter(begin, np.float32(-np.inf)))
    part = columns - begin
    part /= end - begin
    np.clip(part, 0, 1, out=part)
    part *= np.float32(count)
    part += _HALF
    return part.astype(np.uint8)
