"""Scans folders for audio files, for all corpora of speech and noise alike."""

from __future__ import annotations

import os
from collections.abc import Iterator, Set

from vouch.base.errors import VouchError

# Endings of files that ffmpeg opens and libsndfile does not.
FFMPEG_SUFFIXES = {".m4a", ".mp4", ".aac", ".wma", ".webm"}
AUDIO_SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3", *FFMPEG_SUFFIXES}


def walk_audio(
    folder: str, suffixes: Set[str] = AUDIO_SUFFIXES, above: tuple[tuple[int, int], ...] = ()
) -> Iterator[str]:
    """Yield the paths of the audio files below a folder, in arbitrary order.

    Hidden files and folders are skipped: macOS leaves a file `._name.wav` that is not audio beside every file that it
    copies. Links are followed.

    Parameters
    ----------
    folder : str
        Path of the folder.
    suffixes : Set
        Endings of the file names that count as audio, in lower case.
    above : tuple of tuple of int and int
        Device and inode numbers of the folders that `folder` lies in.

    Raises
    ------
    VouchError
        A link leads to one of the folders that it lies in.
    OSError
        A folder cannot be read.
    """
    status = os.stat(folder)
    here = (status.st_dev, status.st_ino)
    if here in above:
        raise VouchError(f"{folder}: a link to a folder that it lies in; remove it")
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from walk_audio(entry.path, suffixes, (*above, here))
            elif os.path.splitext(entry.name)[1].lower() in suffixes:
                yield entry.path
