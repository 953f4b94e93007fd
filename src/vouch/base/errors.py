"""Defines the exception for what a user can mend, turns other exceptions into it, and suggests names for misspelt ones.

Libraries report a damaged file in a dozen ways: a parser may raise `ValueError`, `RecursionError`, `TypeError` or
`MemoryError`, and the operating system says what went wrong but not with which file. `about_file` turns each of them
into one line that names the file.
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
# A longer list of choices would bury the message that it belongs to.
CHOICES_SHOWN = 40
# Longest quotation of a line or a name in a message, in characters.
QUOTED = 100
LONGEST_MESSAGE = 2000
# Options that had another name, and another unit, in the first edition.
_IN_SECONDS_NOW = {
    "crop_frames": "crop_seconds",
    "--train.crop_frames": "--train.crop_seconds",
    "--crop-frames": "--crop-seconds",
    "--max-frames": "--max-seconds",
}
# Operating system errors that mean a bug in the program; all others concern disks, permissions and memory.
_BUGS = {errno.EBADF, errno.EFAULT, errno.ENOTSOCK}
_ASKED_FOR = re.compile(r"allocate ([\d.]+ [A-Za-z]+)")


class VouchError(Exception):
    """Something a user can cause and mend; its message is one line that scripts print before they exit with 1.

    Messages quote names and lines of files, which may hold anything. Characters that would confuse a terminal or end
    the line are shown as Python writes them, such as \\x1b, and long messages lose their middle.
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
    """Shorten a text for quoting it in a message: a line of a file of another kind may have megabytes."""
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}..."


def one_line(text: str) -> str:
    """Return the first line of a foreign text, shortened and without control characters."""
    lines = text.strip().splitlines() or [""]
    return shorten(visible(lines[0]))


@contextlib.contextmanager
def about_file(path: str | Path, problem: str = "", advice: str = "") -> Iterator[None]:
    """Turn any exception that a library raises about a file into a `VouchError` of one line that names the file.

    Keep the block as small as the call that reads: errors of our own lines in it would be blamed on the file too.
    A `VouchError` passes unchanged, and so does the `BrokenPipeError` of a closed pipe.

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
    """Return what a library's exception says, as one short line without file names.

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
    """Return whether an exception means that the memory of the machine or of a GPU is exhausted."""
    # torch, which this module does not import, raises its own class for a GPU and a plain RuntimeError for the machine.
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator: " in str(error))
    )


def mishap(error: BaseException) -> str | None:
    """Return one line about an exception that the machine caused, with the file if it has one; None for a bug.

    A full or broken disk, a missing permission, a lost network share and exhausted memory are such mishaps; a traceback
    helps nobody there.
    """
    if is_out_of_memory(error):
        where = _file_of(error)
        return f"{where + ': ' if where else ''}{reason(error)}{_asked_for(error)}"
    if not isinstance(error, OSError) or error.errno is None or error.errno in _BUGS:
        return None
    where = _file_of(error)
    return f"{where + ': ' if where else ''}{reason(error)}"


def _file_of(error: BaseException) -> str:
    """Return the file that an error of the operating system names, or an empty text."""
    name = error.filename if isinstance(error, OSError) else None
    return os.fsdecode(name) if isinstance(name, (str, bytes, os.PathLike)) else ""


def _asked_for(error: BaseException) -> str:
    """Return how much memory was requested, read from the messages of numpy and torch."""
    found = _ASKED_FOR.search(str(error))
    return f" ({found[1]} at once)" if found else ""


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return a hint that names the choice closest to `word`, or all choices when none is close and they are few.

    Examples
    --------
    >>> nearest("aamsoftmx", ["softmax", "aamsoftmax"])
    " (did you mean 'aamsoftmax'?)"
    >>> nearest("x", ["softmax", "ge2e"])
    ' (choose from: softmax, ge2e)'
    """
    known = list(choices)
    if _IN_SECONDS_NOW.get(word) in known:
        return f" (it is '{_IN_SECONDS_NOW[word]}' now, in seconds)"
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f" (did you mean '{close[0]}'?)"
    return f" (choose from: {', '.join(known)})" if 0 < len(known) <= CHOICES_SHOWN else ""


def attempt(work: Callable[..., T], *args: object) -> T | VouchError:
    """Return the result of a function, or the `VouchError` that it raises."""
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
