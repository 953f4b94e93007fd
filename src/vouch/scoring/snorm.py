"""Score normalisation against a cohort of other speakers: z-, t-, s- and adaptive s-norm.

Scores are cosines, larger for the same speaker. What the cohort scores of a side are depends on that side alone, so
they are computed once for each embedding and not for each trial.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from vouch.errors import VouchError

# Embeddings compared with the cohort at once; it bounds the memory to that many rows of cohort scores.
_BLOCK = 512


class CohortStatistics(NamedTuple):
    """Mean and population standard deviation of the cohort scores of each embedding or trial side: (n,) float64."""

    mean: np.ndarray
    std: np.ndarray

    def take(self, index: np.ndarray) -> CohortStatistics:
        """Return the statistics of the rows `index`."""
        return CohortStatistics(self.mean[index], self.std[index])


class Normalization(NamedTuple):
    """A formula (scores, enrol statistics, test statistics) -> scores, and whether its cohort is adaptive."""

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


# "asnorm" is s-norm whose statistics are those of the `top_n` highest cohort scores (Matejka et al., 2017).
NORMALIZATIONS = {
    "znorm": Normalization(znorm, adaptive=False),
    "tnorm": Normalization(tnorm, adaptive=False),
    "snorm": Normalization(snorm, adaptive=False),
    "asnorm": Normalization(snorm, adaptive=True),
}


def trial_statistics(
    unit: np.ndarray,
    names: Sequence[str],
    enrol_index: np.ndarray,
    test_index: np.ndarray,
    cohort: np.ndarray,
    top_n: int | None = None,
) -> tuple[CohortStatistics, CohortStatistics]:
    """Return the cohort statistics of the enrolment and of the test side of each trial.

    Parameters
    ----------
    unit : (n, dim) float array of length 1 each, whose `names` are (n,) of str
    enrol_index, test_index : (trials,) int array, rows of `unit`
    cohort, top_n : as for `cohort_statistics`, which also says what is raised
    """
    used, position = np.unique(np.concatenate([enrol_index, test_index]), return_inverse=True)
    statistics = cohort_statistics(unit[used], [names[row] for row in used], cohort, top_n)
    enrol, test = np.split(position, 2)
    return statistics.take(enrol), statistics.take(test)


def cohort_statistics(
    unit: np.ndarray, names: Sequence[str], cohort: np.ndarray, top_n: int | None = None
) -> CohortStatistics:
    """Return mean and spread of the scores of each embedding against the cohort.

    Parameters
    ----------
    unit : (n, dim) float array
        embeddings of length 1, each once
    names : (n,) of str
        whose they are, for the message
    cohort : (size, dim) float array of length 1 each
    top_n : how many of the highest scores count; None counts all

    Returns
    -------
    CohortStatistics of (n,) float64

    Raises
    ------
    VouchError
        the cohort has another dimension, `top_n` is not between 2 and its size, or the scores that count are all equal
    """
    size = len(cohort)
    if unit.shape[1] != cohort.shape[1]:
        raise VouchError(
            f"the cohort's embeddings have {cohort.shape[1]} dimensions and those of the trials {unit.shape[1]};"
            " extract both with the same model"
        )
    if size < 2:
        raise VouchError(f"a cohort needs at least 2 embeddings to have a spread, this one has {size}")
    if top_n is not None and not 2 <= top_n <= size:
        raise VouchError(f"top-n is {top_n}, but must be between 2 and the size of the cohort, {size}")
    mean, std = np.empty(len(unit)), np.empty(len(unit))
    for start in range(0, len(unit), _BLOCK):
        block = slice(start, start + _BLOCK)
        scores = unit[block] @ cohort.T
        if top_n is not None and top_n < size:
            scores.partition(size - top_n, axis=1)
            scores = scores[:, size - top_n :]
        mean[block] = scores.mean(axis=1, dtype=np.float64)
        std[block] = scores.std(axis=1, dtype=np.float64)
    # Equal cohort embeddings give scores that differ by rounding alone.
    flat = np.flatnonzero(std <= 8 * np.finfo(unit.dtype).eps)
    if len(flat):
        raise VouchError(
            f"'{names[flat[0]]}': the {top_n or size} cohort scores are all {mean[flat[0]]:.4f} and have no spread to"
            f" divide by ({len(flat)} such); take a cohort of more, different speakers"
        )
    return CohortStatistics(mean, std)
