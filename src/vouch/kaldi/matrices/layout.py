"""Locates the numbers of matrices in archives, and reads any rows of them without the rest.

The binary layout is Kaldi's (kaldi-matrix.cc, compressed-matrix.h): `\\0B`, a type token, the size and the data.
"""

from __future__ import annotations

import functools
import math
import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from vouch.base.errors import VouchError
from vouch.base.rxfilename import Source, resolve_range

FLOATS: dict[str, np.dtype] = {"F": np.dtype("<f4"), "D": np.dtype("<f8")}
# The two formats with one scale for the whole matrix: type and highest code.
_LINEAR: dict[str, tuple[np.dtype, float]] = {"CM2": (np.dtype("<u2"), 65535.0), "CM3": (np.dtype("u1"), 255.0)}
_BYTES = {"F": 4, "D": 8, "CM": 1, "CM2": 2, "CM3": 1}
# By type token: kind, number of axes, and the form of the sizes (a byte 4 and an integer each, or a compressed header).
HEADERS = {
    b"FM": ("F", 2, struct.Struct("<bibi")),
    b"DM": ("D", 2, struct.Struct("<bibi")),
    b"FV": ("F", 1, struct.Struct("<bi")),
    b"DV": ("D", 1, struct.Struct("<bi")),
    b"CM": ("CM", 2, struct.Struct("<ffii")),
    b"CM2": ("CM2", 2, struct.Struct("<ffii")),
    b"CM3": ("CM3", 2, struct.Struct("<ffii")),
}
# Size of the longest header: "\0B", a type token, a blank and the sizes.
HEADER_BYTES = 22
# Largest magnitude whose sums stay finite in float32.
_LARGEST = 3e38
# Format CM maps codes to values by three line segments, from one mark of a column to the next.
_SEGMENT = np.repeat([0, 1, 2], [65, 128, 63])
_STEP = np.concatenate([np.arange(65), np.arange(1, 129), np.arange(1, 64)]).astype(np.float32)[:, None]
_PER_STEP = np.array([[1 / 64], [1 / 128], [1]], np.float32)
# Rows that are decoded at a time; the indices of a whole long matrix would take eight times its own space.
_BLOCK_ROWS = 4096


class Layout(NamedTuple):
    """Position and form of the numbers of one entry; a vector is a matrix with one row.

    Attributes
    ----------
    kind : "F", "D" (plain floats, doubles), "CM", "CM2", "CM3" (compressed)
    start : int
        Byte at which the numbers begin.
    height, width : int
        Number of stored rows and columns.
    rows, cols : int
        Number of wanted rows and columns, from row `top` and column `left` on.
    minimum, span : float
        Lowest value of a compressed matrix, and the difference between its highest and lowest value.
    """

    kind: str
    start: int
    height: int
    width: int
    rows: int
    cols: int
    top: int = 0
    left: int = 0
    minimum: float = 0.0
    span: float = 0.0

    def data_bytes(self) -> int:
        """Return the number of bytes of the stored numbers."""
        marks = 8 * self.width if self.kind == "CM" and self.height else 0
        return marks + _BYTES[self.kind] * self.height * self.width

    def select(self, source: Source, is_vector: bool) -> Layout:
        """Return the layout of the range of `source`; `VouchError` if the range is outside of the matrix."""
        shape = (self.cols,) if is_vector else (self.rows, self.cols)
        slices = resolve_range(source, shape)
        rows, cols = (slice(0, self.rows), slices[0]) if is_vector else slices
        return self._replace(rows=rows.stop - rows.start, cols=cols.stop - cols.start, top=rows.start, left=cols.start)


def parse_header(head: bytes, offset: int, size: int, where: str) -> tuple[Layout, bool]:
    """Read the header of the matrix or vector at byte `offset` of an archive.

    Parameters
    ----------
    head : bytes
        `HEADER_BYTES` from `offset` on, or as many as there are.
    size : int
        Size of the archive in bytes.

    Returns
    -------
    layout : Layout
        Position and form of its numbers.
    is_vector : bool
        Whether it has only one axis.

    Raises
    ------
    VouchError
        There is no binary matrix, its header is damaged, or it is truncated; the message names it as `where`.
    """
    if head[:2] != b"\0B":
        raise VouchError(f"{where}: no matrix at byte {offset}; wrong offset or damaged file")
    token, _, rest = head[2:].partition(b" ")
    layout, is_vector = decode_header(token, rest, offset + 3 + len(token), where)
    if size < layout.start + layout.data_bytes():
        raise VouchError(
            f"{where}: the archive is truncated: it promises {layout.height} x {layout.width} values at byte {offset}"
            f" and ends at byte {size}"
        )
    return layout, is_vector


