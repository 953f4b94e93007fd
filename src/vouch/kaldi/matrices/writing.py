"""Writes matrices, vectors and numbers entry by entry, into the archives of stages or to any wspecifier."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import quote

import numpy as np

from vouch.base.errors import VouchError, pick
from vouch.base.files import atomic_write
from vouch.kaldi.matrices.compression import METHODS
from vouch.kaldi.matrices.objects import encode_object
from vouch.kaldi.matrices.specifiers import Wspecifier, open_output, parse_wspecifier, read_script

# Compression methods for archives of features: those whose range follows that of the values.
COMPRESSION = ("none", "auto", *(name for name, method in METHODS.items() if method.low is None))


def append_entry(
    file: IO[bytes], key: str, array: np.ndarray, compression: str = "none", text: bool = False, find: bool = True
) -> int:
    """Append a key and its array to an archive; if either is invalid, nothing is written.

    Parameters
    ----------
    file : IO
        Archive, positioned at its end.
    key : str
        Must not be empty or contain blanks.
    array : ndarray
    compression : str
    text : bool
        See `vouch.kaldi.matrices.objects.encode_object`.
    find : bool
        Whether to determine the position of the array; pipes have none.

    Returns
    -------
    int
        Byte at which the array begins; 0 if it was not determined.

    Raises
    ------
    VouchError
        The key is invalid, or the array cannot be compressed; the message names the key.
    """
    if not key or key.split() != [key]:
        raise VouchError(f"'{key}' cannot be an archive key: keys are not empty and hold no blanks")
    pieces = _encode(key, array, compression, text)
    head = f"{key} ".encode()
    position = file.tell() + len(head) if find else 0
    file.writelines([head, *pieces])
    return position


def _encode(key: str, array: np.ndarray, compression: str, text: bool) -> list[bytes | memoryview]:
    try:
        return encode_object(array, compression, text)
    except VouchError as error:
        raise VouchError(f"'{key}': {error}") from None


class ArkWriter:
    """Writes float32 matrices and vectors into one archive; see `open_ark`.

    Parameters
    ----------
    file : IO
        The archive, open for writing.
    ark_name : str
        Path of the archive in tables.
    compression : str
        Compression of matrices, one of `COMPRESSION`.

    Attributes
    ----------
    entries : dict of str to str
        Key to `archive:offset`, in the order of writing.
    files : list of str
        List with the archive's name as the only element.
    """

    def __init__(self, file: IO[bytes], ark_name: str, compression: str) -> None:
        self._file = file
        self._name = ark_name
        pick(dict.fromkeys(COMPRESSION), compression, "compression")
        self._compression = compression
        self.entries: dict[str, str] = {}
        self.files = [ark_name]

    def write(self, key: str, array: np.ndarray) -> str:
        """Append `array`, (rows, cols) or (dim,), as float32 or compressed.

        Returns
        -------
        str
            `archive:offset`.

        Raises
        ------
        VouchError
            The array is empty or not finite, or the key is invalid.
        """
        position = append_entry(self._file, key, _finite_floats(key, array), self._compression)
        self.entries[key] = f"{self._name}:{position}"
        return self.entries[key]


class NpyWriter:
    """Writes each float32 matrix or vector into a `.npy` file of its own.

    Parameters
    ----------
    folder : Path
        Folder of the files `<key>.npy`; characters that file names cannot hold become `%2F` and the like.

    Attributes
    ----------
    files : list of str
        Names of the files, in the order of writing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.files: list[str] = []

    def write(self, key: str, array: np.ndarray) -> str:
        """Write `array`, (rows, cols) or (dim,), and return the name of its file.

        Raises
        ------
        VouchError
            The array is empty or not finite.
        """
        buffer = io.BytesIO()
        np.save(buffer, _finite_floats(key, array), allow_pickle=False)
        name = f"{quote(key, safe='')}.npy"
        # Through memory, because numpy's own writing does not report a full disk as such.
        with atomic_write(self._folder / name, "wb") as file:
            file.write(buffer.getbuffer())
        self.files.append(name)
        return name


