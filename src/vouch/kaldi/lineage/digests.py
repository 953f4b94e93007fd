"""Computes digests of data: short texts that depend on the content, not on where it lies.

Stages that write archives put a list of the archives' sizes, times and SHA-256 digests into the same folder. An archive
in such a list is identified by its digest, which is computed again only if size or time differ. Features thus keep
their identity when they are copied, moved or touched, and unchanged ones need not be read. Other files (recordings,
archives of other programs) are identified by name, size and modification time; the name is needed because recordings of
equal length that were unpacked at the same time are common.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from vouch.audio.tree import walk_audio
from vouch.base.errors import VouchError, about_file
from vouch.base.rxfilename import parse_rxfilename, split_offset
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.kaldi.tables import write_table

LIST_NAME = "digests"
# Endings of files that can be in a list; the folders of other files are not searched for one.
LISTED_SUFFIXES = (".ark", ".npy")
# Network file systems answer many requests at once as fast as one.
_THREADS, _FILES_AT_ONCE = 16, 1000
_BLOCK_BYTES = 1 << 20
# Patterns for parts of a shell command: output redirections, words with quoted parts, and quotes.
_REDIRECTIONS = re.compile(r"\d*>+\s*\S+")
_WORDS = re.compile(r"(?:'[^']*'|\"[^\"]*\"|\\.|[^\s'\"\\|&;()<>])+")
_QUOTES = re.compile(r"['\"\\]")


class FileState(NamedTuple):
    """Size in bytes, time of the last change in nanoseconds since 1970, and SHA-256 digest of a file."""

    size: int
    time: int
    digest: str


def digest_file(path: str | Path) -> str:
    """Return the SHA-256 digest of a file's bytes, in hexadecimal; `VouchError` names a file that cannot be read."""
    digest = hashlib.sha256()
    with about_file(path), open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def file_state(path: str | Path) -> FileState:
    """Return size, time and digest of a file that no process is writing."""
    found = os.stat(path)
    return FileState(found.st_size, found.st_mtime_ns, digest_file(path))


def write_list(folder: str | Path, states: Mapping[str, FileState]) -> None:
    """Write the list of a folder, with a line `name size time digest` for each of its archives."""
    write_table(Path(folder) / LIST_NAME, {name: f"{size} {time} {sha}" for name, (size, time, sha) in states.items()})


def digest_sources(table: Mapping[str, str]) -> str:
    """Return the digest of the content that a table such as `feats.scp` or `wav.scp` refers to.

    It depends on the keys and, for each key, on the content of the file (see the top of this module) and the position
    in it, but not on the name of a listed archive. A pipe is identified by its command and the files named in it.

    Parameters
    ----------
    table : mapping of str to str
        Keys to extended file names.
    """
    digest = hashlib.sha256()
    for key, content in zip(table, _contents(table.values()), strict=True):
        digest.update(f"{key} {content}\n".encode())
    return digest.hexdigest()


def digest_recordings(data: DataDir, utterances: Iterable[str]) -> str:
    """Return the digest of the recordings that contain utterances of a data directory, loaded with "wav.scp"."""
    return digest_sources({utterance: data.wav_scp[data.segments[utterance].recording] for utterance in utterances})


def digest_folder(path: str | Path) -> str:
    """Return the digest of the recordings below a folder: their relative names, sizes and times.

    Raises
    ------
    VouchError
        As from `vouch.audio.tree.walk_audio`, or the folder cannot be read.
    """
    with about_file(path):
        files = sorted(walk_audio(str(path)))
    # Names are relative to the folder, which may be moved.
    lines = [f"{os.path.relpath(file, path)}: {_size_and_time(file)}\n" for file in files]
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def digest_data(path: str | Path, tables: Iterable[str], sources: Mapping[str, str]) -> str:
    """Return the digest of the files and sources that are read from a data directory.

    Parameters
    ----------
    path : str or Path
        The folder.
    tables : iterable of str
        Names of the text files to include; a missing one counts as missing.
    sources : mapping of str to str
        Table for `digest_sources`.
    """
    parts = [f"{name} {digest_file(Path(path) / name)}\n" for name in tables if (Path(path) / name).exists()]
    return hashlib.sha256("".join([*parts, digest_sources(sources)]).encode()).hexdigest()


def _contents(rxfilenames: Iterable[str]) -> Iterator[str]:
    """Yield for each extended file name a text that identifies its content."""
    split = [_split(rxfilename) for rxfilename in rxfilenames]
    states = _states(dict.fromkeys(file for files, _ in split for file in files))
    for files, rest in split:
        yield " ".join([*(states[file] for file in files), rest])


def _split(rxfilename: str) -> tuple[tuple[str, ...], str]:
    """Return the files that an extended file name reads, and the rest of the name."""
    placed = split_offset(rxfilename)
    if placed is not None:  # the usual form
        return placed[:1], placed[1]
    try:
        source = parse_rxfilename(rxfilename)
    except VouchError:
        return (), rxfilename  # the reader will report what is wrong with it
    if not source.is_pipe:
        return (source.name,), rxfilename[len(source.name) :]
    return tuple(_files_of(source.name)), rxfilename


def _files_of(command: str) -> Iterator[str]:
    """Yield the words of a command that name files it may read: those that look like a path or exist as a file."""
    for match in _WORDS.finditer(_REDIRECTIONS.sub(" ", command)):
        word = _QUOTES.sub("", match[0])
        for name in (word, word.partition("=")[2]):  # --in=FILE
            if name and ("/" in name or os.path.isfile(name)):
                yield name


def _states(paths: Iterable[str]) -> dict[str, str]:
    """Return for each file a text that identifies its content."""
    paths = list(paths)
    folders = {os.path.dirname(path) for path in paths if path.endswith(LISTED_SUFFIXES)}
    lists = {folder: _read_list(folder) for folder in folders}
    outdated: set[str] = set()

    def identify(path: str) -> str:
        try:
            found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return "missing"
        if not stat.S_ISREG(found.st_mode):
            return "no file"
        folder, name = os.path.split(path)
        known = lists.get(folder, {}).get(name)
        if known is None:
            return f"{path}: {found.st_size} bytes of {found.st_mtime_ns}"
        if (known.size, known.time) != (found.st_size, found.st_mtime_ns):
            lists[folder][name] = known = FileState(found.st_size, found.st_mtime_ns, digest_file(path))
            outdated.add(folder)
        return known.digest

    blocks = [paths[first : first + _FILES_AT_ONCE] for first in range(0, len(paths), _FILES_AT_ONCE)]
    states: dict[str, str] = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        for block, found in zip(blocks, pool.map(lambda block: list(map(identify, block)), blocks), strict=True):
            states.update(zip(block, found, strict=True))
    for folder in outdated:
        # The list only saves time in the next run; the folder may belong to another user.
        with contextlib.suppress(OSError, VouchError):
            write_list(folder, lists[folder])
    return states


def _size_and_time(path: str) -> str:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return "missing"
    return f"{found.st_size} bytes of {found.st_mtime_ns}"


def _read_list(folder: str) -> dict[str, FileState]:
    """Return the list of a folder; empty if there is none, or the file of that name is not a list."""
    path = Path(folder) / LIST_NAME
    if not path.is_file():
        return {}
    # An error while reading must not count as a missing list, which would change the digest.
    with about_file(path):
        content = path.read_bytes()
    try:
        rows = [line.split(" ") for line in content.decode().splitlines()]
        return {name: FileState(int(size), int(time), digest) for name, size, time, digest in rows}
    except ValueError:
        return {}
