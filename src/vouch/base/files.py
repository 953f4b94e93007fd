"""Writes files whole or not at all, locks them, and reads small text and JSON files of bounded size."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import json
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from vouch.base.errors import VouchError, about_file

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LOCK_TRIES = 100
BUFFER = 1 << 16
# Longest text in bytes that is read whole; results and configurations are a thousand times shorter.
LONGEST_TEXT = 64 << 20


@contextlib.contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Open a sibling of `path` for writing and rename it to `path` when the block ends without an error.

    The sibling is `.<name>.partial`. The name is fixed, so that the next run overwrites what a killed run left behind.
    It is locked while it is written, so that two runs of the same stage cannot mix.

    Parameters
    ----------
    path : str or Path
        Final file; its folder is made if it is missing.
    mode : "w" (UTF-8 text) or "wb"

    Raises
    ------
    VouchError
        Another process is writing the same file.
    OSError
        A full or broken disk; its `filename` is `path`.
    """
    path = Path(path)
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        descriptor = _open_locked(partial, path)
        os.ftruncate(descriptor, 0)
    with _open(descriptor, mode, path) as file:
        try:
            yield file
            file.flush()
            with _named(path):
                os.fsync(file.fileno())
                os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            # On a full disk, closing flushes and fails again; that error must not hide the first one.
            with contextlib.suppress(OSError):
                file.close()
            raise


def read_text(path: str | Path, most: int = LONGEST_TEXT) -> str:
    """Read a UTF-8 text of at most `most` bytes; `VouchError` names a file that is missing, longer or not text."""
    with about_file(path):
        with open(path, "rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise VouchError(f"{path}: has more than {most} bytes; it cannot be what it should be")
        return content.decode()


def read_json(path: str | Path) -> object:
    """Read a JSON file whose numbers are all finite and fit into 64 bits.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    object
        The content; the caller checks names and types.

    Raises
    ------
    VouchError
        The file is missing, too large, not JSON or nested too deeply, or it holds NaN, an infinity or a number that
        does not fit into 64 bits.
    """
    text = read_text(path)
    with about_file(path, "not valid JSON"):
        return json.loads(text, parse_int=_integer, parse_float=_finite, parse_constant=_finite)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with atomic_write(path) as file:
        file.write(text)


def open_own(path: str | Path, flags: int) -> int:
    """Open a file of a predictable name for writing, without following a link that somebody else put in its place.

    In a folder that others may write to, a link of that name could point at any file of the user. Links, symbolic or
    hard, and whatever is not a regular file are removed, and the file is created anew. The function can serve as the
    `opener` of `open`.

    Parameters
    ----------
    path : str or Path
        The file.
    flags : int
        Flags of `os.open`; `O_TRUNC` takes effect only after the file has proved not to be a link.

    Returns
    -------
    int
        The file descriptor.
    """
    for _ in range(LOCK_TRIES):
        try:
            descriptor = os.open(path, (flags | os.O_NOFOLLOW | os.O_NONBLOCK) & ~os.O_TRUNC, 0o666)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENXIO):
                raise
        else:
            status = os.fstat(descriptor)
            # A file without any name: another process has just renamed it to its final name.
            if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:
                os.set_blocking(descriptor, True)
                if flags & os.O_TRUNC:
                    os.ftruncate(descriptor, 0)
                return descriptor
            os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    raise VouchError(f"{path}: another process puts a link here again and again; choose another folder")


def lock_file(file: int | IO, refusal: str) -> None:
    """Lock an open file or folder, until it is closed or this process ends.

    Some network file systems do not support locks; there the function does nothing.

    Parameters
    ----------
    file : int or IO
        File descriptor, or an object that has one.
    refusal : str
        Message of the error when another process holds the lock.

    Raises
    ------
    VouchError
        Another process holds the lock; the message is `refusal`.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise VouchError(refusal) from None
    except OSError:
        pass


@contextlib.contextmanager
def open_exclusive(path: Path) -> Iterator[io.FileIO]:
    """Open a file for unbuffered reading and writing, keeping its content; it is created if it is missing.

    Raises
    ------
    VouchError
        Another process has opened it in the same way.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(open_own(path, os.O_RDWR | os.O_CREAT), "r+b", buffering=0) as file:
        lock_file(file, f"{path}: another process is working on this file; wait for it or stop it")
        yield file


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits} is not a finite number")
    return value


def _integer(digits: str) -> int:
    # Python refuses to convert very long numbers, with advice for programmers; this check comes first.
    if len(digits) > 20 or abs(int(digits)) >= 2**63:
        raise ValueError("a number is too large")
    return int(digits)


class _NamedFile(io.FileIO):
    """A raw file whose errors name it: the operating system says what went wrong, but not where."""

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor, "w")
        self._path = path

    def write(self, block: ReadableBuffer) -> int:
        with _named(self._path):
            return super().write(block)


def _open(descriptor: int, mode: str, path: Path) -> IO:
    if mode not in ("w", "wb"):
        raise ValueError(f"mode {mode!r} is neither 'w' nor 'wb'")
    file = io.BufferedWriter(_NamedFile(descriptor, path), BUFFER)
    return file if mode == "wb" else io.TextIOWrapper(file, encoding="utf-8")


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def _open_locked(partial: Path, path: Path) -> int:
    refusal = f"{path}: another process is writing this file; wait for it or stop it"
    for _ in range(LOCK_TRIES):
        descriptor = open_own(partial, os.O_RDWR | os.O_CREAT)
        try:
            lock_file(descriptor, refusal)
            # Between our opening and locking it, another writer may have renamed this file to its final name.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(partial)):
                    return descriptor
        except VouchError:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise VouchError(refusal)
