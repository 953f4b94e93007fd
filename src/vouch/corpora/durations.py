"""Determines the durations of audio files, from their headers if those are reliable, otherwise by decoding."""

from __future__ import annotations

import json
import math
import os
import shutil
import stat
import subprocess
from collections.abc import Sequence

from vouch.audio.reading import needs_ffmpeg, read_length
from vouch.base.errors import VouchError, one_line, reason
from vouch.base.numbers import plain_float
from vouch.corpora.threads import in_threads

PROBE = ["ffprobe", "-v", "error", "-select_streams", "a:0", "-show_entries", "stream=codec_name:format=duration"]


def read_durations(paths: Sequence[str], threads: int) -> tuple[dict[str, float | None], dict[str, str]]:
    """Determine the durations of many files, several at once.

    Returns
    -------
    durations : dict of str to float or None
        Seconds of each file; None if only ffprobe could tell and it is missing or does not know.
    failed : dict of str to str
        Reason for each file that is not readable as audio.
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
    """Return the seconds of one file; None if unknown. The message of a `VouchError` does not include the path."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise VouchError(reason(error)) from None
    if not stat.S_ISREG(status.st_mode):
        raise VouchError("not a regular file")
    if not status.st_size:
        raise VouchError("0 bytes")
    if needs_ffmpeg(path):
        return _probe(path)
    try:
        samples, rate = read_length(path)
    except VouchError as error:
        raise VouchError(str(error).removeprefix(f"{path}: ")) from None
    return samples / rate


def _try_duration(path: str) -> float | VouchError | None:
    try:
        return read_duration(path)
    except VouchError as error:
        return error


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
    return _parse_answer(done.stdout)


def _parse_answer(content: bytes) -> float | None:
    """Return the seconds in ffprobe's answer; None if it does not know them."""
    try:
        found = json.loads(content)
        has_audio = bool(found.get("streams"))
        duration = found.get("format", {}).get("duration", "N/A")
        seconds = None if duration == "N/A" else plain_float(str(duration))
        if seconds is not None and not 0 <= seconds < math.inf:
            raise ValueError
    except (ValueError, AttributeError, RecursionError):
        raise VouchError(f"ffprobe gives a strange answer: '{one_line(content.decode(errors='replace'))}'") from None
    if not has_audio:
        raise VouchError("no audio in it")
    return seconds
