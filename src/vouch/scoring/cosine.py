"""Computes cosine scores of trials, and mean embeddings of enrolments and cohort speakers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vouch.base.errors import VouchError

# Rows that are gathered at once. Both gathered blocks fit into the cache, which is several times faster than one
# gather.
_BLOCK = 256


def normalize_length(embeddings: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Scale embeddings to length 1.

    Parameters
    ----------
    embeddings : (n, dim) float array
    names : sequence of str
        Ids of the embeddings, for the message.

    Returns
    -------
    (n, dim) array of the same type

    Raises
    ------
    VouchError
        An embedding is zero and has no direction; the message names it.
    """
    # Squares of very large and very small numbers overflow or vanish in single precision.
    with np.errstate(over="ignore"):
        length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    extreme = np.flatnonzero(~((length > 1e-15) & (length < 1e15)))
    if len(extreme):
        largest = np.abs(embeddings[extreme]).max(axis=1, keepdims=True)
        zero = extreme[largest[:, 0] == 0]
        if len(zero):
            raise VouchError(
                f"'{names[zero[0]]}': the embedding is zero and has no direction ({len(zero)} such); extract it again"
            )
        embeddings = embeddings.copy()
        embeddings[extreme] /= largest
        length[extreme] = np.linalg.norm(embeddings[extreme], axis=1, keepdims=True)
    return embeddings / length


def mean_directions(unit: np.ndarray, groups: Sequence[Sequence[int] | np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Average groups of length-normalised embeddings and scale the means to length 1.

    Each utterance has the same weight, whatever the length of its embedding.

    Parameters
    ----------
    unit : ndarray
        (n, dim) float array of length 1 each.
    groups : sequence of sequence of int or ndarray
        Rows of `unit` in each group, at least one per group.
    names : sequence of str
        Names of the groups, for the message.

    Returns
    -------
    (groups, dim) array of the same type

    Raises
    ------
    VouchError
        The embeddings of a group sum to zero.
    """
    means = np.stack([unit[list(rows)].mean(axis=0) for rows in groups])
    return normalize_length(means, names)


def score_trials(unit: np.ndarray, enrol_index: np.ndarray, test_index: np.ndarray) -> np.ndarray:
    """Return the cosine of the angle between the two sides of each trial.

    Parameters
    ----------
    unit : (n, dim) float array
        Embeddings of length 1 (see `normalize_length`), without repetition.
    enrol_index, test_index : (trials,) int array
        Rows of `unit`.

    Returns
    -------
    (trials,) array of the same type
        From -1 to 1.
    """
    return dot_trials(unit, unit, enrol_index, test_index)


def dot_trials(enrol: np.ndarray, test: np.ndarray, enrol_index: np.ndarray, test_index: np.ndarray) -> np.ndarray:
    """Return the dot product of the two vectors of each trial.

    Parameters
    ----------
    enrol, test : (n, dim) and (m, dim) float array
    enrol_index, test_index : (trials,) int array
        Rows of `enrol` and of `test`.

    Returns
    -------
    (trials,) array of the type of `enrol`
    """
    scores = np.empty(len(enrol_index), enrol.dtype)
    left, right = (np.empty((_BLOCK, side.shape[1]), side.dtype) for side in (enrol, test))
    for start in range(0, len(scores), _BLOCK):
        block = slice(start, start + _BLOCK)
        rows = len(scores[block])
        # Gathers into existing memory; with mode "raise", numpy would make a copy first.
        np.take(enrol, enrol_index[block], axis=0, out=left[:rows], mode="wrap")
        np.take(test, test_index[block], axis=0, out=right[:rows], mode="wrap")
        np.einsum("ij,ij->i", left[:rows], right[:rows], out=scores[block])
    return scores


class Cosine(NamedTuple):
    """Cosines between two collections of embeddings.

    Attributes
    ----------
    enrol, test : ndarray
        (n, dim) and (m, dim) float array of length 1 each.
    """

    enrol: np.ndarray
    test: np.ndarray

    def pairs(self, enrol_index: np.ndarray, test_index: np.ndarray) -> np.ndarray:
        """Return the score of each pair of rows, (trials,)."""
        return dot_trials(self.enrol, self.test, enrol_index, test_index)

    def matrix(self, enrol_index: np.ndarray | slice, test_index: np.ndarray | slice) -> np.ndarray:
        """Return the scores of some rows of `enrol` with some rows of `test`, (rows, others)."""
        return self.enrol[enrol_index] @ self.test[test_index].T