def _finite_floats(key: str, array: np.ndarray) -> np.ndarray:
    """Return an array as it is to be written; `VouchError` naming the key if it is empty or not finite."""
    if not array.size:
        raise VouchError(f"'{key}': an empty matrix is not written")
    if not np.isfinite(array).all():
        raise VouchError(f"'{key}': NaN or infinite values are not written")
    return np.ascontiguousarray(array, dtype="<f4")


@contextlib.contextmanager
def open_ark(ark_path: str | Path, scp_path: str | Path, compression: str = "none") -> Iterator[ArkWriter]:
    """Open an archive and its scp for writing; both appear when the block ends without an error.

    The scp names the archive by its absolute path and is sorted by key.
    """
    ark_path = Path(ark_path).absolute()
    with atomic_write(scp_path) as scp:
        with atomic_write(ark_path, "wb") as ark:
            writer = ArkWriter(ark, str(ark_path), compression)
            yield writer
        scp.writelines(f"{key} {writer.entries[key]}\n" for key in sorted(writer.entries))


class EntryWriter:
    """Writes a table entry by entry; see `open_entries`."""

    def __init__(self, table: Wspecifier, compression: str, ark: IO[bytes] | None, scp: IO[bytes] | None) -> None:
        self._table, self._compression = table, compression
        self._ark, self._scp = ark, scp
        self._targets: dict[str, str] = {}
        if table.ark is None and table.scp is not None:
            self._targets = {key: wxfilename for _, key, wxfilename in read_script(table.scp)}

    def write(self, key: str, array: np.ndarray) -> None:
        """Append an entry.

        Parameters
        ----------
        array : ndarray
            () or (elements,) or (rows, cols), of float32 or float64 or, except for matrices, int32.

        Raises
        ------
        VouchError
            The key, type or values cannot be written, or the scp does not list the key.
        """
        if (
            array.dtype.str not in ("<f4", "<f8", "<i4")
            or array.ndim > 2
            or (array.ndim == 2 and array.dtype.kind == "i")
        ):
            raise VouchError(f"'{key}': {array.dtype} of shape {array.shape} has no place in Kaldi's formats")
        if self._ark is None:
            self._write_target(key, array)
            return
        position = append_entry(self._ark, key, array, self._compression, self._table.text, find=self._scp is not None)
        if self._table.flush:
            self._ark.flush()
        if self._scp is not None:
            self._scp.write(f"{key} {self._table.ark}:{position}\n".encode())

    def _write_target(self, key: str, array: np.ndarray) -> None:
        if key in self._targets:
            pieces = _encode(key, array, self._compression, self._table.text)
            with open_output(self._targets[key]) as file:
                file.writelines(pieces)
        elif self._table.scp is not None and not self._table.permissive:
            raise VouchError(f"'{key}' is not in {self._table.scp}, which says where each entry goes")


@contextlib.contextmanager
def open_entries(wspecifier: str, compression: str = "none", text: bool = False) -> Iterator[EntryWriter]:
    """Open a table for writing; its files appear when the block ends without an error.

    Parameters
    ----------
    wspecifier : str
        `ark:FILE`, `ark,t:FILE` (text), `ark,scp:ARK,SCP`, `ark:| command`, `scp:FILE` (an existing scp that says which
        file each entry is written to) ...; `-` is the standard output; an empty text writes nothing.
    compression : str
        Compression of matrices, a name of `vouch.kaldi.matrices.compression.METHODS`, "auto" or "none".
    text : bool
        Whether to write text, like the option "t" of the wspecifier.
    """
    pick({"none": None, "auto": None, **METHODS}, compression, "compression")
    table = parse_wspecifier(wspecifier) if wspecifier else Wspecifier(None, None, False, False, True)
    table = table._replace(text=table.text or text)
    with contextlib.ExitStack() as stack:
        # Opened first and renamed last, so that every entry in the scp exists.
        scp = stack.enter_context(open_output(table.scp)) if table.ark is not None and table.scp is not None else None
        ark = stack.enter_context(open_output(table.ark)) if table.ark is not None else None
        yield EntryWriter(table, compression, ark, scp)
