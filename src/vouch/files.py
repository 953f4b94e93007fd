"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from vouch.errors import VouchError

LOCK_TRIES = 100


@contextlib.contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Open a sibling of `path` for writing and rename it to `path` when the block ends without an error.

    The sibling is `.<name>.partial`: one fixed name, so that what a killed run left behind is overwritten by the
    next one instead of piling up. It is locked while it is written, so that two runs of the same stage cannot mix.

    Parameters
    ----------
    path : final file; its folder is made if it is missing
    mode : "w" (UTF-8 text) or "wb"

    Raises
    ------
    VouchError : another process is writing the same file
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    descriptor = _open_locked(partial, path)
    os.ftruncate(descriptor, 0)
    with open(descriptor, mode, encoding=None if "b" in mode else "utf-8") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            # The unwritten rest must not raise a second error (a full disk does) over the first when it is closed.
            with contextlib.suppress(OSError):
                file.close()
            raise


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with atomic_write(path) as file:
        file.write(text)


def open_own(path: str | Path, flags: int) -> int:
    """Open a file of a predictable name for writing, never one that somebody else put another name of in its place.

    In a folder that others may write to, a link of that name could point at any file of the user's. Links, symbolic or
    hard, and what is no file are removed and the file is made anew. Fits as the `opener` of `open`.

    Parameters
    ----------
    path : the file
    flags : of `os.open`; an `O_TRUNC` takes effect once it is known whose file it is

    Returns
    -------
    The descriptor.
    """
    for _ in range(LOCK_TRIES):
        try:
            descriptor = os.open(path, (flags | os.O_NOFOLLOW | os.O_NONBLOCK) & ~os.O_TRUNC, 0o666)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENXIO):
                raise
        else:
            status = os.fstat(descriptor)
            # No name at all: another process has just finished this very file.
            if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:
                os.set_blocking(descriptor, True)
                if flags & os.O_TRUNC:
                    os.ftruncate(descriptor, 0)
                return descriptor
            os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    raise VouchError(f"{path}: another process puts a link here again and again; choose another folder")


def _open_locked(partial: Path, path: Path) -> int:
    for _ in range(LOCK_TRIES):
        descriptor = open_own(partial, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            break
        except OSError:
            # Some network file systems know no locks; the rename alone still keeps the file whole.
            return descriptor
        # Between opening and locking, the writer before us may have renamed this very file to its final name.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(partial)):
                return descriptor
        os.close(descriptor)
    raise VouchError(f"{path}: another process is writing this file; wait for it or stop it")
