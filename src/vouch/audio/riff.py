"""Locates the samples in RIFF files (wav, also RIFX, RF64 and BW64), and reads 16-bit PCM directly.

16-bit PCM is common, and speed matters there. RF64 and BW64 (EBU Tech 3306) have 64-bit sizes in a chunk `ds64`.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from vouch.audio.views import Source
from vouch.base.errors import VouchError

ORDERS = {b"RIFF": "<", b"RIFX": ">", b"RF64": "<", b"BW64": "<"}
# Programs writing to a pipe do not know the size in advance. They write 0 (GStreamer, Python), 0xFFFFFFFF or one header
# less (ffmpeg, lame), or about 2 GiB (arecord, opusdec; sox writes 0x7FFFF000 rounded down to whole samples or blocks).
# A size within this many bytes around 2 GiB or below 4 GiB is ignored if the file is shorter.
_AROUND = 1 << 17


class Samples(NamedTuple):
    """Position and form of the samples in a file.

    Attributes
    ----------
    position : int
        Position of the first byte.
    size : int
        Number of bytes of samples that are in the file.
    form : tuple of int or None
        The six numbers of the chunk `fmt `: encoding, channels, Hz, bytes per second, bytes per block, bits.
    order : str
        Byte order, "<" or ">".
    is_known : bool
        Whether the header declares the size.
    """

    position: int
    size: int
    form: tuple[int, ...] | None
    order: str
    is_known: bool

    @property
    def is_pcm16(self) -> bool:
        """Whether the samples are 16-bit integers in little-endian order."""
        form = self.form
        return self.order == "<" and form is not None and (form[0], form[5]) == (1, 16) and form[1] > 0

    @property
    def channels(self) -> int:
        """Number of interleaved channels."""
        return self.form[1] if self.form else 0

    @property
    def rate(self) -> int:
        """Sampling rate in Hz."""
        return self.form[2] if self.form else 0

    @property
    def frames(self) -> int:
        """Number of samples of each channel; only for 16-bit PCM."""
        return self.size // (2 * self.channels)

    def read_pcm16(self, file: Source, first: int, count: int) -> np.ndarray:
        """Read `count` samples of each channel: (count,) or (count, channels) float32 in [-1, 1)."""
        file.seek(self.position + 2 * self.channels * first)
        samples = np.frombuffer(file.read(2 * self.channels * count), "<i2") * np.float32(1 / 32768)
        return samples if self.channels == 1 else samples.reshape(-1, self.channels)


def find_samples(file: Source, length: int, where: str) -> Samples | None:
    """Find the samples in a file of `length` bytes; None if it is not RIFF.

    Raises
    ------
    VouchError
        The file ends earlier than its header says; the message names it as `where`.
    """
    file.seek(0)
    head = file.read(12)
    order = ORDERS.get(head[:4])
    if order is None or head[8:] != b"WAVE":
        return None
    position, form, long_size = 12, None, None
    while position + 8 <= length:
        file.seek(position)
        chunk, size = struct.unpack(f"{order}4sI", file.read(8))
        position += 8
        if chunk == b"fmt " and position + 16 <= length:
            form = struct.unpack(f"{order}HHIIHH", file.read(16))
        elif chunk == b"ds64" and position + 16 <= length:
            long_size = struct.unpack("<QQ", file.read(16))[1]
        elif chunk == b"data":
            break
        position += size + size % 2
    else:
        raise VouchError(f"{where}: truncated wav, it ends before its samples begin")
    available = length - position
    if long_size is not None and size == 0xFFFFFFFF:
        size, is_known = long_size, 0 < long_size < 1 << 63
    else:
        # A size of 0 is true, not a placeholder, if other chunks follow up to the end of the file.
        is_empty = size == 0 and _is_chunks(file, position, length, order)
        is_known = is_empty or 0 < size <= available or not (size == 0 or _is_made_up(size))
    if not is_known:
        size = available
    elif size > available:
        # This is checked for all encodings, because libsndfile believes the length of the file, not the header.
        raise VouchError(
            f"{where}: truncated wav, its header promises {size} bytes of samples and it holds {available}"
        )
    return Samples(position, size, form, order, is_known)


def _is_chunks(file: Source, position: int, length: int, order: str) -> bool:
    while position + 8 <= length:
        file.seek(position)
        name, size = struct.unpack(f"{order}4sI", file.read(8))
        if not name.isascii() or not name.decode().isprintable():
            return False
        position += 8 + size + size % 2
    return position == length


def _is_made_up(size: int) -> bool:
    """Return whether a size is the placeholder of a program that did not know the size yet."""
    return abs(size - (1 << 31)) <= _AROUND or size >= (1 << 32) - _AROUND
