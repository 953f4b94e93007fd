"""Provides the archives of a corpus, from disk or by download, and unpacks them once."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from vouch.base.errors import VouchError
from vouch.base.files import open_exclusive
from vouch.corpora.archives import unpack
from vouch.corpora.download import fetch
from vouch.corpora.server import Server

ARCHIVES = "archives"
_LOG = logging.getLogger(__name__)


class Archive(NamedTuple):
    """One archive of a corpus.

    Attributes
    ----------
    name : str
        File name, such as "musan.tar.gz".
    md5 : str
        MD5 digest in hexadecimal; for a split archive, that of the joined file.
    folder : str
        Folder that it contains, below the root.
    into : str
        Folder to unpack into, below the root.
    pieces : mapping of str to str
        File name to MD5 digest for the parts of a split archive; empty otherwise.
    """

    name: str
    md5: str
    folder: str
    into: str = "."
    pieces: Mapping[str, str] = MappingProxyType({})


def obtain(archive: Archive, root: Path, server: Server, wanted: Callable[[str], bool] = lambda name: True) -> Path:
    """Return the folder of an archive below `root`, unpacking the archive if necessary.

    An existing folder is used as it is, unless unpacking it was interrupted. Otherwise the archive is taken from
    `<root>/archives` or downloaded to there, and unpacked; it is not needed afterwards.

    Parameters
    ----------
    archive : Archive
        The archive.
    root : Path
        Folder of the corpus.
    server : Server
        Server with its files.
    wanted : callable
        Function that returns whether to unpack a member, by its name.

    Raises
    ------
    VouchError
        As from `fetch` and `unpack`, or the archive does not contain the folder.
    """
    folder, into = root / archive.folder, root / archive.into
    unfinished = into / f".{archive.name}.unpacking"
    if folder.is_dir() and any(folder.iterdir()) and not unfinished.exists():
        return folder
    whole = root / ARCHIVES / archive.name
    if archive.pieces and not whole.exists():
        files = [whole.with_name(piece) for piece in archive.pieces]
        for file, md5 in zip(files, archive.pieces.values(), strict=True):
            fetch(server, file.name, file, md5)
    else:
        files = [whole]
        fetch(server, archive.name, whole, archive.md5)
    into.mkdir(parents=True, exist_ok=True)
    with open_exclusive(unfinished):
        left_out = unpack(archive.name, files, into, wanted)
        if not folder.is_dir():
            raise VouchError(f"{archive.name}: there is no {archive.folder} in it")
        os.sync()  # before the folder counts as complete
        unfinished.unlink()
    if left_out:
        _LOG.warning(f"{archive.name}: {len(left_out)} links or devices left out, the first is {left_out[0]!a}")
    return folder
