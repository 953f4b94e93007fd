"""Audio files and pipes, read as mono float32 at one sampling rate."""

from __future__ import annotations

import io
import math
import shlex
import shutil
import struct
import subprocess
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile
from scipy.signal import resample_poly

from vouch.errors import VouchError

# What libsndfile does not open and ffmpeg does.
FFMPEG_SUFFIXES = {".m4a", ".mp4", ".aac", ".wma", ".webm", ".opus"}
AUDIO_SUFFIXES = {".wav", ".flac", ".ogg", ".mp3", *FFMPEG_SUFFIXES}
# Sizes that programs write into the header of a wav whose length they do not know yet (sox, ffmpeg, Kaldi).
_UNKNOWN_SIZES = {0, 0x7FFFF000, 0xFFFFFFFF}
# Sampling rates in Hz that recordings have; resampling from any other number could take all memory.
_RATES = range(1000, 1_000_000)


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
    if rxfilename.rstrip().endswith("|"):
        return _finish(*_decode(_run_pipe(rxfilename.rstrip()[:-1]), rxfilename), rxfilename, sample_rate)
    if Path(rxfilename).suffix.lower() in FFMPEG_SUFFIXES:
        return _finish(*_decode(_run_ffmpeg(rxfilename), rxfilename), rxfilename, sample_rate)
    name, colon, offset = rxfilename.rpartition(":")
    path, start = (name, int(offset)) if colon and offset.isdigit() else (rxfilename, 0)
    try:
        with open(path, "rb") as file:
            file.seek(start)
            content = _read_member(file) if start else file.read()
    except OSError as error:
        raise VouchError(f"{rxfilename}: {error.strerror}") from None
    return _finish(*_decode(content, rxfilename), rxfilename, sample_rate)


def _read_member(file: BinaryIO) -> bytes:
    """Read the wav that begins here; an archive has others after it."""
    head = file.read(8)
    size = int.from_bytes(head[4:], "little")
    return head + file.read(-1 if head[:4] != b"RIFF" or size in _UNKNOWN_SIZES else size)


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
    try:
        with soundfile.SoundFile(path) as file:
            needed = -(-samples * file.samplerate // sample_rate)
            file.seek(int(max(0, file.frames - needed) * position))
            piece = file.read(needed, dtype="float32")
            rate = file.samplerate
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise VouchError(f"{path}: not readable as audio ({str(error).strip().rstrip('.')})") from None
    return np.resize(_finish(piece, rate, path, sample_rate).samples, samples)


def _decode(content: bytes, where: str) -> tuple[np.ndarray, int]:
    """Return (samples,) or (samples, channels) float32 and the sampling rate in Hz."""
    if not content:
        raise VouchError(f"{where}: no audio, 0 bytes")
    pcm = _decode_pcm16(content, where)
    if pcm is not None:
        return pcm
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            samples, rate, promised = file.read(dtype="float32"), file.samplerate, file.frames
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise VouchError(f"{where}: not readable as audio ({str(error).strip().rstrip('.')})") from None
    # A count at the top of the range means that the header did not know it.
    if len(samples) < promised < 2**62:
        raise VouchError(f"{where}: truncated, it promises {promised} samples and holds {len(samples)}")
    return samples, rate


def _decode_pcm16(content: bytes, where: str) -> tuple[np.ndarray, int] | None:
    """Decode 16-bit PCM RIFF without a library, the case that matters for speed; None for anything else."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        return None
    position, form = 12, None
    while position + 8 <= len(content):
        chunk, size = struct.unpack_from("<4sI", content, position)
        position += 8
        if chunk == b"fmt " and position + 16 <= len(content):
            form = struct.unpack_from("<HHIIHH", content, position)
        elif chunk == b"data":
            break
        position += size + size % 2
    else:
        raise VouchError(f"{where}: truncated wav, it ends before its samples begin")
    available = len(content) - position
    if size in _UNKNOWN_SIZES:
        size = available
    elif size > available:
        # Checked here for all encodings: libsndfile believes the length of the file rather than the header.
        raise VouchError(
            f"{where}: truncated wav, its header promises {size} bytes of samples and it holds {available}"
        )
    if form is None or form[0] != 1 or form[5] != 16 or form[1] < 1:
        return None
    channels = form[1]
    count = size // (2 * channels) * channels
    samples = np.frombuffer(content, "<i2", count, position) * np.float32(1 / 32768)
    return (samples if channels == 1 else samples.reshape(-1, channels)), form[2]


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


def _run_pipe(command: str) -> bytes:
    """Run a `wav.scp` command as Kaldi does, through the shell."""
    done = subprocess.run(command, shell=True, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise VouchError(f"'{command.strip()} |' failed with status {done.returncode}: {last[0]}")
    return done.stdout


def _run_ffmpeg(path: str) -> bytes:
    if shutil.which("ffmpeg") is None:
        raise VouchError(f"{path}: reading {Path(path).suffix} needs ffmpeg, which is not installed")
    if not Path(path).is_file():
        raise VouchError(f"{path}: no such file")
    return _run_pipe(f"ffmpeg -v error -nostdin -i {shlex.quote('file:' + path)} -f wav -c:a pcm_s16le -")
