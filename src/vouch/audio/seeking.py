"""Excerpts of m4a files, for which only the packets around them are decoded; through PyAV, where it is installed."""

from __future__ import annotations

import contextlib
import functools
import os
from fractions import Fraction
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from vouch.audio.pcm16 import to_pcm16
from vouch.audio.reading import mix_channels
from vouch.base.channels import MEAN
from vouch.base.errors import VouchError

if TYPE_CHECKING:
    import av

# Endings of MPEG-4 files, which have a table of all packets and their times.
MPEG4_SUFFIXES = (".m4a", ".mp4")
# What decodes the same from the middle: each half of an AAC frame overlaps the frame before it, and no frame further
# back; frames of ALAC stand alone. Band extension (HE-AAC), prediction and the other codecs have a longer memory.
_CODINGS = {("aac", "LC"), ("alac", None)}
_FRAME = 1024


def read_seeking(path: str, first: int, count: int, sample_rate: int, channel: int | str = MEAN) -> np.ndarray | None:
    """Read samples of an MPEG-4 file without decoding the rest; several threads may call this function at once.

    The samples are those of the whole decoding, to the bit, unless the encoder replaced noise by its loudness
    (perceptual noise substitution of AAC, ISO/IEC 14496-3, 4.6.13). Then the decoder's random numbers in these bands
    are other ones, but the same at each reading of the same excerpt.

    Parameters
    ----------
    path : str
        The file.
    first, count : int
        First sample, and number of samples.
    sample_rate : int
        Sampling rate in Hz that the recording must have.
    channel : int or str
        "mean" of all channels, or the number of one, counted from 0.

    Returns
    -------
    (count,) int16, or None
        None where the whole file has to be decoded: PyAV is not installed, the file is in another coding or at another
        rate, its times have gaps, it is damaged, or it ends earlier.
    """
    pyav = _import_pyav()
    if pyav is None or not os.path.isfile(path):
        return None
    # "file:" keeps a name with a colon from being taken for a URL.
    with contextlib.suppress(pyav.FFmpegError, VouchError), pyav.open(f"file:{path}") as container:
        # Without an edit list, iTunes writes into its own tag which samples at the beginning are to be dropped.
        if len(container.streams.audio) != 1 or "iTunSMPB" in container.metadata:
            return None
        stream = container.streams.audio[0]
        coding = stream.codec_context
        is_known = (coding.name, coding.profile) in _CODINGS and coding.format.name in ("fltp", "s16p")
        has_times = stream.time_base == Fraction(1, sample_rate) and stream.start_time == 0
        if not (is_known and has_times and coding.sample_rate == sample_rate):
            return None
        if stream.duration is None or first + count > stream.duration:
            return None
        samples = _decode(container, stream, first, count)
        if samples is None:
            return None
        # The whole is read through ffmpeg with 16 bits a channel.
        mixed = mix_channels(to_pcm16(samples.T) / np.float32(32768), channel, path)
        return to_pcm16(mixed)
    return None


@functools.cache
def _import_pyav() -> ModuleType | None:
    """Return the module, which takes a tenth of a second to import; None if it is not installed."""
    try:
        import av
    except ImportError:
        return None
    return av


def _decode(
    container: av.container.InputContainer, stream: av.AudioStream, first: int, count: int
) -> np.ndarray | None:
    """Return (channels, count) float32; None if the file ends earlier, or its frames do not follow each other."""
    if first > _FRAME:
        # The frame before the first one that is wanted is decoded for its half in the overlap.
        container.seek(first - _FRAME, stream=stream)
    pieces: list[np.ndarray] = []
    begin = end = 0
    for frame in container.decode(stream):
        if frame.pts is None or (pieces and frame.pts != end):
            return None
        if not pieces:
            begin = end = frame.pts
            if begin > max(0, first - _FRAME):
                return None
        block = frame.to_ndarray()
        pieces.append(block if block.dtype == np.float32 else block / np.float32(32768))
        end += frame.samples
        if end >= first + count:
            return np.concatenate(pieces, axis=1)[:, first - begin : first - begin + count]
    return None
