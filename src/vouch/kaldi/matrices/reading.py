"""Reads whole tables of matrices, vectors or numbers entry by entry, as Kaldi's programs do."""

from __future__ import annotations

import contextlib
import errno
import io
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np

from vouch.base.errors import VouchError, pick
from vouch.base.pipes import read_pipe
from vouch.base.rxfilename import Source, parse_rxfilename, resolve_range
from vouch.kaldi.matrices.npy import SUFFIX, npy_layout, read_npy
from vouch.kaldi.matrices.objects import HOLDS, ByteReader, read_object
from vouch.kaldi.matrices.specifiers import (
    Rspecifier,
    open_input,
    opened,
    parse_rspecifier,
    read_script,
)

# A longer key means that the file is not an archive.
LONGEST_KEY = 4096
Entry = tuple[str, np.ndarray]


def read_entries(rspecifier: str, holds: str = "any", skipped: list[str] | None = None) -> Iterator[Entry]:
    """Read a table entry by entry, in file order.

    Parameters
    ----------
    rspecifier : str
        `ark:FILE`, `ark:command |`, `scp:FILE`, `scp,p:FILE` ...; `-` is the standard input. A line of an scp is
        `key FILE:offset`, `key FILE.npy` or `key command |`, optionally with a range such as `[0:99]` or `[:,0:12]`.
    holds : str
        Kind of the entries, one of `vouch.kaldi.matrices.objects.HOLDS`.
    skipped : list of str, optional
        Receives the reason for each entry that the option "p" leaves out.

    Yields
    ------
    key : str
    array : () or (elements,) or (rows, cols) ndarray, of float32, float64 or int32

    Raises
    ------
    VouchError
        An entry cannot be read; the message names file and key or line.
    """
    pick(dict.fromkeys(HOLDS), holds, "kind of entries")
    table = parse_rspecifier(rspecifier)
    read = _read_script if table.is_script else _read_archive
    previous = None
    for key, array in read(table, holds, [] if skipped is None else skipped):
        if table.is_sorted and previous is not None and key <= previous:
            raise VouchError(
                f"{table.rxfilename}: '{key}' comes after '{previous}': not sorted, and option 's' says so"
            )
        previous = key
        yield key, array


def _read_archive(table: Rspecifier, holds: str, skipped: list[str]) -> Iterator[Entry]:
    name = table.rxfilename
    with open_input(name) as file:
        reader = ByteReader(file)
        array = None
        try:
            while (key := _read_key(reader, array, name)) is not None:
                array = read_object(reader, holds, f"{name}: '{key}'")
                yield key, array
        except VouchError as error:
            # The start of the next entry is unknown, so "p" ends the table here.
            if not table.permissive:
                raise
            skipped.append(str(error))


def _read_key(reader: ByteReader, previous: np.ndarray | None, name: str) -> str | None:
    byte = reader.byte()
    if byte == b"\0" and previous is not None and previous.shape == (0, 0):
        # Kaldi writes four extra bytes after an empty compressed matrix, and cannot read the next entry itself.
        reader.take(3, name)
        byte = reader.byte()
    while byte.isspace():
        byte = reader.byte()
    key = b""
    while byte and not byte.isspace() and len(key) < LONGEST_KEY:
        key += byte
        byte = reader.byte()
    if not key and not byte:
        return None
    try:
        decoded = key.decode("utf-8")
    except UnicodeDecodeError:
        decoded = "\0"
    if "\0" in decoded or not byte.isspace():
        what = "ends within a key" if not byte else f"{key[:40]!r} is not a key"
        raise VouchError(f"{name}: {what}: not an archive, or damaged before")
    if byte == b"\n":
        reader.push_back(byte)
    return decoded


def _read_script(table: Rspecifier, holds: str, skipped: list[str]) -> Iterator[Entry]:
    with contextlib.ExitStack() as stack:
        files = _LastFile(stack)
        for number, key, rxfilename in read_script(table.rxfilename):
            try:
                array = read_entry(rxfilename, holds, files.open)
            except VouchError as error:
                message = f"{table.rxfilename}:{number}: '{key}': {error}"
                if not table.permissive:
                    raise VouchError(message) from None
                skipped.append(message)
                continue
            yield key, array


class _LastFile:
    """Keeps the most recent file open, because consecutive lines of an scp usually name the same archive."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._path: str | None = None
        self._file: BinaryIO | None = None

    def open(self, path: str) -> BinaryIO:
        """Return the file, at an arbitrary position."""
        if self._file is None or path != self._path:
            self._stack.close()
            self._file = None
            self._file = self._stack.enter_context(opened(path))
            self._path = path
        return self._file


def read_entry(rxfilename: str, holds: str = "any", open_file: Callable[[str], BinaryIO] | None = None) -> np.ndarray:
    """Read the matrix, vector or number of an extended file name; see `read_entries`.

    Parameters
    ----------
    open_file : callable, optional
        Function that opens the file at a path and remains responsible for closing it; None: open it for this entry
        only.
    """
    source = parse_rxfilename(rxfilename)
    if open_file is None:
        with contextlib.ExitStack() as stack:
            return _read_source(source, holds, rxfilename, _LastFile(stack).open)
    return _read_source(source, holds, rxfilename, open_file)


def _read_source(source: Source, holds: str, where: str, open_file: Callable[[str], BinaryIO]) -> np.ndarray:
    if source.is_pipe:
        array = read_object(ByteReader(io.BytesIO(read_pipe(source.name))), holds, where)
    elif source.name.endswith(SUFFIX):
        array = read_npy(source.name, npy_layout(source.name))
    else:
        file = open_file(source.name)
        try:
            _seek(file, source.offset, where)
            array = read_object(ByteReader(file), holds, where)
        except OSError as error:
            raise VouchError(f"{where}: {error.strerror or error}") from None
    return array[resolve_range(source, array.shape)]


def _seek(file: BinaryIO, offset: int, where: str) -> None:
    try:
        file.seek(offset)
    except OSError as error:
        # Offsets beyond the largest possible file raise an error; smaller ones after the end just read nothing.
        if error.errno == errno.EINVAL:
            raise VouchError(f"{where}: the offset is larger than any file; write the table again") from None
        raise
