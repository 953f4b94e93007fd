"""Parses Kaldi's rspecifiers and wspecifiers, the names of tables to read and to write."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from typing import IO, BinaryIO, NamedTuple

from vouch.base.errors import VouchError, nearest
from vouch.base.files import atomic_write
from vouch.base.pipes import open_read_pipe, open_write_pipe
from vouch.base.rxfilename import split_offset
from vouch.kaldi.tables import decode_lines, split_pairs

# Accepted options of rspecifiers. Those for random access, reading ahead, text and binary have no effect here.
_READ_OPTIONS = {"p", "np", "s", "ns", "o", "no", "cs", "ncs", "bg", "nbg", "t", "nt", "b", "nb"}
_WRITE_OPTIONS = {"t", "nt", "b", "nb", "f", "nf", "p", "np"}


class Rspecifier(NamedTuple):
    """A table to read.

    Attributes
    ----------
    is_script : bool
        Whether it is an scp, which lists the position of each entry; otherwise it is an archive.
    rxfilename : str
        The archive or scp: a file, `command |`, or `-` for the standard input.
    permissive : bool
        Whether to leave out entries that cannot be read (option "p").
    is_sorted : bool
        Whether keys must be unique and in C-locale order (option "s").
    """

    is_script: bool
    rxfilename: str
    permissive: bool
    is_sorted: bool


class Wspecifier(NamedTuple):
    """A table to write.

    Attributes
    ----------
    ark : str or None
        Extended file name of the archive: a file, `| command`, or `-` for the standard output; None: no archive.
    scp : str or None
        The same for the scp. Without an archive, the scp must exist and says which file each entry is written to.
    text : bool
        Whether to write text (option "t").
    flush : bool
        Whether to flush after each entry (option "f").
    permissive : bool
        Whether to leave out entries that the scp does not list (option "p").
    """

    ark: str | None
    scp: str | None
    text: bool
    flush: bool
    permissive: bool


def split_specifier(specifier: str) -> tuple[list[str], str] | None:
    """Split `option,option:name` into options and name; None if it is a file name."""
    head, colon, name = specifier.partition(":")
    words = head.split(",")
    if not colon or not {"ark", "scp"} & set(words):
        return None
    if specifier != specifier.rstrip():
        raise VouchError(f"'{specifier}': ends in a blank")
    return words, name


def parse_rspecifier(rspecifier: str) -> Rspecifier:
    """Parse `ark:file`, `scp,p:file`, `ark:command |` and the like; `VouchError` says what is wrong."""
    words, name = _split(rspecifier, "ark:FILE or scp:FILE")
    kinds = [word for word in words if word in ("ark", "scp")]
    if len(kinds) != 1:
        raise VouchError(f"'{rspecifier}': either ark or scp can be read, not both")
    options = _check_options(words, _READ_OPTIONS, rspecifier)
    return Rspecifier(kinds[0] == "scp", name, _is_on("p", options), _is_on("s", options))


def parse_wspecifier(wspecifier: str) -> Wspecifier:
    """Parse `ark:file`, `ark,t:| command`, `ark,scp:file,file` and the like; `VouchError` says what is wrong."""
    words, name = _split(wspecifier, "ark:FILE, ark,t:FILE or ark,scp:ARK,SCP")
    kinds = [word for word in words if word in ("ark", "scp")]
    options = _check_options(words, _WRITE_OPTIONS, wspecifier)
    ark = scp = None
    if kinds == ["ark", "scp"]:
        ark, comma, scp = name.partition(",")
        if not comma or ark in ("", "-") or ark.startswith("|"):
            raise VouchError(f"'{wspecifier}': ark,scp needs two files, ark,scp:ARK,SCP, for positions are in files")
    elif kinds == ["ark"]:
        ark = name
    elif kinds == ["scp"]:
        scp = name
    else:
        raise VouchError(f"'{wspecifier}': it is ark,scp in this order, and each once")
    return Wspecifier(ark, scp, _is_on("t", options), _is_on("f", options), _is_on("p", options))


def _split(specifier: str, examples: str) -> tuple[list[str], str]:
    parts = split_specifier(specifier)
    if parts is None:
        raise VouchError(f"'{specifier}' is no table; write it as {examples}")
    return parts


def _check_options(words: list[str], known: set[str], specifier: str) -> list[str]:
    options = [word for word in words if word not in ("ark", "scp")]
    for word in options:
        if word not in known:
            raise VouchError(f"'{specifier}': unknown option '{word}'{nearest(word, sorted(known))}")
    return options


def _is_on(name: str, options: list[str]) -> bool:
    """Return whether option `name` comes after its opposite `n<name>`; "b" is also an opposite of "t"."""
    found = [word for word in options if word in (name, f"n{name}") or (name == "t" and word == "b")]
    return bool(found) and found[-1] == name


@contextlib.contextmanager
def open_input(rxfilename: str) -> Iterator[BinaryIO]:
    """Open a file, `command |` or `-` (standard input) for reading from its beginning.

    Raises
    ------
    VouchError
        The input cannot be read, or the command fails.
    """
    if rxfilename.endswith("|"):
        with open_read_pipe(rxfilename[:-1]) as file:
            yield file
    elif rxfilename in ("", "-"):
        yield sys.stdin.buffer
    elif rxfilename.startswith("|"):
        raise VouchError(f"'{rxfilename}': a command that is read ends in '|'")
    else:
        with opened(rxfilename) as file:
            yield file


def read_script(rxfilename: str) -> Iterator[tuple[int, str, str]]:
    """Yield line number, key and value of an scp, in any order; `VouchError` as from `read_table`."""
    with open_input(rxfilename) as file:
        lines = decode_lines(file.read(), rxfilename)
    yield from split_pairs(lines, rxfilename)


@contextlib.contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """Open a file for reading; errors of the operating system while it is read become `VouchError`s."""
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise VouchError(f"{path}: {error.strerror}") from None


@contextlib.contextmanager
def open_output(wxfilename: str) -> Iterator[IO[bytes]]:
    """Open a file, `| command` or `-` (standard output) for writing; files appear whole or not at all.

    Raises
    ------
    VouchError
        The name cannot be written to, or the command fails.
    """
    if wxfilename.startswith("|"):
        with open_write_pipe(wxfilename[1:]) as file:
            yield file
    elif wxfilename in ("", "-"):
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    elif wxfilename.endswith("|") or split_offset(wxfilename):
        raise VouchError(f"'{wxfilename}' is not a name to write to: a file, '| command' or '-'")
    elif _is_device(wxfilename):
        # Devices such as /dev/null and named pipes are written directly, since renaming would replace them.
        with open(wxfilename, "wb") as file:
            yield file
    else:
        with atomic_write(wxfilename, "wb") as file:
            yield file


def _is_device(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
