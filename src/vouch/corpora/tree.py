"""Finds the files of a tree `speaker/[session/...]utterance.wav`, and derives their ids."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from vouch.audio.tree import AUDIO_SUFFIXES, walk_audio
from vouch.base.errors import VouchError


class Recording(NamedTuple):
    """One audio file.

    Attributes
    ----------
    path : str
        Path below the root, with '/'.
    folder : str
        Name of the speaker's folder.
    speaker : str
        Speaker id.
    session : str
        Name of the first folder below the speaker's folder; "" if there is none.
    utterance : str
        Utterance id, `<speaker>[-<folder>...]-<stem>`.
    """

    path: str
    folder: str
    speaker: str
    session: str
    utterance: str


def scan(root: Path) -> list[Recording]:
    """Find the audio files below `root`, sorted by utterance id.

    Hidden files and folders are skipped, links are followed.

    Raises
    ------
    VouchError
        The folder does not exist or has no audio, a file has no speaker, a name cannot be written to a table, links
        form a circle, or two files or two speakers would have the same id.
    """
    if not root.is_dir():
        raise VouchError(f"{root}: no such folder; --root is the folder whose folders are the speakers")
    try:
        paths = [os.path.relpath(path, root) for path in walk_audio(str(root))]
    except OSError as error:
        raise VouchError(f"{error.filename}: {error.strerror}") from None
    if not paths:
        raise VouchError(f"{root}: no audio in it ({', '.join(sorted(AUDIO_SUFFIXES))})")
    recordings = [_describe(root, path) for path in paths]
    _check_distinct({(r.folder, r.speaker) for r in recordings}, root, "speaker")
    _check_distinct({(r.path, r.utterance) for r in recordings}, root, "utterance")
    return sorted(recordings, key=lambda recording: recording.utterance)


def safe(name: str, keep: str) -> str:
    """Replace all characters but letters, digits and those in `keep` by '_'."""
    composed = unicodedata.normalize("NFC", name)
    return "".join(c if c in keep or unicodedata.category(c)[0] in "LMN" else "_" for c in composed)


def _describe(root: Path, path: str) -> Recording:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise VouchError(f"{root}/{ascii(path)[1:-1]}: its name is not UTF-8; rename it") from None
    if "\n" in path or "\r" in path:
        raise VouchError(f"{root}/{ascii(path)[1:-1]}: its name holds a line break; rename it")
    *folders, name = PurePosixPath(path).parts
    if not folders:
        raise VouchError(f"{root}/{path}: has no speaker; move it into a folder that is named after its speaker")
    # Kaldi's tools need utterances in the order of their speakers. '-' sorts before all other characters of speaker
    # ids, so the utterances of 'a' come before those of 'ab'. A speaker id must not contain '-', or this would fail.
    speaker = safe(folders[0], keep="_.")
    parts = [safe(part, keep="_.-") for part in (*folders[1:], PurePosixPath(name).stem)]
    session = folders[1] if len(folders) > 1 else ""
    return Recording(path, folders[0], speaker, session, "-".join([speaker, *parts]))


def _check_distinct(pairs: set[tuple[str, str]], root: Path, what: str) -> None:
    owners: dict[str, str] = {}
    clashes = []
    for name, identity in sorted(pairs):
        if owners.setdefault(identity, name) != name:
            clashes.append((owners[identity], name, identity))
    if clashes:
        first, second, identity = clashes[0]
        more = f" (and {len(clashes) - 1} more clashes)" if len(clashes) > 1 else ""
        raise VouchError(
            f"{root}: '{first}' and '{second}' would both be {what} '{identity}'{more}; rename or remove one"
        )
