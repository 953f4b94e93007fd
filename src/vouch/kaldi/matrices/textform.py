"""Formats and parses the text form of Kaldi's matrices, vectors and numbers, as `copy-feats ark:x ark,t:-` has it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from vouch.base.errors import VouchError
from vouch.kaldi.matrices.layout import to_float32

# A number as C++ reads it; Python would also accept 1_000 and digits of other scripts.
_NUMBER = re.compile(rb"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|inf|infinity|nan)", re.IGNORECASE)
_INTEGER = re.compile(rb"[+-]?\d+")
_INT32 = np.iinfo(np.int32)


def format_text(array: np.ndarray) -> str:
    """Return the text of a number, vector or matrix that follows the key and a blank, with Kaldi's seven digits.

    Parameters
    ----------
    array : ndarray
        () or (elements,) of floats or integers, or (rows, cols) of floats.
    """
    if array.dtype.kind == "i":
        return "".join(f"{number} " for number in array.ravel().tolist()) + "\n"
    if array.ndim == 0:
        return f"{array.item():.7g} \n"
    if not array.size:
        return " [ ]\n"
    line = "%.7g " * array.shape[-1]
    if array.ndim == 1:
        return f" [ {line % tuple(array.tolist())}]\n"
    return " [" + "".join(f"\n  {line % tuple(row)}" for row in array.tolist()) + "]\n"


def parse_text(lines: Iterator[bytes], holds: str, where: str) -> np.ndarray:
    """Parse the text of one entry.

    Parameters
    ----------
    lines : iterator of bytes
        Lines of the archive, starting after the key; only those of the entry are consumed.
    holds : str
        Expected kind, see `vouch.kaldi.matrices.objects.HOLDS`.

    Returns
    -------
    float32 or int32 ndarray

    Raises
    ------
    VouchError
        A bracket or number is wrong or missing, or rows differ in length; the message names the entry as `where`.
    """
    text = next(lines, b"").strip()
    if text.startswith(b"RIFF"):
        raise VouchError(f"{where}: a recording, not a matrix; it belongs into wav.scp")
    if not text.startswith(b"["):
        return _parse_bare(text, holds, where)
    rows = [text[1:]]
    while b"]" not in rows[-1]:
        line = next(lines, None)
        if line is None:
            raise VouchError(f"{where}: the archive is truncated, it ends before ']'")
        rows.append(line)
    rows[-1], _, rest = rows[-1].partition(b"]")
    if rest.strip():
        raise VouchError(f"{where}: {_shown(rest)} after ']'")
    is_vector = len(rows) == 1 and b";" not in rows[0]
    if holds == "vector" and not is_vector:
        raise VouchError(f"{where}: a matrix, where vectors are expected")
    numbers = [_parse_numbers(row, where) for line in rows for row in line.split(b";") if row.strip()]
    if len({len(row) for row in numbers}) > 1:
        raise VouchError(f"{where}: rows of different length, {len(numbers[0])} and others")
    # An empty vector and an empty matrix look alike; a matrix is assumed, as in archives of features.
    if is_vector and (holds == "vector" or (holds == "any" and numbers)):
        return to_float32(numbers[0] if numbers else [])
    return to_float32(numbers) if numbers else np.empty((0, 0), np.float32)


def _parse_bare(text: bytes, holds: str, where: str) -> np.ndarray:
    """Parse integers or a single number without brackets."""
    words = text.split()
    if holds == "float":
        numbers = _parse_numbers(text, where)
        if len(numbers) != 1:
            raise VouchError(f"{where}: {len(numbers)} numbers, where one is expected")
        return to_float32(numbers[0])
    if holds in ("matrix", "vector") or not all(_INTEGER.fullmatch(word) for word in words):
        raise VouchError(f"{where}: {_shown(text)} begins no matrix or vector; wrong offset or damaged file")
    if holds == "int" and len(words) != 1:
        raise VouchError(f"{where}: {len(words)} numbers, where one is expected")
    integers = [int(word) if len(word) < 12 else _INT32.max + 1 for word in words]
    if not all(_INT32.min <= number <= _INT32.max for number in integers):
        raise VouchError(f"{where}: a number is too large for 32 bits")
    return np.array(integers[0] if holds == "int" else integers, np.int32)


def _parse_numbers(row: bytes, where: str) -> list[float]:
    words = row.split()
    for word in words:
        if not _NUMBER.fullmatch(word):
            raise VouchError(f"{where}: {_shown(word)} is not a number")
    return [float(word) for word in words]


def _shown(text: bytes) -> str:
    return repr(text.strip()[:24])[1:]
