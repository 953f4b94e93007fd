"""The one exception that means "the user can mend this", how other exceptions become it, and hints at misspelt names.

Libraries tell of a damaged file in a dozen ways: a parser may raise `ValueError`, `RecursionError`, `TypeError` or
`MemoryError`, and the operating system says what went wrong but not with which file. `about_file` makes one line that
names the file of all of them.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
# More choices than this would bury the message that they belong to.
CHOICES_SHOWN = 40
# Of a line or a name that is quoted in a message.
QUOTED = 100
LONGEST_MESSAGE = 2000
# What the operating system says of a program that is wrong; all its other errors are about disks, rights and memory.
_BUGS = {errno.EBADF, errno.EFAULT, errno.ENOTSOCK}
_ASKED_FOR = re.compile(r"allocate ([\d.]+ [A-Za-z]+)")


class VouchError(Exception):
    """Something a user can cause and mend; its message is one line that scripts print before they exit with 1.

    Messages quote names and lines of files, which may hold anything: what would upset a terminal, or end the line, is
    shown as Python writes it, such as \\x1b, and the middle of what is longer than 2000 characters is left out.
    """

    def __init__(self, message: str) -> None:
        if len(message) > LONGEST_MESSAGE:
            message = f"{message[: LONGEST_MESSAGE // 2]} ... {message[-LONGEST_MESSAGE // 4 :]}"
        super().__init__(visible(message))


def visible(text: str) -> str:
    """Return a text of one line in which characters that cannot be printed are shown as Python writes them."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def shorten(text: str) -> str:
    """Shorten a text for quoting it in a message: a line of a wrong file may have megabytes."""
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}..."


def one_line(text: str) -> str:
    """Return the first line of a foreign text, shortened and without control characters."""
    lines = text.strip().splitlines() or [""]
    return shorten(visible(lines[0]))


@contextlib.contextmanager
def about_file(path: str | Path, problem: str = "", advice: str = "") -> Iterator[None]:
    """Turn any exception that a library raises about a file into a `VouchError` of one line that names the file.

    Keep the block as small as the call that reads: what is wrong in our own lines would be blamed on the file too.
    A `VouchError` passes as it is, and so does the end of a pipe's reader (`BrokenPipeError`).

    Parameters
    ----------
    path : str or Path
        The file, as messages name it.
    problem : str
        What is wrong when its content cannot be understood, such as "not valid YAML"; the library's reason follows in
        brackets. It is left out where the file could not be read at all.
    advice : str
        What to do about it; added after a semicolon.

    Raises
    ------
    VouchError
        `<path>: <problem> (<reason>); <advice>`.

    Examples
    --------
    >>> with about_file("x.json", "not valid JSON"):
    ...     json.loads("[")
    Traceback (most recent call last):
    vouch.base.errors.VouchError: x.json: not valid JSON (Expecting value: line 1 column 2 (char 1))
    """
    try:
        yield
    except (VouchError, BrokenPipeError):
        raise
    except Exception as error:
        words = reason(error)
        if problem and not isinstance(error, (OSError, MemoryError)):
            words = f"{problem} ({words})"
        raise VouchError(f"{_file_of(error) or path}: {words}{f'; {advice}' if advice else ''}") from None


def reason(error: BaseException) -> str:
    """Return what an exception of a library says, as one short line without names of files.

    Examples
    --------
    >>> reason(FileNotFoundError(2, "No such file or directory", "x"))
    'No such file or directory'
    >>> reason(RecursionError("maximum recursion depth exceeded"))
    'nested too deeply'
    """
    if isinstance(error, OSError) and error.strerror:
        return one_line(error.strerror)
    if is_out_of_memory(error):
        return "more memory is needed than there is"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, ValueError) and "integer string conversion" in str(error):
        return "a number has too many digits"
    if isinstance(error, UnicodeError):
        return f"not {'UTF-8' if getattr(error, 'encoding', '') in ('utf-8', 'utf8') else 'valid'} text"
    if isinstance(error, KeyError) and len(error.args) == 1:
        return one_line(f"it lacks '{error.args[0]}'")
    return one_line(str(error)) or type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means that memory is short, that of the machine or of a GPU."""
    # torch, which this module does not import, has a class for a GPU and a plain RuntimeError for the machine.
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator: " in str(error))
    )


def mishap(error: BaseException) -> str | None:
    """Return one line about an exception that the machine caused, with the file if it has one; None for a bug.

    A full disk, a missing permission, a broken disk, a share that went away and short memory are mishaps: no
    traceback helps whoever meets them.
    """
    if is_out_of_memory(error):
        where = _file_of(error)
        return f"{where + ': ' if where else ''}{reason(error)}{_asked_for(error)}"
    if not isinstance(error, OSError) or error.errno is None or error.errno in _BUGS:
        return None
    where = _file_of(error)
    return f"{where + ': ' if where else ''}{reason(error)}"


def _file_of(error: BaseException) -> str:
    """Return the file that an error of the operating system names, if it does."""
    name = error.filename if isinstance(error, OSError) else None
    return os.fsdecode(name) if isinstance(name, (str, bytes, os.PathLike)) else ""


def _asked_for(error: BaseException) -> str:
    """Return how much memory was asked for, as numpy and torch say it."""
    found = _ASKED_FOR.search(str(error))
    return f" ({found[1]} at once)" if found else ""


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return a hint that names the choice closest to `word`, or all of a few when none is close.

    Examples
    --------
    >>> nearest("aamsoftmx", ["softmax", "aamsoftmax"])
    " (did you mean 'aamsoftmax'?)"
    >>> nearest("x", ["softmax", "ge2e"])
    ' (choose from: softmax, ge2e)'
    """
    known = list(choices)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f" (did you mean '{close[0]}'?)"
    return f" (choose from: {', '.join(known)})" if 0 < len(known) <= CHOICES_SHOWN else ""


def attempt(work: Callable[..., T], *args: object) -> T | VouchError:
    """Return what a function makes of its arguments, or the `VouchError` that says why it makes nothing."""
    try:
        return work(*args)
    except VouchError as error:
        return error


def pick(table: Mapping[str, T], name: str, what: str) -> T:
    """Return `table[name]`; an unknown name raises `VouchError` naming the nearest entry.

    Parameters
    ----------
    table : mapping of str to T
        Mapping from names to values.
    name : str
        The name asked for.
    what : str
        What the table holds, for the message ("loss", "model", ...).
    """
    if name not in table:
        raise VouchError(f"unknown {what} '{name}'{nearest(name, table)}")
    return table[name]
