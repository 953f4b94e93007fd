"""Reads and writes Kaldi's files of a backend: PLDA models, and single matrices (LDA) and vectors (means)."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from vouch.base.errors import VouchError
from vouch.base.files import atomic_write
from vouch.kaldi.matrices.layout import FLOATS, decode_header
from vouch.kaldi.matrices.objects import ByteReader, encode_object
from vouch.kaldi.matrices.reading import read_entry
from vouch.kaldi.matrices.textform import format_text, parse_text
from vouch.scoring.plda import Plda

_OPEN, _CLOSE = b"<Plda>", b"</Plda>"
# Parts of a model, in file order.
_PARTS = ("vector", "matrix", "vector")


def read_plda(path: str | Path) -> Plda:
    """Read a PLDA model, binary or text, as Kaldi's ivector-compute-plda writes it.

    Raises
    ------
    VouchError
        The file is missing, damaged, or not a PLDA model.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise VouchError(f"{path}: {error.strerror}") from None
    start = data[2:] if data[:2] == b"\0B" else data
    if not start.lstrip().startswith(_OPEN):
        raise VouchError(f"{path}: not a PLDA model: it does not begin with <Plda>")
    parts, rest = _read_binary(data, str(path)) if data[:2] == b"\0B" else _read_text(data, str(path))
    if not rest.strip().startswith(_CLOSE):
        raise VouchError(f"{path}: the PLDA model is damaged: </Plda> is missing")
    mean, transform, psi = (part.astype(np.float64) for part in parts)
    dim = mean.size
    if mean.shape != (dim,) or transform.shape != (dim, dim) or psi.shape != (dim,):
        raise VouchError(f"{path}: the PLDA model is damaged: {mean.shape}, {transform.shape} and {psi.shape} differ")
    if not all(np.isfinite(part).all() for part in (mean, transform, psi)) or (psi < 0).any():
        raise VouchError(f"{path}: the PLDA model is damaged: values that are not finite, or negative variances")
    return Plda(mean, transform, psi)


def _read_binary(data: bytes, where: str) -> tuple[list[np.ndarray], bytes]:
    """Return the three parts, and the bytes after them."""
    position = data.index(_OPEN) + len(_OPEN) + 1
    parts = []
    for _ in _PARTS:
        token, _, rest = data[position : position + 32].partition(b" ")
        layout, is_vector = decode_header(token, rest, position + len(token) + 1, where)
        position = layout.start + layout.data_bytes()
        if layout.kind not in FLOATS or position > len(data):
            raise VouchError(f"{where}: the PLDA model is truncated or damaged")
        array = np.frombuffer(data[layout.start : position], FLOATS[layout.kind])
        parts.append(array if is_vector else array.reshape(layout.height, layout.width))
    return parts, data[position:]


def _read_text(data: bytes, where: str) -> tuple[list[np.ndarray], bytes]:
    """Return the three parts, and the text after them."""
    lines = ByteReader(io.BytesIO(data.lstrip()[len(_OPEN) :])).lines()
    parts = [parse_text(lines, holds, where) for holds in _PARTS]
    return parts, b"".join(lines)


def write_plda(path: str | Path, plda: Plda, text: bool = False) -> None:
    """Write a PLDA model for Kaldi's programs, whole or not at all, in binary or text form."""
    with atomic_write(path, "wb") as file:
        file.write((b"" if text else b"\0B") + _OPEN + b" ")
        for part in plda:
            array = np.ascontiguousarray(part, "<f8")
            file.write(format_text(array).encode() if text else _bare(array))
        file.write(_CLOSE + b" ")


def _bare(array: np.ndarray) -> bytes:
    """Return the encoded array as part of a larger object, without the mark of a binary file."""
    return b"".join(encode_object(array)).removeprefix(b"\0B")


def read_mean(path: str | Path) -> np.ndarray:
    """Read a single vector such as Kaldi's mean.vec: (dim,) float64 ndarray; `VouchError` if it is not finite."""
    return _finite(read_entry(str(path), "vector"), path)


def read_transform(path: str | Path) -> np.ndarray:
    """Read a single matrix such as Kaldi's transform.mat: (rows, columns) float64; `VouchError` if it is not finite."""
    return _finite(read_entry(str(path), "matrix"), path)


def _finite(array: np.ndarray, path: str | Path) -> np.ndarray:
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        place = ", ".join(str(number + 1) for number in bad[0])
        raise VouchError(f"{path}: {len(bad)} values are NaN or infinite, the first is number {place}")
    return array.astype(np.float64)


def write_single(path: str | Path, array: np.ndarray, text: bool = False) -> None:
    """Write one vector (as float64) or matrix (as float32) to a file of its own, as Kaldi's programs do."""
    form = "<f8" if array.ndim == 1 else "<f4"
    with atomic_write(path, "wb") as file:
        file.writelines(encode_object(np.ascontiguousarray(array, form), text=text))
