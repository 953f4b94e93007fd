"""16-bit PCM in RIFF (wav) files, found and read without a library: the case that matters for speed."""

from __future__ import annotations

import struct
from typing import BinaryIO, NamedTuple

import numpy as np

from vouch.errors import VouchError

# Sizes that programs write into the header of a wav whose length they do not know yet (sox, ffmpeg, Kaldi).
UNKNOWN_SIZES = {0, 0x7FFFF000, 0xFFFFFFFF}


class Pcm16(NamedTuple):
    """Where the 16-bit samples of a file are.

    Attributes
    ----------
    position : their first byte
    frames : samples of each channel
    channels : which alternate
    rate : Hz
    """

    position: int
    frames: int
    channels: int
    rate: int

    def read(self, file: BinaryIO, first: int, count: int) -> np.ndarray:
        """Read `count` samples of each channel: (count,) or (count, channels) float32 in [-1, 1)."""
        file.seek(self.position + 2 * self.channels * first)
        samples = np.frombuffer(file.read(2 * self.channels * count), "<i2") * np.float32(1 / 32768)
        return samples if self.channels == 1 else samples.reshape(-1, self.channels)


def find_pcm16(file: BinaryIO, length: int, where: str) -> Pcm16 | None:
    """Find the samples in a file of `length` bytes; None when it is not RIFF with 16-bit PCM.

    Raises
    ------
    VouchError : a RIFF file, of whatever encoding, that ends before its header says; `where` names it
    """
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return None
    position, form = 12, None
    while position + 8 <= length:
        file.seek(position)
        chunk, size = struct.unpack("<4sI", file.read(8))
        position += 8
        if chunk == b"fmt " and position + 16 <= length:
            form = struct.unpack("<HHIIHH", file.read(16))
        elif chunk == b"data":
            break
        position += size + size % 2
    else:
        raise VouchError(f"{where}: truncated wav, it ends before its samples begin")
    available = length - position
    if size in UNKNOWN_SIZES:
        size = available
    elif size > available:
        # Checked here for all encodings: libsndfile believes the length of the file rather than the header.
        raise VouchError(
            f"{where}: truncated wav, its header promises {size} bytes of samples and it holds {available}"
        )
    if form is None or form[0] != 1 or form[5] != 16 or form[1] < 1:
        return None
    return Pcm16(position, size // (2 * form[1]), form[1], form[2])
