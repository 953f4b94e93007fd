"""Reading what matrices in archives and `.npy` files are like, without their numbers."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import NamedTuple

from vouch.base.errors import VouchError, about_file, reason
from vouch.base.rxfilename import Source, parse_rxfilename
from vouch.kaldi.matrices.layout import HEADER_BYTES, Layout, parse_header
from vouch.kaldi.matrices.npy import npy_layout

# Archives that stay open while their headers are read: the lines of an scp may change between those of several jobs.
_FILES_OPEN = 64


class Header(NamedTuple):
    """What a file says of a matrix or vector.

    Attributes
    ----------
    source : Source
        The file and the range of rows and columns that is wanted.
    layout : Layout
        Where the numbers of that range lie.
    is_vector : bool
        Whether it has one axis only.
    """

    source: Source
    layout: Layout
    is_vector: bool


class Headers(contextlib.ExitStack):
    """Reads headers; a few archives stay open until the block ends."""

    def __init__(self) -> None:
        super().__init__()
        self._opened: dict[str, tuple[int, int]] = {}

    def read(self, rxfilename: str) -> Header | None:
        """Read the header that an extended file name leads to; None: only a reading of all of it, as text, will tell.

        Raises
        ------
        VouchError
            There is no such file, its header is damaged, or it is shorter than its header says.
        """
        source = parse_rxfilename(rxfilename)
        if source.is_npy:
            return Header(source, npy_layout(source.name).select(source, False), False)
        if source.is_pipe:
            return None
        if source.name not in self._opened:
            if len(self._opened) == _FILES_OPEN:
                self.close()
                self._opened.clear()
            self._opened[source.name] = self._open(source.name)
        descriptor, size = self._opened[source.name]
        try:
            # Places beyond what a file system can have are errors, where those beyond the end of a file are empty.
            head = os.pread(descriptor, HEADER_BYTES, min(source.offset, size))
        except OSError as error:  # there may be a million headers: no `about_file`, which costs as much as the reading
            raise VouchError(f"{source.name}: {reason(error)}") from None
        if head[:1] != b"\0":
            return None
        layout, is_vector = parse_header(head, source.offset, size, rxfilename)
        return Header(source, layout.select(source, is_vector), is_vector)

    def _open(self, path: str) -> tuple[int, int]:
        """Return descriptor and size of a file."""
        with about_file(path):
            descriptor = os.open(path, os.O_RDONLY)
            self.callback(os.close, descriptor)
            status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise VouchError(f"{path}: not a file in which a place can be looked up")
        if not status.st_size:
            raise VouchError(f"{path}: the file is empty")
        return descriptor, status.st_size
