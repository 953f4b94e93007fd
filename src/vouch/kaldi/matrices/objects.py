"""Decodes single matrices, vectors and numbers in Kaldi's form from a stream, and encodes them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from vouch.base.errors import VouchError
from vouch.kaldi.matrices.compression import compress
from vouch.kaldi.matrices.layout import FLOATS, HEADERS, Layout, decode_header, read_rows, to_float32
from vouch.kaldi.matrices.textform import format_text, parse_text

# Kinds of entries. Single numbers cannot be recognised from their bytes, so "int" and "float" must be requested.
HOLDS = ("any", "matrix", "vector", "int_vector", "int", "float")
# Bytes that are read at a time, so that a damaged header cannot make us allocate what it claims.
_CHUNK = 1 << 20
_NUMBERS = {b"\4": {"int": "<i4", "float": "<f4"}, b"\x08": {"float": "<f8"}}
_COUNTED = np.dtype([("size", "i1"), ("value", "<i4")])


class ByteReader:
    """Reads a binary file forwards, and allocates no more memory than there are bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._pushed = b""

    def byte(self) -> bytes:
        """Return the next byte, or nothing at the end."""
        byte, self._pushed = self._pushed or self._file.read(1), b""
        return byte

    def push_back(self, byte: bytes) -> None:
        """Return `byte`, the last one that was read, to the input."""
        self._pushed = byte

    def lines(self) -> Iterator[bytes]:
        """Yield the remaining lines."""
        byte = self.byte()
        if byte:
            yield byte if byte == b"\n" else byte + self._file.readline()
        while line := self._file.readline():
            yield line

    def take(self, count: int, where: str) -> bytes:
        """Return exactly `count` bytes; `VouchError` naming `where` if there are fewer."""
        chunks = []
        while count and (chunk := self._file.read(min(count, _CHUNK))):
            chunks.append(chunk)
            count -= len(chunk)
        if count:
            raise VouchError(f"{where}: the archive is truncated, or its header damaged")
        return b"".join(chunks)


def read_object(reader: ByteReader, holds: str, where: str) -> np.ndarray:
    """Read one matrix, vector or number, binary or text.

    Parameters
    ----------
    reader : ByteReader
        Positioned at the first byte of the entry.
    holds : str
        Expected kind, one of `HOLDS`.
    where : str
        File and key, for messages.

    Returns
    -------
    ndarray
        () or (elements,) or (rows, cols) ndarray, of float32, float64 or int32; compressed matrices become float32.

    Raises
    ------
    VouchError
        The entry is damaged, truncated, or of another kind.
    """
    first = reader.byte()
    if not first:
        raise VouchError(f"{where}: nothing here, it ends before; wrong offset or truncated file")
    if first == b"\0":
        array = _read_binary(reader, holds, where)
    else:
        reader.push_back(first)
        array = parse_text(reader.lines(), holds, where)
    expected = {"matrix": (2, "f"), "vector": (1, "f"), "int_vector": (1, "i"), "int": (0, "i"), "float": (0, "f")}
    if holds != "any" and (array.ndim, array.dtype.kind) != expected[holds]:
        found = {expected[name]: name for name in expected}[array.ndim, array.dtype.kind]
        raise VouchError(f"{where}: holds '{found}', where '{holds}' is expected")
    return array


def _read_binary(reader: ByteReader, holds: str, where: str) -> np.ndarray:
    if reader.byte() != b"B":
        raise VouchError(f"{where}: no matrix, vector or number here; wrong offset or damaged file")
    first = reader.byte()
    if holds in ("int", "float"):
        form = _NUMBERS.get(first, {}).get(holds)
        if form is None:
            raise VouchError(f"{where}: not a binary '{holds}'")
        return np.frombuffer(reader.take(int(form[-1]), where), form)[0].reshape(())
    if first == b"\4":
        return _read_integers(reader, where)
    token = first
    while not token.endswith(b" ") and len(token) < 4:
        byte = reader.byte()
        if not byte:
            break
        token += byte
    token = token.removesuffix(b" ")
    rest = reader.take(HEADERS[token][2].size, where) if token in HEADERS else b""
    layout, is_vector = decode_header(token, rest, 0, where)
    return _decode(layout, reader.take(layout.data_bytes(), where), is_vector, where)


def _read_integers(reader: ByteReader, where: str) -> np.ndarray:
    (count,) = struct.unpack("<i", reader.take(4, where))
    if count < 0:
        raise VouchError(f"{where}: damaged header: it promises {count} integers")
    counted = np.frombuffer(reader.take(5 * count, where), _COUNTED)
    if (counted["size"] != 4).any():
        raise VouchError(f"{where}: not a vector of integers; of one number a key it has to be said which kind")
    return counted["value"].astype(np.int32)


def _decode(layout: Layout, data: bytes, is_vector: bool, where: str) -> np.ndarray:
    if layout.kind in FLOATS:
        array = np.frombuffer(data, FLOATS[layout.kind])
        return array if is_vector else array.reshape(layout.height, layout.width)
    out = np.empty((layout.height, layout.width), np.float32)
    if out.size:
        read_rows(np.frombuffer(data, np.uint8), layout._replace(start=0), 0, out, where)
    return out


def encode_object(array: np.ndarray, compression: str = "none", text: bool = False) -> list[bytes | memoryview]:
    """Encode one matrix, vector or number as Kaldi writes it.

    Parameters
    ----------
    array : () or (elements,) or (rows, cols) ndarray, of float32, float64 or int32 (not of a matrix)
    compression : str
        Form of matrices, one of `vouch.kaldi.matrices.compression.METHODS`, "auto" or "none".
    text : bool
        Whether to write text instead of binary.

    Returns
    -------
    list of bytes or memoryview
        The bytes after the key and a blank, in pieces; the numbers of a float array are not copied.

    Raises
    ------
    VouchError
        Values are not finite, or too far apart for compression.
    """
    if text:
        return [format_text(array).encode()]
    if array.ndim == 0:
        return [b"\0B" + struct.pack("b", array.itemsize) + array.tobytes()]
    if array.ndim == 2 and compression != "none" and array.size:
        return [b"\0B", compress(to_float32(array), compression)]
    if array.dtype.kind == "f":
        # Empty matrices are not compressed, because not even Kaldi can read that, and get 0 rows and 0 columns.
        return _encode_floats(array if array.size or array.ndim == 1 else array[:0, :0])
    counted = np.empty(len(array), _COUNTED)
    counted["size"], counted["value"] = 4, array
    return [b"\0B\4" + struct.pack("<i", len(array)), counted.tobytes()]


def _encode_floats(array: np.ndarray) -> list[bytes | memoryview]:
    token = ("F" if array.itemsize == 4 else "D") + ("M" if array.ndim == 2 else "V")
    sizes = HEADERS[token.encode()][2].pack(*(number for size in array.shape for number in (4, size)))
    return [b"\0B" + token.encode() + b" " + sizes, np.ascontiguousarray(array, f"<f{array.itemsize}").data]
