"""Reads audio files and pipes as mono float32 at one sampling rate."""

from __future__ import annotations

import contextlib
import io
import math
import os
import shlex
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from scipy.signal import resample_poly

from vouch.audio.decoder import Decoder, open_decoder
from vouch.audio.tree import FFMPEG_SUFFIXES
from vouch.base.channels import MEAN
from vouch.base.errors import VouchError, reason
from vouch.base.pipes import MAX_BYTES, MAX_SHOWN, read_pipe
from vouch.base.rxfilename import parse_place

# Sampling rates in Hz that are accepted; resampling from arbitrary numbers could exhaust the memory.
_RATES = range(1000, 1_000_000)


class Audio(NamedTuple):
    """One recording.

    Attributes
    ----------
    samples : (samples,) float32 ndarray in [-1, 1]
        Mono, at the requested sampling rate.
    source_rate : int
        Sampling rate of the recording in Hz.
    source_channels : int
        Number of channels of the recording; `samples` is their mean or one of them.
    """

    samples: np.ndarray
    source_rate: int
    source_channels: int


def read_audio(rxfilename: str, sample_rate: int = 16000, channel: int | str = MEAN) -> Audio:
    """Read a recording that is named as in `wav.scp`.

    Parameters
    ----------
    rxfilename : str
        A file (wav, flac, ogg, opus, mp3, sph, ...; m4a and similar through ffmpeg), `archive:offset` of a recording
        inside an archive, or a shell command that ends in `|` and writes a recording to its standard output.
    sample_rate : int
        Sampling rate in Hz; recordings at other rates are resampled.
    channel : int or str
        "mean" of all channels, or the number of one, counted from 0.

    Raises
    ------
    VouchError
        The file is missing, unreadable, truncated, or without samples; a sample is NaN or infinite; there is no such
        channel; the command fails; ffmpeg is needed and missing.
    """
    return _finish(*read_channels(rxfilename), rxfilename, sample_rate, channel)


def read_channels(rxfilename: str) -> tuple[np.ndarray, int]:
    """Read a recording unchanged: all channels, at its own sampling rate, NaN and infinite samples included.

    Returns
    -------
    samples : (samples,) or (samples, channels) float32
        Integers are scaled to [-1, 1).
    rate : int
        Sampling rate in Hz, from the header.

    Raises
    ------
    VouchError
        The file is missing, unreadable or truncated; the command fails; ffmpeg is needed and missing.
    """
    with _opened(rxfilename) as decoder:
        return decoder.read(), decoder.rate


def read_span(
    rxfilename: str, first: int, last: int | None, sample_rate: int = 16000, channel: int | str = MEAN
) -> np.ndarray:
    """Return `read_audio(rxfilename, sample_rate, channel).samples[first:last]`, without decoding the rest if possible.

    That is possible for files at this rate without lossy compression. Several threads may call this function at once.

    Returns
    -------
    (samples,) float32 in [-1, 1]
        Fewer, or none, where the recording ends earlier.

    Raises
    ------
    VouchError
        As for `read_audio`, except that NaN and infinite samples are noticed in the span only.
    """
    with _opened(rxfilename) as decoder:
        if not decoder.is_seekable or decoder.rate != sample_rate or decoder.frames is None:
            samples = _finish(decoder.read(), decoder.rate, rxfilename, sample_rate, channel).samples
            return samples[first:last]
        first = min(first, decoder.frames)
        count = max(0, min(decoder.frames, decoder.frames if last is None else last) - first)
        if not count:
            return np.empty(0, np.float32)
        return _finish(decoder.read_span(first, count), sample_rate, rxfilename, sample_rate, channel).samples


def read_length(rxfilename: str) -> tuple[int, int]:
    """Return the number of samples of each channel, as `read_channels` gives them, and the sampling rate in Hz.

    The number comes from the header if it is reliable; otherwise the recording is decoded. Several threads may call
    this function at once. `VouchError` as in `read_audio`.
    """
    with _opened(rxfilename) as decoder:
        return _check(decoder.count(), decoder.rate, rxfilename), decoder.rate