def decode_header(token: bytes, rest: bytes, position: int, where: str) -> tuple[Layout, bool]:
    """Decode what follows the type token `token` at byte `position`; see `parse_header`."""
    if token not in HEADERS:
        raise VouchError(f"{where}: neither a float nor a compressed matrix (type {token[:8]!r})")
    kind, axes, form = HEADERS[token]
    if len(rest) < form.size:
        raise VouchError(f"{where}: the archive is truncated, it ends within a header")
    fields = form.unpack_from(rest)
    low = span = 0.0
    if kind in FLOATS:
        marked, sizes = fields[::2], fields[1::2]
        is_sound = all(number == 4 for number in marked)
    else:
        (low, span), sizes = fields[:2], fields[2:]
        # Kaldi leaves the range of an empty matrix uninitialised.
        is_sound = sizes[0] == 0 or (math.isfinite(low) and span >= 0 and abs(low) + span < _LARGEST)
    height, width = sizes if axes == 2 else (1, sizes[0])
    # A matrix with rows but no columns is never written; one with columns but no rows is an empty matrix.
    if not is_sound or height < 0 or width < 0 or (axes == 2 and height > 0 and width == 0):
        raise VouchError(f"{where}: damaged header: it promises {height} x {width} values")
    return Layout(kind, position + form.size, height, width, height, width, 0, 0, low, span), axes == 1


def to_float32(array: ArrayLike) -> np.ndarray:
    """Return `array` as float32; too large numbers become infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(array).astype(np.float32, copy=False)


def read_rows(buffer: np.ndarray, layout: Layout, first: int, out: np.ndarray, where: str) -> None:
    """Copy rows of an entry, from row `first` on, into `out`, and convert them to float32.

    Parameters
    ----------
    buffer : (bytes,) uint8 ndarray
        The archive, usually memory-mapped.
    out : (rows, layout.cols) float32 ndarray
        Its length is the number of rows to read.
    where : str
        Name of the archive in messages.

    Raises
    ------
    VouchError
        The archive has become shorter than it was when the header was read.
    """
    if len(buffer) < layout.start + layout.data_bytes():
        raise VouchError(f"{where}: it has become shorter since it was opened")
    rows, width, start = len(out), layout.width, layout.start
    columns = slice(layout.left, layout.left + layout.cols)
    first += layout.top
    if layout.kind == "CM":
        marks = buffer[start : start + 8 * width].view("<u2").reshape(width, 4)[columns].T.copy()
        codes = buffer[start + 8 * width : start + (8 + layout.height) * width].reshape(width, layout.height)
        decode_columns(codes[columns, first : first + rows], decode_marks(marks, layout.minimum, layout.span), out)
        return
    dtype, top = _LINEAR.get(layout.kind) or (FLOATS[layout.kind], 0.0)
    row_bytes = width * dtype.itemsize
    stored = buffer[start + first * row_bytes : start + (first + rows) * row_bytes].view(dtype).reshape(rows, width)
    if layout.kind == "F":
        out[:] = stored[:, columns]
    elif layout.kind == "D":
        out[:] = to_float32(stored[:, columns])
    else:
        np.multiply(stored[:, columns], np.float32(layout.span / top), out=out, casting="unsafe")
        out += np.float32(layout.minimum)


def decode_marks(marks: np.ndarray, low: float | np.float32, span: float | np.float32) -> np.ndarray:
    """Return the float32 values of 16-bit marks, with the same shape."""
    return np.float32(low) + np.float32(span) * np.float32(1 / 65535) * marks.astype(np.float32)


def decode_columns(columns: np.ndarray, marks: np.ndarray, out: np.ndarray) -> None:
    """Decode format CM: each column has its own piecewise linear map through four marks.

    The values of all 256 codes in all columns are computed first and then looked up.

    Parameters
    ----------
    columns : (cols, rows) uint8 ndarray
        Codes as stored in the archive.
    marks : (4, cols) float32 ndarray
        Minimum, first and third quartile, and maximum of each column.
    out : (rows, cols) float32 ndarray
        C-contiguous.
    """
    cols, rows = columns.shape
    values = ((marks[1:] - marks[:-1]) * _PER_STEP).take(_SEGMENT, axis=0)
    values *= _steps_of_columns(cols)
    # In the last segment, Kaldi rounds only the sum.
    highest = values[193:].astype(np.float64)
    highest *= 1 / 63
    highest += marks[2]
    values[:193] += marks.take(_SEGMENT[:193], axis=0)
    values[193:] = highest
    values = values.ravel()
    # Multiplying and adding two-byte numbers is several times faster than eight-byte indices.
    small = np.uint16 if len(values) <= 1 << 16 else np.intp
    offsets = np.arange(cols, dtype=small)
    for first in range(0, rows, _BLOCK_ROWS):
        # Transposed here, while each code takes one byte.
        index: np.ndarray = np.ascontiguousarray(columns[:, first : first + _BLOCK_ROWS].T).astype(small)
        index *= small(cols)
        index += offsets
        # "wrap" never takes effect, but is faster than checking each index.
        values.take(index.astype(np.intp, copy=False), mode="wrap", out=out[first : first + _BLOCK_ROWS])


# Multiplying with a cached, repeated array takes less than half the time.
@functools.lru_cache(maxsize=4)
def _steps_of_columns(cols: int) -> np.ndarray:
    return np.repeat(_STEP, cols, axis=1)
