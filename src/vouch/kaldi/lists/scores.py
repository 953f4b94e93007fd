"""Reads and writes score files, `enrol-id test-id score`, and matches them with the labels of a trial list."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vouch.base.errors import VouchError
from vouch.base.files import atomic_write
from vouch.base.numbers import plain_float
from vouch.kaldi.lists.scoretext import score_lines
from vouch.kaldi.lists.trials import Trials
from vouch.kaldi.lists.triples import Form, iterate_triples

# Number of scores that are written at once, which bounds the additional memory.
_LINES = 1 << 16


class Scores(NamedTuple):
    """Scored trials, in file order.

    Attributes
    ----------
    enrol, test : (trials,) list of str
    score : (trials,) float64 ndarray
        Finite, larger for the same speaker.
    """

    enrol: list[str]
    test: list[str]
    score: np.ndarray


def _is_number(word: str) -> bool:
    try:
        plain_float(word)
    except ValueError:
        return False
    return True


_FORM = Form("<enrol-id> <test-id> <score>", _is_number)


def read_scores(path: str | Path) -> Scores:
    """Read a score file; `VouchError` names file and line of a malformed line or a score that is not finite."""
    enrol: list[str] = []
    test: list[str] = []
    scores: list[float] = []
    for triples in iterate_triples(path, _FORM):
        *ids, texts = triples.words()
        try:
            # Checks at once, on all lines, the conditions of `plain_float`.
            joined = "".join(texts)
            scores += map(float if joined.isascii() and "_" not in joined else plain_float, texts)
        except ValueError:
            row = next(row for row, text in enumerate(texts) if not _is_number(text))
            raise _FORM.refuse(path, triples.before + row + 1, triples.line(row)) from None
        enrol += ids[0]
        test += ids[1]
    score = np.array(scores)
    if not np.isfinite(score).all():
        number = next(number for number, value in enumerate(scores, start=1) if not math.isfinite(value))
        raise VouchError(f"{path}:{number}: the score is not a finite number; find out what went wrong in scoring")
    return Scores(enrol, test, score)


def write_scores(path: str | Path, scores: Scores) -> None:
    """Write a score file, whole or not at all, with 9 digits, which distinguish any two float32 numbers."""
    pairs = [f"{enrol} {test} ".encode() for enrol, test in zip(scores.enrol, scores.test, strict=True)]
    if len(pairs) != len(scores.score):
        raise ValueError(f"{len(pairs)} trials, but {len(scores.score)} scores")
    with atomic_write(path, "wb") as file:
        for start in range(0, len(pairs), _LINES):
            block = pairs[start : start + _LINES]
            ends = np.cumsum(np.fromiter(map(len, block), np.int64, len(block)))
            text = np.frombuffer(b"".join(block), np.uint8)
            starts = np.concatenate([[0], ends[:-1]])
            file.write(score_lines(text, starts, ends, scores.score[start : start + _LINES]))


def join_scores(
    trials: Trials, scores: Scores, trials_path: str | Path, scores_path: str | Path, allow_missing: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Match scores with the labels of trials.

    Parameters
    ----------
    trials, scores : Trials, Scores
        The two may be in different orders.
    trials_path, scores_path : str or Path
        Their files, for messages.
    allow_missing : bool
        Whether to leave out trials without a score instead of raising an error.

    Returns
    -------
    score : (scored trials,) float64 ndarray
    is_target : (scored trials,) bool ndarray

    Raises
    ------
    VouchError
        A score has no trial, a trial has no score, or a trial has two different scores or labels; the message names
        file and line.
    """
    _check_labels(trials, trials_path)
    if trials.enrol == scores.enrol and trials.test == scores.test:
        if _may_repeat(scores):
            _by_pair(scores, scores_path)
        return scores.score, trials.is_target
    by_pair = _by_pair(scores, scores_path)
    pairs = list(zip(trials.enrol, trials.test, strict=True))
    listed = set(pairs)
    for number, pair in enumerate(zip(scores.enrol, scores.test, strict=True), start=1):
        if pair not in listed:
            raise VouchError(f"{scores_path}:{number}: '{pair[0]} {pair[1]}' is not a trial of {trials_path}")
    # Scores are never NaN, so NaN can mark a missing one.
    score = np.fromiter((by_pair.get(pair, math.nan) for pair in pairs), np.float64, len(pairs))
    scored = ~np.isnan(score)
    if not allow_missing and not scored.all():
        row = int(np.argmin(scored))
        raise VouchError(
            f"{trials_path}:{row + 1}: '{' '.join(pairs[row])}' has no score in {scores_path}"
            f" ({len(pairs) - np.count_nonzero(scored)} such)"
        )
    return score[scored], trials.is_target[scored]


def _may_repeat(listed: Trials | Scores) -> bool:
    """Return whether a pair occurs twice, or two pairs have the same hash."""
    hashes = np.fromiter(map(hash, zip(listed.enrol, listed.test, strict=True)), np.int64, len(listed.enrol))
    return len(np.unique(hashes)) < len(hashes)


def _check_labels(trials: Trials, path: str | Path) -> None:
    if not _may_repeat(trials):
        return
    labels: dict[tuple[str, str], bool] = {}
    for number, (enrol, test, label) in enumerate(zip(*trials, strict=True), start=1):
        if labels.setdefault((enrol, test), label) != label:
            raise VouchError(f"{path}:{number}: '{enrol} {test}' is a target trial and a non-target trial; keep one")


def _by_pair(scores: Scores, path: str | Path) -> dict[tuple[str, str], float]:
    by_pair: dict[tuple[str, str], float] = {}
    rows = zip(scores.enrol, scores.test, scores.score.tolist(), strict=True)
    for number, (enrol, test, score) in enumerate(rows, start=1):
        # Trial lists sometimes repeat trials, which is harmless if the scores agree.
        if by_pair.setdefault((enrol, test), score) != score:
            raise VouchError(
                f"{path}:{number}: '{enrol} {test}' has score {score:.9g} here and"
                f" {by_pair[enrol, test]:.9g} further up"
            )
    return by_pair
