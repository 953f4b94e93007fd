"""Durations of audio files from their headers."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

import soundfile

from threads import in_threads
from vouch.audio import FFMPEG_SUFFIXES, read_audio
from vouch.errors import VouchError

# libsndfile keeps the reason of a failed opening in one place for all threads.
_OPENING = threading.Lock()
PROBE = ["ffprobe", "-v", "error", "-select_streams", "a:0", "-show_entries", "stream=codec_name:format=duration"]


def read_durations(paths: Sequence[str], threads: int) -> tuple[dict[str, float | None], dict[str, str]]:
    """Read the headers of many files at once.

    Returns
    -------
    durations : file to seconds; None where the header does not know, or ffprobe is needed and missing
    failed : reason for each file that is not readable as audio
    """
    durations: dict[str, float | None] = {}
    failed: dict[str, str] = {}
    for path, result in in_threads(_try_duration, paths, threads, "headers"):
        if isinstance(result, VouchError):
            failed[path] = str(result)
        else:
            durations[path] = result
    return durations, failed


def read_duration(path: str) -> float | None:
    """Return the seconds of one file; None where they are not known. `VouchError` gives the reason without the path."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise VouchError(error.strerror) from None
    if not stat.S_ISREG(status.st_mode):
        raise VouchError("not a regular file")
    if not status.st_size:
        raise VouchError("0 bytes")
    if Path(path).suffix.lower() in FFMPEG_SUFFIXES:
        return _probe(path)
    try:
        with _OPENING, soundfile.SoundFile(path) as file:
            frames, rate = file.frames, file.samplerate
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise VouchError(f"not readable as audio ({_reason(error)})") from None
    if not frames:
        return _decoded_duration(path, rate)
    # A count at the top of the range means that the header did not know it.
    return frames / rate if frames < 2**62 else None


def _decoded_duration(path: str, rate: int) -> float:
    """Decode a file whose header says that it is empty: programs that write to a pipe leave a 0 there."""
    try:
        return len(read_audio(path, rate).samples) / rate
    except VouchError as error:
        raise VouchError(str(error).removeprefix(f"{path}: ")) from None


def _try_duration(path: str) -> float | VouchError | None:
    try:
        return read_duration(path)
    except VouchError as error:
        return error


def _reason(error: Exception) -> str:
    """The library's own words, without the path that it puts before them."""
    return str(getattr(error, "error_string", error)).strip().rstrip(".")


def _probe(path: str) -> float | None:
    if shutil.which("ffprobe") is None:
        return None
    done = subprocess.run(
        [*PROBE, "-of", "json", f"file:{path}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise VouchError(f"not readable as audio ({last[0]})")
    found = json.loads(done.stdout)
    if not found.get("streams"):
        raise VouchError("no audio in it")
    seconds = found.get("format", {}).get("duration")
    return float(seconds) if seconds is not None else None
