"""Cosine scores of trials, and the means of embeddings that stand for an enrolment or a cohort speaker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vouch.errors import VouchError

# Rows gathered at once. Both gathered blocks fit the cache, which makes scoring several times faster than one gather.
_BLOCK = 2048


def normalize_length(embeddings: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Scale embeddings to length 1.

    Parameters
    ----------
    embeddings : (n, dim) float array
    names : (n,) of str, whose they are

    Returns
    -------
    (n, dim) array of the same type

    Raises
    ------
    VouchError : an embedding is zero and so has no direction; its name is given
    """
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    zero = np.flatnonzero(length == 0)
    if len(zero):
        raise VouchError(
            f"'{names[zero[0]]}': the embedding is zero and has no direction ({len(zero)} such); extract it again"
        )
    return embeddings / length


def mean_directions(unit: np.ndarray, groups: Sequence[Sequence[int]], names: Sequence[str]) -> np.ndarray:
    """Average groups of length-normalised embeddings and scale the means to length 1.

    Each utterance counts the same, whatever the length of its embedding.

    Parameters
    ----------
    unit : (n, dim) float array of length 1 each
    groups : rows of `unit` in each group, at least one
    names : of the groups, for the message

    Returns
    -------
    (groups, dim) array of the same type

    Raises
    ------
    VouchError : the embeddings of a group cancel out
    """
    means = np.stack([unit[list(rows)].mean(axis=0) for rows in groups])
    return normalize_length(means, names)


def score_trials(unit: np.ndarray, enrol_index: np.ndarray, test_index: np.ndarray) -> np.ndarray:
    """Return the cosine of the angle between the two sides of each trial.

    Parameters
    ----------
    unit : (n, dim) float array
        embeddings of length 1 (`normalize_length`), each once
    enrol_index, test_index : (trials,) int array
        rows of `unit`

    Returns
    -------
    (trials,) array of the same type, from -1 to 1
    """
    return dot_trials(unit, unit, enrol_index, test_index)


def dot_trials(enrol: np.ndarray, test: np.ndarray, enrol_index: np.ndarray, test_index: np.ndarray) -> np.ndarray:
    """Return the dot product of the two vectors of each trial.

    Parameters
    ----------
    enrol, test : (n, dim) and (m, dim) float array
    enrol_index, test_index : (trials,) int array, rows of these

    Returns
    -------
    (trials,) array of the type of `enrol`
    """
    scores = np.empty(len(enrol_index), enrol.dtype)
    for start in range(0, len(scores), _BLOCK):
        block = slice(start, start + _BLOCK)
        np.einsum("ij,ij->i", enrol[enrol_index[block]], test[test_index[block]], out=scores[block])
    return scores
