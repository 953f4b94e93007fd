"""Writes waveforms into archives, as Kaldi's wav-copy does: each as a whole wav file behind its key."""

from __future__ import annotations

import io
import wave
from typing import IO

import numpy as np

from vouch.audio.pcm16 import to_pcm16
from vouch.base.errors import VouchError


class WavWriter:
    """Writes mono waveforms, as 16-bit wav files, into one archive.

    Parameters
    ----------
    file : IO
        The archive, open for writing.
    name : str
        Path of the archive in tables.
    sample_rate : int
        In Hz.

    Attributes
    ----------
    files : list of str
        List with the archive's name as the only element.
    """

    def __init__(self, file: IO[bytes], name: str, sample_rate: int) -> None:
        self._file, self._name, self._rate = file, name, sample_rate
        self.files = [name]

    def write(self, key: str, samples: np.ndarray) -> str:
        """Append samples, (samples,) float32 in [-1, 1], and return `archive:offset`.

        Raises
        ------
        VouchError
            There are none, or some are NaN or infinite.
        """
        if not len(samples) or not np.isfinite(samples).all():
            raise VouchError(f"'{key}': {'NaN or infinite' if len(samples) else 'no'} samples are not written")
        content = io.BytesIO()
        with wave.open(content, "wb") as header:
            header.setnchannels(1)
            header.setsampwidth(2)
            header.setframerate(self._rate)
            header.writeframes(to_pcm16(samples).astype("<i2").tobytes())
        head = f"{key} ".encode()
        position = self._file.tell() + len(head)
        self._file.writelines([head, content.getbuffer()])
        return f"{self._name}:{position}"
