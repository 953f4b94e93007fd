"""Reads or computes quality measures of the two sides of trials, for calibration (numpy only)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vouch.base.errors import VouchError
from vouch.base.numbers import plain_float
from vouch.kaldi.matrices.mapped import read_vectors
from vouch.kaldi.tables import read_table
from vouch.scoring.backends import CosineBackend, cohort_scores
from vouch.scoring.sides import check_rows, load_cohort, load_sides, read_enrolments, rows_of
from vouch.scoring.snorm import cohort_statistics


class Quality(NamedTuple):
    """Values of a quality measure for enrolments and test utterances.

    Attributes
    ----------
    values : (n,) float64 ndarray
    enrol, test : mapping of str to int
        Index of each id in `values`.
    enrol_source, test_source : str or Path
        Files of the ids, for messages.
    """

    values: np.ndarray
    enrol: Mapping[str, int]
    test: Mapping[str, int]
    enrol_source: str | Path
    test_source: str | Path

    def of_trials(self, enrol: Sequence[str], test: Sequence[str], listed_in: str | Path) -> np.ndarray:
        """Return (trials, 2) float64, enrolment and test side; `VouchError` names line and id of an unknown id."""
        index = rows_of(enrol, self.enrol), rows_of(test, self.test)
        check_rows(index[0], enrol, listed_in, self.enrol_source)
        check_rows(index[1], test, listed_in, self.test_source)
        return self.values[np.stack(index, axis=1)]


def load_log_durations(utt2dur: str | Path, enrol_map: str | Path | None = None) -> Quality:
    """Read logarithms of durations in seconds; an enrolment has the sum of its utterances' durations.

    Raises
    ------
    VouchError
        A duration is not a positive number; the message names file and line.
    """
    table = read_table(utt2dur)
    seconds = np.empty(len(table))
    for row, (utterance, text) in enumerate(table.items()):
        try:
            seconds[row] = plain_float(text)
        except ValueError:
            seconds[row] = np.nan
        if not 0 < seconds[row] < np.inf:
            raise VouchError(f"{utt2dur}:{row + 1}: '{utterance} {text}' is not a duration in seconds")
    return _with_enrolments(list(table), seconds, np.sum, utt2dur, enrol_map, np.log)


def load_magnitudes(embedding_scp: str | Path, enrol_map: str | Path | None = None) -> Quality:
    """Read lengths of embeddings before normalisation; an enrolment has the mean over its utterances."""
    names, embeddings = read_vectors(embedding_scp)
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    return _with_enrolments(names, lengths, np.mean, embedding_scp, enrol_map)


def load_cohort_means(
    embedding_scp: str | Path,
    cohort_scp: str | Path,
    cohort_utt2spk: str | Path | None = None,
    enrol_map: str | Path | None = None,
    top_n: int | None = None,
) -> Quality:
    """Compute the mean cosine to all of a cohort, or to its `top_n` nearest members as in adaptive s-norm.

    `vouch.scoring.sides.load_sides` and `load_cohort` describe how enrolments and cohort speakers are averaged.
    """
    sides = load_sides(embedding_scp, enrol_map)
    scores = cohort_scores(CosineBackend(), sides, load_cohort(cohort_scp, cohort_utt2spk))
    means = cohort_statistics(scores.of_enrol, scores.size, np.arange(len(sides.unit)), sides.names, top_n).mean
    return Quality(means, sides.enrol, sides.test, enrol_map or embedding_scp, embedding_scp)


def _with_enrolments(
    names: Sequence[str],
    values: np.ndarray,
    combine: Callable[[np.ndarray], float],
    source: str | Path,
    enrol_map: str | Path | None,
    finish: Callable[[np.ndarray], np.ndarray] = np.positive,
) -> Quality:
    """Append the combined values of mapped enrolments, and apply `finish` to all values."""
    rows = {name: row for row, name in enumerate(names)}
    if enrol_map is None:
        return Quality(finish(values), rows, rows, source, source)
    enrolments = read_enrolments(enrol_map, rows, source)
    combined = [combine(values[members]) for members in enrolments.values()]
    enrol = {name: len(names) + at for at, name in enumerate(enrolments)}
    return Quality(finish(np.concatenate([values, combined])), enrol, rows, enrol_map, source)
