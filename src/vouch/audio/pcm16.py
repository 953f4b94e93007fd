"""16-bit samples: made from floating-point ones, or read from 16-bit mono wav files without any conversion."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

import numpy as np

from vouch.audio.riff import find_samples
from vouch.audio.views import Source, View
from vouch.base.errors import VouchError
from vouch.base.rxfilename import parse_place, split_offset


class Place(NamedTuple):
    """Where the samples of a recording lie in a file.

    Attributes
    ----------
    position : int
        Position of the first byte.
    frames : int
        Number of samples.
    size, modified : int
        Bytes of the file, and its time of modification in ns, by which a file that has changed is recognized.
    """

    position: int
    frames: int
    size: int
    modified: int


def to_pcm16(samples: np.ndarray) -> np.ndarray:
    """Round samples in [-1, 1] to 16-bit integers of the same shape, clipped at the ends of the range."""
    return np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)


def find_place(rxfilename: str, sample_rate: int) -> Place | None:
    """Find the samples of a 16-bit mono wav file, or of one in an archive.

    Parameters
    ----------
    rxfilename : str
        Entry of a `wav.scp`.
    sample_rate : int
        Sampling rate in Hz that the recording must have.

    Returns
    -------
    Place or None
        None for everything that has to be read in another way or cannot be read: other encodings and sampling rates,
        several channels, commands, damaged and missing files.
    """
    try:
        source = parse_place(rxfilename)
        if source.is_pipe:
            return None
        # A named pipe would be emptied by looking into it.
        if not stat.S_ISREG(os.stat(source.name).st_mode):
            return None
        with open(source.name, "rb") as file:
            status = os.fstat(file.fileno())
            length = status.st_size - source.offset
            view: Source = View(file, source.offset, status.st_size) if source.offset else file
            samples = find_samples(view, length, rxfilename) if length > 0 else None
    except (OSError, VouchError):
        return None
    if samples is None or not samples.is_pcm16 or samples.channels != 1 or samples.rate != sample_rate:
        return None
    return Place(source.offset + samples.position, samples.frames, status.st_size, status.st_mtime_ns)


def read_place(rxfilename: str, place: Place, first: int, out: np.ndarray) -> bool:
    """Fill `out`, (samples,) contiguous int16, with the samples from `first` on of a recording that `find_place` found.

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
        return os.preadv(descriptor, [out.data], place.position + 2 * first) == out.nbytes
    except OSError:
        return False
    finally:
        os.close(descriptor)
