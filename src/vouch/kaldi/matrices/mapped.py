"""Random access to archives of matrices and vectors: entries read wherever they lie, from memory maps."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from vouch.base.errors import VouchError
from vouch.kaldi.matrices.headers import Headers
from vouch.kaldi.matrices.layout import Layout, allow_open_files, map_file, read_rows, to_float32
from vouch.kaldi.matrices.npy import read_npy
from vouch.kaldi.matrices.reading import read_entry
from vouch.kaldi.tables import read_table

# What is said of a vector in a table of features.
NO_MATRIX = "holds 'vector', where 'matrix' is expected"


class MappedArchives:
    """The files that extended file names point into; an archive is memory-mapped when it is first read from."""

    def __init__(self) -> None:
        # By number: a path, the bytes of a mapped archive, or those of a matrix that was read whole.
        self._buffers: list[str | np.ndarray] = []
        self._numbers: dict[str, int] = {}
        # Of those that are mapped, by number: path and map.
        self._maps: dict[int, tuple[str, mmap.mmap]] = {}

    def locate(
        self, table: Mapping[str, str], where: str | Path, vectors: bool = True
    ) -> Iterator[tuple[str, int, Layout]]:
        """Find the matrices that a table of extended file names lists; a vector is a matrix of one row.

        What a pipe writes, and text, is read now and kept in memory as float32.

        Parameters
        ----------
        table : mapping of str to str
            Keys to extended file names.
        where : str or Path
            The table, for messages.
        vectors : bool
            Whether vectors may be among them.

        Yields
        ------
        iterator of tuple of str, int and Layout
            Key, number of the file, and where the matrix lies in that.

        Raises
        ------
        VouchError
            Naming the table `where` and the key: it cannot be read, or it is a vector and may not be one.
        """
        # The headers are read, not mapped: a page of each entry would come into memory with its neighbours.
        with Headers() as headers:
            for key, rxfilename in table.items():
                try:
                    number, layout = self._locate(rxfilename, headers, vectors)
                except VouchError as error:
                    raise VouchError(f"{where}: '{key}': {error}") from None
                yield key, number, layout

    def _locate(self, rxfilename: str, headers: Headers, vectors: bool) -> tuple[int, Layout]:
        header = headers.read(rxfilename)
        if header is None:
            matrix = read_matrix(rxfilename, vectors)
            number = self._add(matrix.reshape(-1).view(np.uint8))
            return number, Layout("F", 0, *matrix.shape, *matrix.shape)
        if header.is_vector and not vectors:
            raise VouchError(f"{rxfilename}: {NO_MATRIX}")
        name = header.source.name
        if header.source.is_npy:
            return self._add(name), header.layout
        if name not in self._numbers:
            self._numbers[name] = self._add(name)
        return self._numbers[name], header.layout

    def _add(self, buffer: str | np.ndarray) -> int:
        self._buffers.append(buffer)
        return len(self._buffers) - 1

    def read(self, number: int, layout: Layout, first: int, out: np.ndarray) -> None:
        """Copy rows `first` ... of a matrix into `out`, (rows, layout.cols) float32."""
        buffer = self._buffers[number]
        if isinstance(buffer, str) and buffer.endswith(".npy"):
            # One map an utterance would exhaust the process's maps; the file is opened at each read instead.
            rows = read_npy(buffer, layout._replace(top=layout.top + first, rows=len(out)))
            out[:] = to_float32(rows[:, layout.left : layout.left + layout.cols])
        else:
            if isinstance(buffer, str):
                allow_open_files(len(self._maps) + 1)
                mapped = map_file(buffer)
                self._maps[number] = buffer, mapped
                self._buffers[number] = buffer = np.frombuffer(mapped, np.uint8)
            if number in self._maps:
                path, mapped = self._maps[number]
                # A read beyond the end of a file that was cut short meanwhile would end the process without a word.
                if mapped.size() < layout.start + layout.data_bytes():
                    raise VouchError(f"{path}: it has become shorter since it was opened")
            read_rows(buffer, layout, first, out)


def read_matrix(rxfilename: str, vectors: bool = True) -> np.ndarray:
    """Read one matrix from `file.ark:offset`, `file.npy` or `command |`, or the part of it that a range names.

    Parameters
    ----------
    rxfilename : str
        Extended file name.
    vectors : bool
        Whether it may be a vector.

    Returns
    -------
    (rows, cols) float32 ndarray
        A vector has one row.
    """
    array = np.atleast_2d(read_entry(rxfilename, "any" if vectors else "matrix"))
    if array.dtype.kind != "f":
        raise VouchError(f"{rxfilename}: integers, not a matrix or vector")
    return to_float32(array).copy()


def read_vectors(scp_path: str | Path) -> tuple[list[str], np.ndarray]:
    """Read all vectors that an scp file lists, such as embeddings.

    Returns
    -------
    ids : list of str
        In file order.
    vectors : (len(ids), dim) float32 ndarray

    Raises
    ------
    VouchError
        A vector cannot be read, has another dimension than the first, or holds NaN or infinity.
    """
    table = read_table(scp_path)
    archives = MappedArchives()
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
