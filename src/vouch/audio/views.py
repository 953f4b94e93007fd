"""Presents a part of a file as a file of its own."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Source(Protocol):
    """Methods that a file must have to be read here; it is opened in binary mode, and seekable."""

    def seek(self, offset: int, whence: int = ..., /) -> int: ...

    def read(self, size: int = ..., /) -> bytes: ...

    def fileno(self) -> int: ...


class View(io.RawIOBase):
    """The bytes `head` followed by the bytes `start` to `end` of a file, as one read-only file.

    Libraries that read through callbacks cannot be told of an error; for them a failed read returns nothing, and
    `failure` keeps the error.

    Attributes
    ----------
    length : int
        Number of bytes.
    position : int
        Position of the next byte to read.
    failure : OSError or None
        The error that ended a read; None if there was none.
    """

    def __init__(self, file: Source, start: int, end: int, head: bytes = b"") -> None:
        self._file, self._head, self._start, self._end = file, head, start - len(head), max(start, end)
        self.length = self._end - self._start
        self.position = 0
        self.failure: OSError | None = None

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a byte; see `io.IOBase`."""
        self.position = max(0, offset + (0, self.position, self.length)[whence])
        return self.position

    def tell(self) -> int:
        """Return the position."""
        return self.position

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill a buffer with the bytes that are left; see `io.RawIOBase`."""
        target = memoryview(buffer).cast("B")
        if self.position < len(self._head):
            content = self._head[self.position :][: len(target)]
            target[: len(content)] = content
            self.position += len(content)
            return len(content)
        at = self._start + self.position
        try:
            self._file.seek(at)
            content = self._file.read(max(0, min(len(target), self._end - at)))
        except OSError as error:
            self.failure = error
            return 0
        target[: len(content)] = content
        self.position += len(content)
        return len(content)
