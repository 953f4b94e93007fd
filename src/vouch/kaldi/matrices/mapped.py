"""Random access to rows of matrices and vectors in archives, by headers and memory maps."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import resource
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vouch.base.errors import VouchError, reason
from vouch.base.rxfilename import parse_rxfilename
from vouch.kaldi.matrices.layout import HEADER_BYTES, Layout, parse_header, read_rows, to_float32
from vouch.kaldi.matrices.npy import SUFFIX, npy_layout, read_npy
from vouch.kaldi.matrices.reading import read_entry
from vouch.kaldi.tables import read_table

# Archives that stay open while headers are read; the lines of an scp may alternate between archives of several jobs.
_FILES_OPEN = 64
# Allowance for other open files: logs, audio, libraries, pipes of jobs.
_OTHER_FILES = 256
# Message for a vector in a table of features.
NO_MATRIX = "holds 'vector', where 'matrix' is expected"
# A `Layout` and the number of its file as one record; Python objects would take ten times the memory.
_ENTRY = np.dtype(
    [
        ("kind", "U3"),
        ("start", "<i8"),
        *((name, "<i4") for name in ("height", "width", "rows", "cols", "top", "left")),
        ("minimum", "<f4"),
        ("span", "<f4"),
        ("number", "<i4"),
    ]
)


class Header(NamedTuple):
    """Header of a matrix or vector in a file.

    Attributes
    ----------
    path : str
        The file.
    layout : Layout
        Position and form of the wanted range of rows and columns.
    is_vector : bool
        Whether it has only one axis.
    """

    path: str
    layout: Layout
    is_vector: bool


class Headers(contextlib.ExitStack):
    """Reads headers; keeps a few archives open until the block ends."""

    def __init__(self) -> None:
        super().__init__()
        self._opened: dict[str, tuple[int, int]] = {}

    def read(self, rxfilename: str) -> Header | None:
        """Read the header of an extended file name; None if there is no binary header, as for text and pipes.

        Raises
        ------
        VouchError
            There is no such file, its header is damaged, or it is shorter than the header says.
        """
        source = parse_rxfilename(rxfilename)
        path = source.name
        if source.is_pipe:
            return None
        if path.endswith(SUFFIX):
            layout, is_vector = npy_layout(path), False
        else:
            if path not in self._opened:
                if len(self._opened) == _FILES_OPEN:
                    self.close()
                    self._opened.clear()
                self._opened[path] = self._open(path)
            descriptor, size = self._opened[path]
            try:
                # Offsets beyond the largest possible file raise an error, while those after the end read nothing.
                head = os.pread(descriptor, HEADER_BYTES, min(source.offset, size))
            except OSError as error:
                raise VouchError(f"{path}: {reason(error)}") from None
            if head[:1] != b"\0":
                return None
            layout, is_vector = parse_header(head, source.offset, size, rxfilename)
        if source.rows is not None or source.cols is not None:
            layout = layout.select(source, is_vector)
        return Header(path, layout, is_vector)

    def _open(self, path: str) -> tuple[int, int]:
        """Return file descriptor and size of a file."""
        try:
            descriptor = os.open(path, os.O_RDONLY)
            self.callback(os.close, descriptor)
            status = os.fstat(descriptor)
        except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
            raise VouchError(f"{path}: {reason(error)}") from None
        if not stat.S_ISREG(status.st_mode):
            raise VouchError(f"{path}: not a file in which a place can be looked up")
        if not status.st_size:
            raise VouchError(f"{path}: the file is empty")
        return descriptor, status.st_size


class MappedArchives:
    """Matrices listed in a table of extended file names; a vector is a matrix with one row.

    An archive is memory-mapped when it is first read. The output of pipes and text archives are read when the table is
    opened, and stay in memory as float32.

    Parameters
    ----------
    table : mapping of str to str
        Keys to extended file names.
    where : str or Path
        Name of the table in messages.
    vectors : bool
        Whether vectors are accepted.

    Attributes
    ----------
    rows, cols : (entries,) int32 ndarray
        Sizes of the matrices, in the order of the table.

    Raises
    ------
    VouchError
        An entry cannot be read, or is a vector and may not be one; the message names the table and the key.
    """

    def __init__(self, table: Mapping[str, str], where: str | Path, vectors: bool = True) -> None:
        # By file number: a path, the bytes of a mapped archive, or a matrix that was read whole.
        self._buffers: list[str | np.ndarray] = []
        self._numbers: dict[str, int] = {}
        # Path and map of the mapped archives, by file number.
        self._maps: dict[int, tuple[str, mmap.mmap]] = {}
        self._entries = np.empty(len(table), _ENTRY)
        for index, (layout, number) in enumerate(self.locate(table, where, vectors)):
            self._entries[index] = (*layout, number)
        self.rows, self.cols = self._entries["rows"], self._entries["cols"]

    def locate(self, table: Mapping[str, str], where: str | Path, vectors: bool = True) -> Iterator[tuple[Layout, int]]:
        """Yield the layout of each matrix of a table, and the number of its file, for `copy`; see the class."""
        # Headers are read from files: through a map, a page of each entry and its neighbours would come into memory.
        with Headers() as headers:
            for key, rxfilename in table.items():
                try:
                    found = self._locate(rxfilename, headers, vectors)
                except VouchError as error:
                    raise VouchError(f"{where}: '{key}': {error}") from None
                yield found

    def _locate(self, rxfilename: str, headers: Headers, vectors: bool) -> tuple[Layout, int]:
        """Return the layout of a matrix, and the number of its file."""
        header = headers.read(rxfilename)
        if header is None:
            matrix = read_matrix(rxfilename, vectors)
            return Layout("F", 0, *matrix.shape, *matrix.shape), self._add(matrix.reshape(-1).view(np.uint8))
        if header.is_vector and not vectors:
            raise VouchError(f"{rxfilename}: {NO_MATRIX}")
        path = header.path
        if path.endswith(SUFFIX):
            return header.layout, self._add(path)
        if path not in self._numbers:
            self._numbers[path] = self._add(path)
        return header.layout, self._numbers[path]

    def _add(self, buffer: str | np.ndarray) -> int:
        self._buffers.append(buffer)
        return len(self._buffers) - 1

    def read(self, index: int, first: int, out: np.ndarray) -> None:
        """Copy rows of matrix `index`, from row `first` on, into `out`, (rows, cols) float32."""
        *fields, number = self._entries[index].item()
        self.copy(Layout(*fields), number, first, out)

    def copy(self, layout: Layout, number: int, first: int, out: np.ndarray) -> None:
        """Copy rows `first` ... of a matrix, as `locate` gave it, into `out`, (rows, cols) float32."""
        buffer = self._buffers[number]
        if isinstance(buffer, str) and buffer.endswith(SUFFIX):
            # One map per utterance would exceed the process's limit of maps; the file is opened for each read instead.
            rows = read_npy(buffer, layout._replace(top=layout.top + first, rows=len(out)))
            out[:] = to_float32(rows[:, layout.left : layout.left + layout.cols])
            return
        if isinstance(buffer, str):
            allow_open_files(len(self._maps) + 1)
            mapped = map_file(buffer)
            self._maps[number] = buffer, mapped
            self._buffers[number] = buffer = np.frombuffer(mapped, np.uint8)
        where = ""
        if number in self._maps:
            where, mapped = self._maps[number]
            # Reading a map beyond the end of a file that was truncated meanwhile would kill the process silently.
            if mapped.size() < len(buffer):
                buffer = buffer[: mapped.size()]
        read_rows(buffer, layout, first, out, where)


def map_file(path: str | Path) -> mmap.mmap:
    """Memory-map a file for reading; `VouchError` when it is missing or empty."""
    try:
        with open(path, "rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        more = "; allow more (ulimit -n) or join archives" if error.errno == errno.EMFILE else ""
        raise VouchError(f"{path}: {error.strerror}{more}") from None
    except ValueError:
        raise VouchError(f"{path}: the file is empty") from None


def allow_open_files(count: int) -> None:
    """Raise this process's limit of open files, often 1024, as far as mapping `count` files needs and is allowed."""
    needed = count + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and needed > soft:
        limit = max(needed, 2 * soft)
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard)
        )


