"""Archives of matrices and vectors: one entry read at a time, whole archives written.

The binary layout is Kaldi's (kaldi-matrix.cc, compressed-matrix.h): a key, a space, `\\0B`, a type token and the data.
"""

from __future__ import annotations

import contextlib
import mmap
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from kaldiio.matio import write_array

from vouch.errors import VouchError, pick
from vouch.files import atomic_write
from vouch.kaldi.compression import TOKENS, compress, decode_columns, decode_marks
from vouch.kaldi.tables import read_table

# What the archives written here hold, by name: the type token of compressed matrices.
COMPRESSION = {"none": None, **TOKENS}
_FLOATS = {b"F": np.dtype("<f4"), b"D": np.dtype("<f8")}
_COMPRESSED = {b"CM ": "CM", b"CM2 ": "CM2", b"CM3 ": "CM3"}
_RANGE = re.compile(r"\[[0-9:,]*\]$")


class Layout(NamedTuple):
    """Where the numbers of one archive entry lie: what is needed to read any rows of it without reading the rest."""

    kind: str  # "F", "D" (plain floats, doubles), "CM", "CM2", "CM3" (compressed)
    start: int  # byte at which the data begin
    rows: int
    cols: int
    minimum: float = 0.0
    span: float = 0.0


def split_rxfilename(rxfilename: str) -> tuple[str, int]:
    """Split `file:offset` into file and byte offset; a name without offset has offset 0.

    Raises
    ------
    VouchError : a pipe or a row range, which only whole-matrix tools of Kaldi resolve
    """
    if rxfilename.endswith("|") or _RANGE.search(rxfilename):
        raise VouchError(
            f"'{rxfilename}': pipes and row ranges are not read here; write plain archives with Kaldi's copy-feats"
        )
    name, colon, offset = rxfilename.rpartition(":")
    if colon and offset.isdigit():
        return name, int(offset)
    return rxfilename, 0


def parse_header(buffer: bytes | mmap.mmap | np.ndarray, offset: int, where: str) -> Layout:
    """Read the header of the matrix or vector at `offset` of an archive's bytes.

    A vector is a matrix of one row. `VouchError` names `where` when there is no binary matrix or it is cut short.
    """
    head = bytes(buffer[offset : offset + 25])
    if head[:2] != b"\0B":
        raise VouchError(f"{where}: no binary matrix at byte {offset}; wrong offset, text archive or damaged file")
    size = len(buffer)
    for token, kind in _COMPRESSED.items():
        if head[2:].startswith(token):
            start = offset + 2 + len(token)
            if size < start + 16:
                raise VouchError(f"{where}: the archive is truncated")
            minimum, span, rows, cols = struct.unpack("<ffii", bytes(buffer[start : start + 16]))
            layout = Layout(kind, start + 16, rows, cols, minimum, span)
            break
    else:
        layout = _parse_plain(head, offset, where)
    if layout.rows < 0 or layout.cols < 0 or size < layout.start + _data_bytes(layout):
        raise VouchError(
            f"{where}: the archive is truncated: it promises {layout.rows} x {layout.cols} values at byte {offset}"
            f" and ends at byte {size}"
        )
    return layout


def _parse_plain(head: bytes, offset: int, where: str) -> Layout:
    kind, shape = head[2:3], head[3:5]
    if kind in _FLOATS and shape == b"M " and len(head) >= 15 and head[5] == head[10] == 4:
        return Layout(kind.decode(), offset + 15, *struct.unpack("<i", head[6:10]), *struct.unpack("<i", head[11:15]))
    if kind in _FLOATS and shape == b"V " and len(head) >= 10 and head[5] == 4:
        return Layout(kind.decode(), offset + 10, 1, *struct.unpack("<i", head[6:10]))
    raise VouchError(f"{where}: neither a float nor a compressed matrix at byte {offset} (type {head[2:5]!r})")


def _data_bytes(layout: Layout) -> int:
    count = layout.rows * layout.cols
    return {"F": 4 * count, "D": 8 * count, "CM": 8 * layout.cols + count, "CM2": 2 * count, "CM3": count}[layout.kind]


def read_rows(buffer: np.ndarray, layout: Layout, first: int, out: np.ndarray) -> None:
    """Copy rows `first` ... of an entry into `out`, converting to float32.

    Parameters
    ----------
    buffer : (bytes,) uint8 ndarray
        the archive, usually memory-mapped
    out : (rows, cols) float32 ndarray
        as many rows as it has are read
    """
    rows, cols, start = len(out), layout.cols, layout.start
    if layout.kind in ("F", "D"):
        dtype = _FLOATS[layout.kind.encode()]
        begin = start + first * cols * dtype.itemsize
        out[:] = buffer[begin : begin + rows * cols * dtype.itemsize].view(dtype).reshape(rows, cols)
    elif layout.kind == "CM":
        out[:] = _decode_columns(buffer, layout, first, rows)
    else:
        dtype, top = (np.dtype("<u2"), 65535.0) if layout.kind == "CM2" else (np.dtype("u1"), 255.0)
        begin = start + first * cols * dtype.itemsize
        codes = buffer[begin : begin + rows * cols * dtype.itemsize].view(dtype).reshape(rows, cols)
        np.multiply(codes, np.float32(layout.span / top), out=out, casting="unsafe")
        out += np.float32(layout.minimum)


