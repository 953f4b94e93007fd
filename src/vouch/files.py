"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
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


def _open_locked(partial: Path, path: Path) -> int:
    for _ in range(LOCK_TRIES):
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT, 0o666)
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
