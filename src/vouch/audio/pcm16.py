"""16-bit samples: made from floating-point ones, or read without conversion from 16-bit mono files, wav and FLAC.

What has been found out about a file once, by all checks of `vouch.audio.decoder`, holds as long as the file stays.
"""

from __future__ import annotations

import os
import stat
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile

from vouch.audio.decoder import open_sound
from vouch.audio.riff import find_samples
from vouch.audio.views import Source, View
from vouch.base.errors import VouchError
from vouch.base.rxfilename import parse_place, split_offset

OTHER, WAV, FLAC = 1, 2, 3


class Place(NamedTuple):
    """Where the samples of a recording lie in a file.

    Attributes
    ----------
    kind : int
        `WAV`, `FLAC`, or `OTHER` for recordings that have to be read in another way; all are larger than 0.
    position : int
        Position of the first byte in a wav file.
    frames : int
        Number of samples.
    size, modified : int
        Bytes of the file, and its time of modification in ns, by which a file that has changed is recognized.
    """

    kind: int
    position: int
    frames: int
    size: int
    modified: int


_ELSEWHERE = Place(OTHER, 0, 0, 0, 0)


def to_pcm16(samples: np.ndarray) -> np.ndarray:
    """Round samples in [-1, 1] to 16-bit integers of the same shape, clipped at the ends of the range."""
    return np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)


def find_place(rxfilename: str, sample_rate: int) -> Place:
    """Find the samples of a 16-bit mono file, wav (also in an archive) or FLAC.

    Parameters
    ----------
    rxfilename : str
        Entry of a `wav.scp`.
    sample_rate : int
        Sampling rate in Hz that the recording must have.

    Returns
    -------
    Place
        Of the kind `OTHER` for everything that has to be read in another way or cannot be read: other encodings and
        sampling rates, several channels, commands, damaged and missing files.
    """
    try:
        source = parse_place(rxfilename)
        # A named pipe would be emptied by looking into it.
        if not source.is_pipe and stat.S_ISREG(os.stat(source.name).st_mode):
            with open(source.name, "rb") as file:
                return _find_place(file, source.offset, rxfilename, sample_rate)
    except (OSError, VouchError):
        pass  # reading in the other way tells what is wrong
    return _ELSEWHERE


def _find_place(file: BinaryIO, offset: int, where: str, sample_rate: int) -> Place:
    status = os.fstat(file.fileno())
    view: Source = View(file, offset, status.st_size) if offset else file
    samples = find_samples(view, status.st_size - offset, where) if offset < status.st_size else None
    if samples is not None:
        if samples.is_pcm16 and samples.channels == 1 and samples.rate == sample_rate:
            return Place(WAV, offset + samples.position, samples.frames, status.st_size, status.st_mtime_ns)
        return _ELSEWHERE
    file.seek(0)
    if offset or file.read(4) != b"fLaC":
        return _ELSEWHERE
    with open_sound(file, where) as sound:
        form = (sound.format, sound.subtype, sound.channels, sound.samplerate)
        # A file that was written to a pipe does not say how long it is.
        if form != ("FLAC", "PCM_16", 1, sample_rate) or not 0 < sound.frames < 1 << 62:
            return _ELSEWHERE
        return Place(FLAC, 0, sound.frames, status.st_size, status.st_mtime_ns)


def read_place(rxfilename: str, place: Place, first: int, out: np.ndarray) -> bool:
    """Fill `out`, (samples,) contiguous int16, with the samples from `first` on of a recording that `find_place` found.

    Several threads may call this function at once.

    Returns
    -------
    bool
        Whether all of `out` was filled; not if the recording ends earlier, or if the file has changed or is gone.
    """
    if first + len(out) > place.frames:
        return False
    placed = split_offset(rxfilename)
    try:
        descriptor = os.open(placed[0] if placed else rxfilename, os.O_RDONLY)
    except OSError:
        return False
    try:
        status = os.fstat(descriptor)
        if status.st_size != place.size or status.st_mtime_ns != place.modified:
            return False
        if place.kind == WAV:
            return os.preadv(descriptor, [out.data], place.position + 2 * first) == out.nbytes
        with open(descriptor, "rb", buffering=0, closefd=False) as file, open_sound(file, rxfilename) as sound:
            sound.seek(first)
            return len(sound.read(out=out)) == len(out)
    except (OSError, VouchError, soundfile.LibsndfileError):
        return False
    finally:
        os.close(descriptor)