def count_samples(rxfilename: str, sample_rate: int = 16000) -> int:
    """Return the number of samples that `read_audio` gives at a sampling rate; see `read_length`."""
    count, rate = read_length(rxfilename)
    return -(-count * sample_rate // rate)


def mix_channels(samples: np.ndarray, channel: int | str, where: str) -> np.ndarray:
    """Reduce several channels to one.

    Parameters
    ----------
    samples : (samples,) or (samples, channels) float32
    channel : int or str
        "mean" of all channels, or the number of one, counted from 0.
    where : str
        The recording's name, for messages.

    Returns
    -------
    (samples,) float32

    Raises
    ------
    VouchError
        There is no such channel.
    """
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    if channel != MEAN and not 0 <= int(channel) < channels:
        raise VouchError(f"{where}: there is no channel {channel}, it has {channels}, counted from 0")
    if samples.ndim == 1:
        return samples
    if channel == MEAN:
        return samples.mean(axis=1, dtype=np.float32)
    return np.ascontiguousarray(samples[:, int(channel)])


def needs_ffmpeg(rxfilename: str) -> bool:
    """Return whether the name of a file has an ending that ffmpeg opens and libsndfile does not."""
    return Path(rxfilename).suffix.lower() in FFMPEG_SUFFIXES


@contextlib.contextmanager
def _opened(rxfilename: str) -> Iterator[Decoder]:
    """Open the file or command of a `wav.scp` entry; errors of the operating system become `VouchError`s."""
    try:
        with contextlib.ExitStack() as stack:
            yield stack.enter_context(open_decoder(*_open_source(rxfilename, stack)))
    except (OSError, MemoryError) as error:
        raise VouchError(f"{rxfilename}: {reason(error)}") from None


def _open_source(rxfilename: str, stack: contextlib.ExitStack) -> tuple[BinaryIO, int, str, int]:
    """Return a file, its length, its name and the byte at which the recording begins."""
    source = parse_place(rxfilename)
    if source.is_pipe or needs_ffmpeg(rxfilename):
        content = read_pipe(source.name) if source.is_pipe else _run_ffmpeg(rxfilename)
        return io.BytesIO(content), len(content), rxfilename, 0
    file = open(source.name, "rb")  # noqa: SIM115 (the caller's stack closes it)
    stack.enter_context(file)
    status = os.fstat(file.fileno())
    if stat.S_ISREG(status.st_mode):
        if source.offset > status.st_size:
            raise VouchError(f"{rxfilename}: nothing there, the file has {status.st_size} bytes; wrong offset")
        return file, status.st_size, rxfilename, source.offset
    # A named pipe: it is read into memory, because a decoder has to seek.
    content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise VouchError(f"{rxfilename}: more than {MAX_SHOWN}, which no recording has")
    return io.BytesIO(content), len(content), rxfilename, source.offset


def _check(count: int, rate: int, where: str) -> int:
    """Return a number of samples after checking that it and the sampling rate are plausible."""
    if not count:
        raise VouchError(f"{where}: no samples")
    if rate not in _RATES:
        raise VouchError(f"{where}: its header says {rate} samples a second; the file is damaged")
    return count


def _finish(samples: np.ndarray, rate: int, where: str, sample_rate: int, channel: int | str) -> Audio:
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    samples = mix_channels(samples, channel, where)
    _check(len(samples), rate, where)
    # Tested in one pass: the sum of squares is NaN or infinite when any sample is.
    if not math.isfinite(float(np.dot(samples, samples))):
        raise VouchError(f"{where}: NaN or infinite samples")
    if rate != sample_rate:
        divisor = math.gcd(rate, sample_rate)
        samples = resample_poly(samples, sample_rate // divisor, rate // divisor).astype(np.float32)
    return Audio(samples, rate, channels)


def _run_ffmpeg(path: str) -> bytes:
    if shutil.which("ffmpeg") is None:
        raise VouchError(f"{path}: reading {Path(path).suffix} needs ffmpeg, which is not installed")
    if not Path(path).is_file():
        raise VouchError(f"{path}: no such file")
    return read_pipe(f"ffmpeg -v error -nostdin -i {shlex.quote('file:' + path)} -f wav -c:a pcm_s16le -")
