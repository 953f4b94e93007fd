"""Reads lists of recordings without speakers, for example to extract embeddings."""

from __future__ import annotations

from pathlib import Path

from vouch.base.errors import VouchError
from vouch.base.rxfilename import parse_place
from vouch.kaldi.datadirs.datadir import DataDir, Segment
from vouch.kaldi.tables import iterate_lines


def read_wav_list(path: str | Path) -> DataDir:
    """Read a list of recordings, in any order, as a sorted data directory without speakers.

    Each line is a file, which is also the utterance id, or an id followed, as in `wav.scp`, by a file or a command that
    ends in `|`. The first line decides between the two forms. Paths are relative to the current directory.

    Parameters
    ----------
    path : str or Path
        The list.

    Returns
    -------
    DataDir
        A directory at the path of the list, with only `wav_scp` and `segments`.

    Raises
    ------
    VouchError
        The list is empty or not text, a line has the other form, an id is repeated, or a file is missing.
    """
    wav_scp: dict[str, str] = {}
    lines: dict[str, int] = {}
    has_ids = False
    for number, line in enumerate(iterate_lines(path), start=1):
        where, fields = f"{path}:{number}", line.split(maxsplit=1)
        if not fields:
            raise VouchError(f"{where}: blank line; each line is a file, or '<id> <file or command |>'")
        if number == 1:
            has_ids = len(fields) == 2
        if has_ids != (len(fields) == 2):
            forms = ("a file alone", "an id and a file")
            raise VouchError(
                f"{where}: '{line.strip()}' is {forms[not has_ids]}, the first line {forms[has_ids]}; every line must"
                " be of one form, and a name with blanks needs an id before it"
            )
        key, wav = fields[0], fields[-1].rstrip()
        if key in lines:
            raise VouchError(f"{where}: '{key}' is repeated, it is on line {lines[key]} too")
        _check_exists(wav, where, has_ids)
        wav_scp[key], lines[key] = wav, number
    wav_scp = dict(sorted(wav_scp.items()))
    return DataDir(Path(path), {}, wav_scp, {key: Segment(key) for key in wav_scp}, {})


def _check_exists(wav: str, where: str, has_id: bool) -> None:
    try:
        source = parse_place(wav)
    except VouchError as error:
        raise VouchError(f"{where}: {error}") from None
    if source.is_pipe and not has_id:
        raise VouchError(f"{where}: '{wav}': a command needs an id before it")
    if not (source.is_pipe or Path(source.name).is_file()):
        raise VouchError(
            f"{where}: '{wav}': no such file; relative names are relative to the current directory, and a name with"
            " blanks needs an id before it"
        )
