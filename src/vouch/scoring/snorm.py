"""Normalises scores against a cohort of other speakers: z-, t-, s- and adaptive s-norm.

Scores are larger for the same speaker; cohort scores come from the same backend as those of the trials. The statistics
of a side depend on that side only, so they are computed once for each embedding, not for each trial.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from vouch.base.errors import VouchError

# Embeddings that are compared with the cohort at once, which bounds the memory for cohort scores.
_BLOCK = 512


class CohortStatistics(NamedTuple):
    """Mean and population standard deviation of the cohort scores of each embedding or trial side: (n,) float64."""

    mean: np.ndarray
    std: np.ndarray

    def take(self, index: np.ndarray | slice) -> CohortStatistics:
        """Return the statistics of the rows `index`."""
        return CohortStatistics(self.mean[index], self.std[index])


class Normalization(NamedTuple):
    """A formula (scores, enrol statistics, test statistics) -> scores, and whether it selects the top cohort scores."""

    formula: Callable[[np.ndarray, CohortStatistics, CohortStatistics], np.ndarray]
    adaptive: bool


def znorm(scores: np.ndarray, enrol: CohortStatistics, test: CohortStatistics) -> np.ndarray:
    """Normalise by the cohort scores of the enrolment side (Reynolds, 1997)."""
    return (scores - enrol.mean) / enrol.std


def tnorm(scores: np.ndarray, enrol: CohortStatistics, test: CohortStatistics) -> np.ndarray:
    """Normalise by the cohort scores of the test side (Auckenthaler et al., 2000)."""
    return (scores - test.mean) / test.std


def snorm(scores: np.ndarray, enrol: CohortStatistics, test: CohortStatistics) -> np.ndarray:
    """Return the mean of `znorm` and `tnorm`, which treats both sides alike (Kenny, 2010)."""
    return (znorm(scores, enrol, test) + tnorm(scores, enrol, test)) / 2


# "asnorm" is s-norm with statistics over the `top_n` highest cohort scores (Matejka et al., 2017).
SCORE_NORMALIZATIONS = {
    "znorm": Normalization(znorm, adaptive=False),
    "tnorm": Normalization(tnorm, adaptive=False),
    "snorm": Normalization(snorm, adaptive=False),
    "asnorm": Normalization(snorm, adaptive=True),
}


class CohortScores(NamedTuple):
    """Functions that score some embeddings against a whole cohort, (rows,) int -> (rows, size) float.

    Attributes
    ----------
    size : int
        Number of cohort members.
    of_enrol : callable
        Takes the embeddings as enrolments and the cohort as test utterances.
    of_test : callable
        Takes the embeddings as test utterances and the cohort as enrolments; the same function for a symmetric score.
    """

    size: int
    of_enrol: Callable[[np.ndarray], np.ndarray]
    of_test: Callable[[np.ndarray], np.ndarray]


def trial_statistics(
    scores: CohortScores,
    names: Sequence[str],
    enrol_index: np.ndarray,
    test_index: np.ndarray,
    top_n: int | None = None,
    enrol_names: Sequence[str] | None = None,
) -> tuple[CohortStatistics, CohortStatistics]:
    """Return the cohort statistics of the enrolment and of the test side of each trial.

    Parameters
    ----------
    scores : CohortScores
        Scores of the embeddings against the cohort; `names` holds the id of each embedding.
    enrol_index, test_index : (trials,) int array
        Rows of the embeddings.
    top_n : int, optional
        See `cohort_statistics`, also for the errors raised.
    enrol_names : sequence of str, optional
        Ids of the enrolments, if they have rows of their own.
    """

    def of_used(score: Callable[[np.ndarray], np.ndarray], index: np.ndarray, names: Sequence[str]) -> CohortStatistics:
        used, position = np.unique(index, return_inverse=True)
        return cohort_statistics(score, scores.size, used, names, top_n).take(position)

    if scores.of_enrol is not scores.of_test:
        enrol = of_used(scores.of_enrol, enrol_index, names if enrol_names is None else enrol_names)
        return enrol, of_used(scores.of_test, test_index, names)
    # With a symmetric score, an embedding that occurs on both sides is scored only once.
    both = of_used(scores.of_enrol, np.concatenate([enrol_index, test_index]), names)
    return both.take(slice(len(enrol_index))), both.take(slice(len(enrol_index), None))


def cohort_statistics(
    score: Callable[[np.ndarray], np.ndarray],
    size: int,
    rows: np.ndarray,
    names: Sequence[str],
    top_n: int | None = None,
) -> CohortStatistics:
    """Return mean and standard deviation of the cohort scores of each embedding.

    Parameters
    ----------
    score : callable
        One of the functions of `CohortScores`.
    size : int
        Number of cohort members.
    rows : (n,) int array
        Rows of the embeddings, without repetition.
    names : sequence of str
        Ids of all embeddings, by row, for the message.
    top_n : int, optional
        Number of highest scores to use; None: all.

    Returns
    -------
    CohortStatistics of (n,) float64

    Raises
    ------
    VouchError
        `top_n` is not between 2 and the size of the cohort, or all scores used are equal.
    """
    if size < 2:
        raise VouchError(f"a cohort needs at least 2 embeddings to have a spread, this one has {size}")
    if top_n is not None and not 2 <= top_n <= size:
        raise VouchError(f"top-n is {top_n}, but must be between 2 and the size of the cohort, {size}")
    mean, std, least = np.empty(len(rows)), np.empty(len(rows)), np.empty(len(rows))
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        scores = np.ascontiguousarray(score(rows[block]))
        if top_n is not None and top_n < size:
            scores.partition(size - top_n, axis=1)
            scores = scores[:, size - top_n :]
        mean[block] = scores.mean(axis=1, dtype=np.float64)
        std[block] = scores.std(axis=1, dtype=np.float64)
        # Equal cohort embeddings give scores that differ by rounding only, relative to 1 for cosines, else to their
        # size.
        least[block] = 8 * np.finfo(scores.dtype).eps * np.maximum(1, np.abs(mean[block]))
    flat = np.flatnonzero(std <= least)
    if len(flat):
        raise VouchError(
            f"'{names[rows[flat[0]]]}': the {top_n or size} cohort scores are all {mean[flat[0]]:.4f} and have no"
            f" spread to divide by ({len(flat)} such); take a cohort of more, different speakers"
        )
    return CohortStatistics(mean, std)