def _decode_columns(buffer: np.ndarray, layout: Layout, first: int, rows: int) -> np.ndarray:
    """Return rows of a CM matrix, which lies column by column after the columns' marks."""
    cols, start = layout.cols, layout.start
    marks = buffer[start : start + 8 * cols].view("<u2").reshape(cols, 4).T
    columns = buffer[start + 8 * cols : start + (8 + layout.rows) * cols].reshape(cols, layout.rows)
    return decode_columns(columns[:, first : first + rows].T, decode_marks(marks, layout.minimum, layout.span))


def map_file(path: str | Path) -> np.ndarray:
    """Memory-map a file as (bytes,) uint8; `VouchError` when it is missing or empty."""
    try:
        return np.memmap(path, dtype=np.uint8, mode="r")
    except (OSError, ValueError) as error:
        raise VouchError(f"{path}: {getattr(error, 'strerror', None) or 'the file is empty'}") from None


def read_matrix(rxfilename: str) -> np.ndarray:
    """Read one matrix from `file.ark:offset` or `file.npy`.

    Returns
    -------
    (rows, cols) float32 ndarray
    """
    name, offset = split_rxfilename(rxfilename)
    buffer = map_file(name)
    layout = npy_layout(name) if name.endswith(".npy") else parse_header(buffer, offset, rxfilename)
    out = np.empty((layout.rows, layout.cols), np.float32)
    read_rows(buffer, layout, 0, out)
    return out


def npy_layout(path: str) -> Layout:
    """Return the layout of a `.npy` file that holds a C-ordered float32 or float64 matrix."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise VouchError(f"{path}: not a readable .npy file ({error})") from None
    kind = {"<f4": "F", "<f8": "D"}.get(array.dtype.str)
    if kind is None or array.ndim != 2 or not array.flags.c_contiguous:
        raise VouchError(f"{path}: needs a C-ordered float32 or float64 matrix, not {array.dtype} {array.shape}")
    return Layout(kind, array.offset, *array.shape)


def read_vectors(scp_path: str | Path) -> tuple[list[str], np.ndarray]:
    """Read all vectors that an scp file lists, such as embeddings.

    Returns
    -------
    ids : list of str, in file order
    vectors : (len(ids), dim) float32 ndarray

    Raises
    ------
    VouchError : a vector cannot be read, has another dimension than the first, or holds NaN or infinity
    """
    table = read_table(scp_path)
    maps: dict[str, np.ndarray] = {}
    vectors: np.ndarray | None = None
    for row, (key, rxfilename) in enumerate(table.items()):
        name, offset = split_rxfilename(rxfilename)
        if name not in maps:
            maps[name] = map_file(name)
        layout = parse_header(maps[name], offset, f"{scp_path}: '{key}'")
        if vectors is None:
            vectors = np.empty((len(table), layout.cols), np.float32)
        if layout.rows != 1 or layout.cols != vectors.shape[1]:
            raise VouchError(
                f"{scp_path}: '{key}' has shape {layout.rows} x {layout.cols}, not one vector of {vectors.shape[1]}"
            )
        read_rows(maps[name], layout, 0, vectors[row : row + 1])
    assert vectors is not None  # read_table refuses an empty file
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise VouchError(f"{scp_path}: '{list(table)[bad[0]]}' holds NaN or infinity ({len(bad)} such vectors)")
    return list(table), vectors


class ArkWriter:
    """Writes matrices and vectors into one archive; see `open_ark`."""

    def __init__(self, file: IO[bytes], ark_name: str, compression: str) -> None:
        self._file = file
        self._name = ark_name
        pick(COMPRESSION, compression, "compression")
        self._compression = compression
        self.entries: dict[str, str] = {}

    def write(self, key: str, array: np.ndarray) -> None:
        """Append `array`, (rows, cols) or (dim,), as float32 or in the archive's compressed form."""
        if not key or key.split() != [key]:
            raise VouchError(f"'{key}' cannot be an archive key: keys are not empty and hold no blanks")
        if not array.size:
            raise VouchError(f"'{key}': an empty matrix is not written")
        if not np.isfinite(array).all():
            raise VouchError(f"'{key}': NaN or infinite values are not written")
        file = self._file
        file.write(f"{key} ".encode())
        self.entries[key] = f"{self._name}:{file.tell()}"
        floats = np.ascontiguousarray(array, dtype="<f4")
        if self._compression == "none" or array.ndim == 1:
            write_array(file, floats)
        else:
            file.write(b"\0B" + compress(floats, self._compression))


@contextlib.contextmanager
def open_ark(ark_path: str | Path, scp_path: str | Path, compression: str = "none") -> Iterator[ArkWriter]:
    """Open an archive and its scp for writing; both appear, whole, when the block ends without an error.

    The scp names the archive by its absolute path and is sorted by key.
    """
    ark_path = Path(ark_path).absolute()
    with atomic_write(scp_path) as scp:
        with atomic_write(ark_path, "wb") as ark:
            writer = ArkWriter(ark, str(ark_path), compression)
            yield writer
        scp.writelines(f"{key} {writer.entries[key]}\n" for key in sorted(writer.entries))
