"""Reads and writes trial lists, `enrol-id test-id target|nontarget`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vouch.base.files import write_text
from vouch.kaldi.lists.triples import Form, Triples, iterate_triples, parse_triples

LABELS = {"target": True, "nontarget": False}
_FORM = Form("<enrol-id> <test-id> target|nontarget", LABELS.__contains__)
_LIST_NAME = re.compile(r"trials(_[A-Za-z0-9_-]+)?")
_NO_LETTER = re.compile(r"[^A-Za-z0-9_-]")
# The last blank of a line and what follows it, as integers of eight bytes, to compare whole columns at once.
_TARGET, _NONTARGET, _REST = np.frombuffer(b" target\n nontargntarget\n", "<u8")


def trial_lists(folder: Path) -> list[Path]:
    """Return the trial lists of a data directory, sorted: `trials` and `trials_NAME`, without backup copies.

    A NAME consists of letters A to Z, a to z, digits, `_` and `-`, which excludes `trials~`, `trials.bak` and
    `trials_easy.orig`.
    """
    return sorted(path for path in folder.glob("trials*") if _LIST_NAME.fullmatch(path.name))


def list_name(name: str) -> str:
    """Return `trials_NAME`, with `_` for characters that are not allowed in a NAME, see `trial_lists`."""
    return f"trials_{_NO_LETTER.sub('_', name)}"


class Trials(NamedTuple):
    """A trial list, in file order.

    Attributes
    ----------
    enrol, test : (trials,) list of str
    is_target : (trials,) bool ndarray
    """

    enrol: list[str]
    test: list[str]
    is_target: np.ndarray


def read_trials(path: str | Path) -> Trials:
    """Read a Kaldi trial list; `VouchError` names file and line of a malformed line."""
    enrol: list[str] = []
    test: list[str] = []
    is_target: list[np.ndarray] = []
    for triples in iterate_triples(path, _FORM):
        is_target.append(_labels(triples, path))
        for column, words in zip((enrol, test), triples.words(), strict=False):
            column += words
    return Trials(enrol, test, np.concatenate(is_target))


def parse_trials(block: bytes, before: int, path: str | Path) -> Triples:
    """Find the fields in a block of whole lines of a trial list.

    Parameters
    ----------
    block : bytes
        Whole lines, from `vouch.kaldi.tables.iterate_blocks`.
    before : int
        Number of lines of the file before the block.
    path : str or Path
        The file, for messages.

    Raises
    ------
    VouchError
        A line is malformed; the message names file and line.
    """
    triples = parse_triples(block, before, path, _FORM)
    _labels(triples, path)
    return triples


def _labels(triples: Triples, path: str | Path) -> np.ndarray:
    """Return (lines,) bool, whether each line is a target trial."""
    words: np.ndarray = np.ndarray(len(triples.text) - 7, "<u8", triples.text, strides=(1,))
    blank, end = triples.ends[:, 1], triples.ends[:, 2]
    is_target = words[blank] == _TARGET
    others = np.flatnonzero(~is_target)
    is_nontarget = (end[others] - blank[others] == 10) & (words[blank[others]] == _NONTARGET)
    is_nontarget &= words[end[others] - 7] == _REST
    if not is_nontarget.all():
        row = int(others[np.argmin(is_nontarget)])
        raise _FORM.refuse(path, triples.before + row + 1, triples.line(row))
    return is_target


def write_trials(path: str | Path, trials: Trials) -> None:
    """Write a Kaldi trial list, whole or not at all."""
    rows = zip(trials.enrol, trials.test, trials.is_target, strict=True)
    write_text(path, "".join(f"{enrol} {test} {'target' if t else 'nontarget'}\n" for enrol, test, t in rows))
