"""Locates and reads rows of matrices in numpy's `.npy` files."""

from __future__ import annotations

import functools
import io
import os
import struct
import tokenize

import numpy as np

from vouch.base.errors import VouchError, about_file
from vouch.kaldi.matrices.layout import FLOATS, Layout

SUFFIX = ".npy"
# Number of bytes that are read first, which suffices for numpy's own headers, and the most for other programs' headers.
_FIRST_READ = 128
_LONGEST_HEADER = 1 << 16


def npy_layout(path: str) -> Layout:
    """Return the layout of a `.npy` file that holds a C-ordered float32 or float64 matrix."""
    with about_file(path, "not a readable .npy file"):
        with open(path, "rb") as file:
            head = file.read(_FIRST_READ)
            # Version 1 has a two-byte header length. Only the header is kept, so that equal ones share a cache entry.
            length = struct.unpack_from("<H", head, 8)[0] + 10 if head[6:7] == b"\1" else _LONGEST_HEADER
            head = (head + file.read(max(0, length - len(head))))[:length]
            size = os.fstat(file.fileno()).st_size
        shape, is_fortran, dtype, start = _parse_header(head)
    kind = {"<f4": "F", "<f8": "D"}.get(dtype.str)
    if kind is None or len(shape) != 2 or (is_fortran and 1 not in shape):
        raise VouchError(f"{path}: needs a C-ordered float32 or float64 matrix, not {dtype} {shape}")
    layout = Layout(kind, start, *shape, *shape)
    # Sizes of more than 32 bits, which are possible beside a size of 0, do not fit into a layout.
    if min(shape) < 0 or max(shape) >= 1 << 31 or size < start + layout.data_bytes():
        raise VouchError(f"{path}: not a readable .npy file (it promises {shape[0]} x {shape[1]} values)")
    return layout


def read_npy(path: str, layout: Layout) -> np.ndarray:
    """Return rows `top` to `top + rows` of a `.npy` file with all columns, in the stored type."""
    dtype = FLOATS[layout.kind]
    offset = layout.start + layout.top * layout.width * dtype.itemsize
    try:
        numbers = np.fromfile(path, dtype, layout.rows * layout.width, offset=offset)
    except OSError as error:
        raise VouchError(f"{path}: {error.strerror}") from None
    if len(numbers) != layout.rows * layout.width:
        raise VouchError(f"{path}: it has become shorter while it was in use")
    return numbers.reshape(layout.rows, layout.width)


# Many files have equal headers, and parsing a header takes longer than reading it.
@functools.lru_cache(maxsize=1 << 14)
def _parse_header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    file = io.BytesIO(head)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise ValueError(f"version {version}")
    try:
        return *readers[version](file), file.tell()
    except (SyntaxError, TypeError, RecursionError, MemoryError, tokenize.TokenError):
        raise ValueError("its header is damaged") from None
