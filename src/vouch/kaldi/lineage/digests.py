"""Digests: short texts that are the same while what they stand for holds the same, wherever it lies.

Stages that write archives leave a list of their sizes, times and SHA-256 digests in the same folder. An archive of such
a list is identified by its digest, which is computed again only when size or time differ: so features that were copied,
moved or touched stay what they are, and none of their bytes need be read while nothing has happened to them. Files of
others (recordings, archives of other programs) are identified by their name, their size and the time of their last
change: recordings of one length that were unpacked with one time are common.
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
# Files of these endings can be in a list; the folders of others are not asked for one.
LISTED_SUFFIXES = (".ark", ".npy")
# Of network file systems, which answer many questions at once as soon as one.
_THREADS, _FILES_AT_ONCE = 16, 1000
_BLOCK_BYTES = 1 << 20
# Of a shell's command: where output goes, words with what is quoted in them, and the quotes.
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
    """Return size, time and digest of a file that nobody is writing."""
    found = os.stat(path)
    return FileState(found.st_size, found.st_mtime_ns, digest_file(path))


def write_list(folder: str | Path, states: Mapping[str, FileState]) -> None:
    """Write the list of a folder: a line `name size time digest` for each of its archives."""
    write_table(Path(folder) / LIST_NAME, {name: f"{size} {time} {sha}" for name, (size, time, sha) in states.items()})


def digest_sources(table: Mapping[str, str]) -> str:
    """Return the digest of what a table such as `feats.scp` or `wav.scp` lists.

    It follows from the keys and, for each, from what the file holds (see the head of this module) and where in the file
    it is, not from the name of an archive that is listed. A pipe is identified by its command and the files that the
    command names.

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
    """Return the digest of the recordings that utterances of a data directory, loaded with "wav.scp", are parts of."""
    return digest_sources({utterance: data.wav_scp[data.segments[utterance].recording] for utterance in utterances})


def digest_folder(path: str | Path) -> str:
    """Return the digest of the recordings below a folder: of their names there, their sizes and their times.

    Raises
    ------
    VouchError
        See `vouch.audio.tree.walk_audio`; or the folder cannot be read.
    """
    with about_file(path):
        files = sorted(walk_audio(str(path)))
    # Without the folder's own name: it may be moved.
    lines = [f"{os.path.relpath(file, path)}: {_size_and_time(file)}\n" for file in files]
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def digest_data(path: str | Path, tables: Iterable[str], sources: Mapping[str, str]) -> str:
    """Return the digest of what is read of a data directory.

    Parameters
    ----------
    path : str or Path
        The folder.
    tables : iterable of str
        Names of text files whose lines count; those that are not there count as such.
    sources : mapping of str to str
        See `digest_sources`.
    """
    parts = [f"{name} {digest_file(Path(path) / name)}\n" for name in tables if (Path(path) / name).exists()]
    return hashlib.sha256("".join([*parts, digest_sources(sources)]).encode()).hexdigest()


def _contents(rxfilenames: Iterable[str]) -> Iterator[str]:
    """Yield for each extended file name what identifies the content that it stands for."""
    split = [_split(rxfilename) for rxfilename in rxfilenames]
    states = _states(dict.fromkeys(file for files, _ in split for file in files))
    for files, rest in split:
        yield " ".join([*(states[file] for file in files), rest])


def _split(rxfilename: str) -> tuple[tuple[str, ...], str]:
    """Return the files that an extended file name reads, and the rest of it."""
    placed = split_offset(rxfilename)
    if placed is not None:  # nearly all are of this form
        return placed[:1], placed[1]
    try:
        source = parse_rxfilename(rxfilename)
    except VouchError:
        return (), rxfilename  # whoever reads it will say what is wrong with it
    if not source.is_pipe:
        return (source.name,), rxfilename[len(source.name) :]
    return tuple(_files_of(source.name)), rxfilename


def _files_of(command: str) -> Iterator[str]:
    """Yield the words of a command that name files it may read: whatever looks like a path, or is a file here."""
    for match in _WORDS.finditer(_REDIRECTIONS.sub(" ", command)):
        word = _QUOTES.sub("", match[0])
        for name in (word, word.partition("=")[2]):  # --in=FILE
            if name and ("/" in name or os.path.isfile(name)):
                yield name


def _states(paths: Iterable[str]) -> dict[str, str]:
    """Return what identifies the content of each file."""
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
        # Only for the next time; the folder may be somebody else's.
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
    """Return the list of a folder; empty when there is none, or a file of that name that is something else."""
    path = Path(folder) / LIST_NAME
    if not path.is_file():
        return {}
    # A disk that fails must not make other data of these.
    with about_file(path):
        content = path.read_bytes()
    try:
        rows = [line.split(" ") for line in content.decode().splitlines()]
        return {name: FileState(int(size), int(time), digest) for name, size, time, digest in rows}
    except ValueError:
        return {}
