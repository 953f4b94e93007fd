"""Which score file a result was computed from, and whether that file is still there and the same."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from vouch.base.errors import VouchError
from vouch.kaldi.lineage.digests import digest_file
from vouch.kaldi.lineage.records import check_current


class ScoreSource(NamedTuple):
    """A score file as a result remembers it.

    Attributes
    ----------
    path : str
        Relative to the folder of the result if the file is below the folder above that one, as all of an experiment is,
        which may be moved as a whole; otherwise absolute.
    sha256 : str
        Digest of its bytes, in hexadecimal.
    """

    path: str
    sha256: str


def identify(scores: str | Path, folder: str | Path) -> ScoreSource | None:
    """Return the record of a score file for a result in `folder`, which need not exist yet; None for a pipe.

    Raises
    ------
    VouchError
        The file cannot be read.
    """
    if not Path(scores).is_file():
        return None  # what came through a pipe cannot be looked at again
    path, folder = Path(scores).resolve(), Path(folder).resolve()
    above = folder.parent
    if path.is_relative_to(folder):
        shown = path.relative_to(folder)
    elif path.is_relative_to(above):
        shown = Path("..") / path.relative_to(above)
    else:
        shown = path
    return ScoreSource(str(shown), digest_file(path))


def why_outdated(source: ScoreSource, folder: str | Path) -> str | None:
    """Say why a result in `folder` is no longer that of its score file; None: it is.

    The file is gone, holds something else, or should be made again by what its own record says
    (`vouch.kaldi.lineage.records`).
    """
    path = Path(folder).resolve() / source.path
    if not path.is_file():
        return f"{source.path} is gone"
    try:
        if digest_file(path) != source.sha256:
            return f"{source.path} has changed since"
        check_current(path)
    except VouchError as error:
        return str(error)
    return None
