"""Archives of matrices and vectors: entries read wherever they lie, whole archives written."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from vouch.errors import VouchError, pick
from vouch.files import atomic_write
from vouch.kaldi.archives import read_entry
from vouch.kaldi.compression import METHODS
from vouch.kaldi.layout import (
    HEADER_BYTES,
    Layout,
    allow_open_files,
    map_file,
    npy_layout,
    parse_header,
    read_npy,
    read_rows,
    to_float32,
)
from vouch.kaldi.objects import write_object
from vouch.kaldi.rxfilename import parse_rxfilename
from vouch.kaldi.tables import read_table

# What archives of features can hold, by name: those compressed matrices whose range follows that of the values.
COMPRESSION = ("none", "auto", *(name for name, method in METHODS.items() if method.low is None))
# Archives that stay open while their headers are read: the lines of an scp may change between those of several jobs.
_FILES_OPEN = 64


class Archives:
    """The files that extended file names point into; an archive is memory-mapped when it is first read from."""

    def __init__(self) -> None:
        # By number: a path, the bytes of a mapped archive, or those of a matrix that was read whole.
        self._buffers: list[str | np.ndarray] = []
        self._numbers: dict[str, int] = {}
        self._num_mapped = 0

    def locate(self, table: Mapping[str, str], where: str | Path) -> Iterator[tuple[str, int, Layout]]:
        """Find the matrices that a table of extended file names lists; a vector is a matrix of one row.

        What a pipe writes, and text, is read now and kept in memory as float32.

        Yields
        ------
        key, number of the file, and where the matrix lies in that

        Raises
        ------
        VouchError : naming the table `where` and the key: it cannot be read
        """
        # The headers are read, not mapped: a page of each entry would come into memory with its neighbours.
        with contextlib.ExitStack() as stack:
            opened: dict[str, tuple[int, int]] = {}
            for key, rxfilename in table.items():
                try:
                    number, layout = self._locate(rxfilename, stack, opened)
                except VouchError as error:
                    raise VouchError(f"{where}: '{key}': {error}") from None
                yield key, number, layout

    def _locate(
        self, rxfilename: str, stack: contextlib.ExitStack, opened: dict[str, tuple[int, int]]
    ) -> tuple[int, Layout]:
        source = parse_rxfilename(rxfilename)
        if source.is_npy:
            return self._add(source.name), npy_layout(source.name).select(source, False)
        if not source.is_pipe:
            if source.name not in opened:
                if len(opened) == _FILES_OPEN:
                    stack.close()
                    opened.clear()
                opened[source.name] = _open(source.name, stack)
            descriptor, size = opened[source.name]
            head = os.pread(descriptor, HEADER_BYTES, source.offset)
            if head[:1] == b"\0":
                layout, is_vector = parse_header(head, source.offset, size, rxfilename)
                if source.name not in self._numbers:
                    self._numbers[source.name] = self._add(source.name)
                return self._numbers[source.name], layout.select(source, is_vector)
        matrix = read_matrix(rxfilename)
        number = self._add(matrix.reshape(-1).view(np.uint8))
        return number, Layout("F", 0, *matrix.shape, *matrix.shape)

    def _add(self, buffer: str | np.ndarray) -> int:
        self._buffers.append(buffer)
        return len(self._buffers) - 1

    def read(self, number: int, layout: Layout, first: int, out: np.ndarray) -> None:
        """Copy rows `first` ... of a matrix into `out`, (rows, layout.cols) float32."""
        buffer = self._buffers[number]
        if not isinstance(buffer, str):
            read_rows(buffer, layout, first, out)
        elif buffer.endswith(".npy"):
            # One map an utterance would exhaust the process's maps; the file is opened at each read instead.
            rows = read_npy(buffer, layout._replace(top=layout.top + first, rows=len(out)))
            out[:] = to_float32(rows[:, layout.left : layout.left + layout.cols])
        else:
            self._num_mapped += 1
            allow_open_files(self._num_mapped)
            mapped = map_file(buffer)
            if len(mapped) < layout.start + layout.data_bytes():
                raise VouchError(f"{buffer}: it has become shorter since it was opened")
            self._buffers[number] = mapped
            read_rows(mapped, layout, first, out)


def _open(path: str, stack: contextlib.ExitStack) -> tuple[int, int]:
    """Return descriptor and size of a file that `stack` closes."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        stack.callback(os.close, descriptor)
        status = os.fstat(descriptor)
    except OSError as error:
        raise VouchError(f"{path}: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise VouchError(f"{path}: not a file in which a place can be looked up")
    if not status.st_size:
        raise VouchError(f"{path}: the file is empty")
    return descriptor, status.st_size


def read_matrix(rxfilename: str) -> np.ndarray:
    """Read one matrix from `file.ark:offset`, `file.npy` or `command |`, or the part of it that a range names.

    Returns
    -------
    (rows, cols) float32 ndarray; a vector has one row
    """
    array = np.atleast_2d(read_entry(rxfilename))
    if array.dtype.kind != "f":
        raise VouchError(f"{rxfilename}: integers, not a matrix or vector")
    return to_float32(array).copy()


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
    archives = Archives()
    vectors: np.ndarray | None = None
    for row, (key, number, layout) in enumerate(archives.locate(table, scp_path)):
        dim = layout.cols if vectors is None else vectors.shape[1]
        if layout.rows != 1 or layout.cols != dim:
            raise VouchError(f"{scp_path}: '{key}' has shape {layout.rows} x {layout.cols}, not one vector of {dim}")
        if vectors is None:
            vectors = np.empty((len(table), dim), np.float32)
        archives.read(number, layout, 0, vectors[row : row + 1])
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
        pick(dict.fromkeys(COMPRESSION), compression, "compression")
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
        self._file.write(f"{key} ".encode())
        self.entries[key] = f"{self._name}:{self._file.tell()}"
        write_object(self._file, np.ascontiguousarray(array, dtype="<f4"), self._compression)


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
