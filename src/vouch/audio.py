"""Audio files and pipes, read as mono float32 at one sampling rate."""

from __future__ import annotations

import contextlib
import io
import math
import os
import shlex
import shutil
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile
from scipy.signal import resample_poly

from vouch.errors import VouchError
from vouch.pipes import read_pipe
from vouch.riff import UNKNOWN_SIZES, find_pcm16

# What libsndfile does not open and ffmpeg does.
FFMPEG_SUFFIXES = {".m4a", ".mp4", ".aac", ".wma", ".webm", ".opus"}
AUDIO_SUFFIXES = {".wav", ".flac", ".ogg", ".mp3", *FFMPEG_SUFFIXES}
# Sampling rates in Hz that recordings have; resampling from any other number could take all memory.
_RATES = range(1000, 1_000_000)
# Encodings of which a decoder that is sent to the middle gives the samples that one from the beginning on gives.
_SEEKABLE = {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}
# libsndfile's number of samples is this high when the header does not know it.
_UNKNOWN_COUNT = 2**62
# libsndfile keeps the reason of a failed opening in one place for all threads.
_OPENING = threading.Lock()


class Audio(NamedTuple):
    """One recording.

    Attributes
    ----------
    samples : (samples,) float32 ndarray in [-1, 1], mono, at the rate that was asked for
    source_rate : its own sampling rate in Hz
    source_channels : its own number of channels, averaged into `samples`
    """

    samples: np.ndarray
    source_rate: int
    source_channels: int


def read_audio(rxfilename: str, sample_rate: int = 16000) -> Audio:
    """Read a recording as `wav.scp` names it.

    Parameters
    ----------
    rxfilename
        a file (wav, flac, ogg, mp3; m4a and similar through ffmpeg), `archive:offset` of a wav inside an archive, or
        a shell command that ends in `|` and writes a wav to its standard output
    sample_rate : in Hz; other rates are resampled

    Raises
    ------
    VouchError
        the file is missing, unreadable, truncated, or without samples; a sample is NaN or infinite; the command
        fails; ffmpeg is needed and missing
    """
    return _finish(*read_channels(rxfilename), rxfilename, sample_rate)


def read_channels(rxfilename: str) -> tuple[np.ndarray, int]:
    """Read a recording as it is: all channels, at its own rate, with NaN and infinite samples if it has such.

    Returns
    -------
    samples : (samples,) or (samples, channels) float32; integers are scaled to [-1, 1)
    rate : Hz, as the header says

    Raises
    ------
    VouchError : the file is missing, unreadable or truncated; the command fails; ffmpeg is needed and missing
    """
    if rxfilename.rstrip().endswith("|"):
        return _decode_bytes(read_pipe(rxfilename.rstrip()[:-1]), rxfilename)
    if Path(rxfilename).suffix.lower() in FFMPEG_SUFFIXES:
        return _decode_bytes(_run_ffmpeg(rxfilename), rxfilename)
    name, colon, offset = rxfilename.rpartition(":")
    path, start = (name, int(offset)) if colon and offset.isdigit() else (rxfilename, 0)
    with _reading(path, rxfilename) as file:
        if start:
            file.seek(start)
            return _decode_bytes(_read_member(file), rxfilename)
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return _decode(file, os.fstat(file.fileno()).st_size, rxfilename)
        # A named pipe: a decoder could not go back in it.
        return _decode_bytes(file.read(), rxfilename)


@contextlib.contextmanager
def _reading(path: str, where: str) -> Iterator[BinaryIO]:
    """Open a file; what goes wrong while it is read is a `VouchError`."""
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise VouchError(f"{where}: {error.strerror}") from None


def _read_member(file: BinaryIO) -> bytes:
    """Read the wav that begins here; an archive has others after it."""
    head = file.read(8)
    size = int.from_bytes(head[4:], "little")
    # A damaged header may promise four gigabytes, which reading would set aside at once.
    left = os.fstat(file.fileno()).st_size - file.tell()
    return head + file.read(-1 if head[:4] != b"RIFF" or size in UNKNOWN_SIZES else max(0, min(size, left)))


def read_span(rxfilename: str, first: int, last: int | None, sample_rate: int = 16000) -> np.ndarray:
    """Read what `read_audio(rxfilename, sample_rate).samples[first:last]` is, sooner where that is possible.

    That is so for files at this rate without lossy compression, of which only these samples are read. Several threads
    may do so at once.

    Returns
    -------
    (samples,) float32 in [-1, 1]; fewer, or none, where the recording ends earlier

    Raises
    ------
    VouchError : see `read_audio`, but of NaN and infinite samples only those in the span are noticed
    """
    span = _seek_span(rxfilename, first, last, sample_rate) if _is_plain_file(rxfilename) else None
    if span is None:
        return read_audio(rxfilename, sample_rate).samples[first:last]
    return _finish(span, sample_rate, rxfilename, sample_rate).samples if len(span) else np.empty(0, np.float32)


