"""Files that one process at a time may work on."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from vouch.base.errors import VouchError
from vouch.base.files import open_own


@contextlib.contextmanager
def open_exclusive(path: Path) -> Iterator[FileIO]:
    """Open a file for reading and writing, as it is and without a buffer; it is made if it is missing.

    Raises
    ------
    VouchError : another process has it open this way
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(open_own(path, os.O_RDWR | os.O_CREAT), "r+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise VouchError(f"{path}: another process is working on this file; wait for it or stop it") from None
        except OSError:
            # Some network file systems know no locks.
            pass
        yield file