def read_matrix(rxfilename: str, vectors: bool = True) -> np.ndarray:
    """Read one matrix, or a range of it, from `file.ark:offset`, `file.npy` or `command |`.

    Parameters
    ----------
    rxfilename : str
        Extended file name.
    vectors : bool
        Whether a vector is accepted.

    Returns
    -------
    (rows, cols) float32 ndarray
        A vector gives one row.
    """
    array = np.atleast_2d(read_entry(rxfilename, "any" if vectors else "matrix"))
    if array.dtype.kind != "f":
        raise VouchError(f"{rxfilename}: integers, not a matrix or vector")
    return to_float32(array).copy()


def read_vectors(scp_path: str | Path) -> tuple[list[str], np.ndarray]:
    """Read all vectors listed in an scp file, such as embeddings.

    Returns
    -------
    ids : list of str
        In file order.
    vectors : (len(ids), dim) float32 ndarray

    Raises
    ------
    VouchError
        A vector cannot be read, has another dimension than the first, or holds NaN or infinite values.
    """
    table = read_table(scp_path)
    ids = list(table)
    # Each is read once, so that no record of where they lie is kept.
    archives = MappedArchives({}, scp_path)
    vectors = np.empty((0, 0), np.float32)
    for row, (layout, number) in enumerate(archives.locate(table, scp_path)):
        if row == 0:
            vectors = np.empty((len(ids), layout.cols), np.float32)
        dim = vectors.shape[1]
        if layout.rows != 1 or layout.cols != dim:
            raise VouchError(
                f"{scp_path}: '{ids[row]}' has shape {layout.rows} x {layout.cols}, not one vector of {dim}"
            )
        archives.copy(layout, number, 0, vectors[row : row + 1])
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise VouchError(f"{scp_path}: '{ids[bad[0]]}' holds NaN or infinity ({len(bad)} such vectors)")
    return ids, vectors