def count_samples(rxfilename: str, sample_rate: int = 16000) -> int:
    """Return how many samples `read_audio` gives, from the header where there is one that knows it.

    Several threads may do so at once. `VouchError` as from `read_audio`.
    """
    if _is_plain_file(rxfilename):
        with _reading(rxfilename, rxfilename) as file:
            pcm = find_pcm16(file, os.fstat(file.fileno()).st_size, rxfilename)
            if pcm is None:
                with _open_sound(file, rxfilename) as sound:
                    frames, rate = sound.frames, sound.samplerate
            else:
                frames, rate = pcm.frames, pcm.rate
        if 0 < frames < _UNKNOWN_COUNT and rate in _RATES:
            return -(-frames * sample_rate // rate)
    return len(read_audio(rxfilename, sample_rate).samples)


def _is_plain_file(rxfilename: str) -> bool:
    """Whether this is a file that is one recording from its first byte on and needs no other program."""
    if rxfilename.rstrip().endswith("|") or Path(rxfilename).suffix.lower() in FFMPEG_SUFFIXES:
        return False
    _, colon, offset = rxfilename.rpartition(":")
    if colon and offset.isdigit():
        return False
    try:
        status = os.stat(rxfilename)
    except OSError:
        return False
    # A named pipe can be read only once, and an empty file has no header.
    return stat.S_ISREG(status.st_mode) and status.st_size > 0


def _seek_span(path: str, first: int, last: int | None, sample_rate: int) -> np.ndarray | None:
    """Read a span of a file alone, (samples,) or (samples, channels); None where all has to be read for it."""
    with _reading(path, path) as file:
        pcm = find_pcm16(file, os.fstat(file.fileno()).st_size, path)
        if pcm is not None:
            if pcm.rate != sample_rate:
                return None
            count = max(0, min(pcm.frames, pcm.frames if last is None else last) - first)
            return pcm.read(file, first, count)
        with _open_sound(file, path) as sound:
            if sound.samplerate != sample_rate or sound.subtype not in _SEEKABLE or sound.frames >= _UNKNOWN_COUNT:
                return None
            count = max(0, min(sound.frames, sound.frames if last is None else last) - first)
            try:
                sound.seek(min(first, sound.frames))
                span = sound.read(count, dtype="float32")
            except (soundfile.SoundFileError, RuntimeError) as error:
                raise _unreadable(path, error) from None
    if len(span) < count:
        raise VouchError(f"{path}: truncated, {count - len(span)} samples are missing")
    return span


def _open_sound(file: BinaryIO, where: str) -> soundfile.SoundFile:
    """Give a file to libsndfile from its beginning; what was read of it before does not matter."""
    file.seek(0)
    source: BinaryIO | int = file
    if not isinstance(file, io.BytesIO):
        # By its descriptor that is faster than through Python, and nothing is concluded from the file's name.
        source = file.fileno()
        os.lseek(source, 0, os.SEEK_SET)
    try:
        with _OPENING:
            return soundfile.SoundFile(source, closefd=False)
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise _unreadable(where, error) from None


def _unreadable(where: str, error: Exception) -> VouchError:
    # The library's own words, without the path that it puts before them.
    reason = str(getattr(error, "error_string", error))
    return VouchError(f"{where}: not readable as audio ({reason.strip().rstrip('.')})")


def read_excerpt(path: str, samples: int, sample_rate: int, position: float) -> np.ndarray:
    """Read a piece out of a recording without decoding the rest; a recording that is too short is repeated.

    Parameters
    ----------
    path : an audio file that libsndfile opens
    samples : length of the piece at `sample_rate`
    sample_rate : Hz; other rates are resampled
    position : where it begins, 0 (at the start) to 1 (so that it ends at the end)

    Returns
    -------
    (samples,) float32 in [-1, 1]

    Raises
    ------
    VouchError : the file is unreadable, empty, or holds NaN or infinite samples
    """
    with _reading(path, path) as file, _open_sound(file, path) as sound:
        needed = -(-samples * sound.samplerate // sample_rate)
        try:
            sound.seek(int(max(0, sound.frames - needed) * position))
            piece = sound.read(needed, dtype="float32")
        except (soundfile.SoundFileError, RuntimeError) as error:
            raise _unreadable(path, error) from None
        rate = sound.samplerate
    return np.resize(_finish(piece, rate, path, sample_rate).samples, samples)


def _decode_bytes(content: bytes, where: str) -> tuple[np.ndarray, int]:
    return _decode(io.BytesIO(content), len(content), where)


def _decode(file: BinaryIO, length: int, where: str) -> tuple[np.ndarray, int]:
    """Return (samples,) or (samples, channels) float32 of a file of `length` bytes, and its sampling rate in Hz."""
    if not length:
        raise VouchError(f"{where}: no audio, 0 bytes")
    pcm = find_pcm16(file, length, where)
    if pcm is not None:
        return pcm.read(file, 0, pcm.frames), pcm.rate
    try:
        with _open_sound(file, where) as sound:
            samples, rate, promised = sound.read(dtype="float32"), sound.samplerate, sound.frames
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise _unreadable(where, error) from None
    if len(samples) < promised < _UNKNOWN_COUNT:
        raise VouchError(f"{where}: truncated, it promises {promised} samples and holds {len(samples)}")
    return samples, rate


def _finish(samples: np.ndarray, rate: int, where: str, sample_rate: int) -> Audio:
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    if samples.ndim == 2:
        samples = samples.mean(axis=1, dtype=np.float32)
    if not len(samples):
        raise VouchError(f"{where}: no samples")
    # One pass: a sum is NaN or infinite when any sample is.
    if not math.isfinite(float(np.dot(samples, samples))):
        raise VouchError(f"{where}: NaN or infinite samples")
    if rate not in _RATES:
        raise VouchError(f"{where}: its header says {rate} samples a second; the file is damaged")
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
