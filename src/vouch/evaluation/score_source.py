"""Records which score file a result was computed from, and checks whether that file has changed."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from vouch.base.errors import VouchError
from vouch.kaldi.lineage.digests import digest_file
from vouch.kaldi.lineage.records import check_current


class ScoreSource(NamedTuple):
    """Reference from a result to its score file.

    Attributes
    ----------
    path : str
        Relative to the folder of the result if the file is below that folder's parent, so that an experiment can be
        moved as a whole; otherwise absolute.
    sha256 : str
        SHA-256 digest of its bytes, in hexadecimal.
    """

    path: str
    sha256: str


def identify(scores: str | Path, folder: str | Path) -> ScoreSource | None:
    """Return the reference to a score file for a result in `folder`, which need not exist yet; None for a pipe.

    Raises
    ------
    VouchError
        The file cannot be read.
    """
    if not Path(scores).is_file():
        return None  # a pipe cannot be read again for comparison
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
    """Return the reason why the score file no longer gives a result in `folder`; None if it does.

    The file is gone, has changed, or is itself outdated according to its own record (`vouch.kaldi.lineage.records`).
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
