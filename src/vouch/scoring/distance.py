"""Scores trials by the mean distance between several crops of each utterance (numpy only).

Chung et al., "In defence of metric learning for speaker recognition", 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vouch.base.errors import VouchError
from vouch.scoring.cosine import normalize_length
from vouch.stores.features import FeatureStore

# Numbers in a gathered block of crops, which fits into the cache.
_BLOCK_NUMBERS = 1 << 18
# Distances to a cohort's crops that are computed at once, which bounds the memory.
_BLOCK_DISTANCES = 1 << 22


def load_crops(embedding_scp: str | Path, normalize: bool = True) -> tuple[list[str], np.ndarray]:
    """Read the embeddings of crops, and scale each to length 1.

    Parameters
    ----------
    embedding_scp : str or Path
        Table of `utterance file.ark:offset` for (crops, dim) matrices; a vector is one crop.
    normalize : bool
        Whether to scale; voxceleb_trainer does not, for networks trained with the prototypical loss.

    Returns
    -------
    names : list of str
        In file order.
    embeddings : (n, crops, dim) float32 ndarray

    Raises
    ------
    VouchError
        A matrix cannot be read, has another number of crops than the first, or has NaN or a crop that is zero.
    """
    store = FeatureStore(embedding_scp, vectors=True)
    crops = int(store.lengths[0])
    other = np.flatnonzero(store.lengths != crops)
    if len(other):
        name, number = store.utterances[other[0]], store.lengths[other[0]]
        raise VouchError(f"{embedding_scp}: '{name}' has {number} crops, the utterances before it have {crops}")
    embeddings = np.stack([store.matrix(row) for row in range(len(store))])
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=(1, 2)))
    if len(bad):
        raise VouchError(f"{embedding_scp}: '{store.utterances[bad[0]]}' holds NaN or infinity ({len(bad)} such)")
    if normalize:
        flat = normalize_length(embeddings.reshape(-1, store.dim), _Repeated(store.utterances, crops))
        embeddings = flat.reshape(embeddings.shape)
    return store.utterances, embeddings


class _Repeated(Sequence[str]):
    """Sequence that repeats each name several times in a row, without storing the repetitions."""

    def __init__(self, names: Sequence[str], times: int) -> None:
        self._names, self._times = names, times

    def __len__(self) -> int:
        return len(self._names) * self._times

    def __getitem__(self, index: int) -> str:  # type: ignore[override]  # nobody takes slices of it
        return self._names[index // self._times]


class CropDistances(NamedTuple):
    """Negative mean Euclidean distance over all pairs of crops of both sides, from -2 to 0 for crops of length 1.

    Attributes
    ----------
    enrol, test : (n, crops, dim) and (m, crops, dim) float array
    """

    enrol: np.ndarray
    test: np.ndarray

    def pairs(self, enrol_index: np.ndarray, test_index: np.ndarray) -> np.ndarray:
        """Return the score of each pair of rows, (trials,) float64."""
        scores = np.empty(len(enrol_index))
        size = max(1, _BLOCK_NUMBERS // (self.enrol.shape[1] * self.enrol.shape[2]))
        for start in range(0, len(scores), size):
            block = slice(start, start + size)
            enrol, test = self.enrol[enrol_index[block]], self.test[test_index[block]]
            scores[block] = -_distances(enrol, test).mean(axis=(1, 2))
        return scores

    def matrix(self, enrol_index: np.ndarray | slice, test_index: np.ndarray | slice) -> np.ndarray:
        """Return the scores of some rows of `enrol` with some rows of `test`, (rows, others) float64."""
        enrol, test = self.enrol[enrol_index], self.test[test_index]
        (rows, crops, dim), others = enrol.shape, test.shape[1]
        scores = np.empty((rows, len(test)))
        size = max(1, _BLOCK_DISTANCES // (rows * crops * others))
        for start in range(0, len(test), size):
            some = test[start : start + size]
            each = _distances(enrol.reshape(-1, dim), some.reshape(-1, dim))
            scores[:, start : start + size] = -each.reshape(rows, crops, len(some), others).mean(axis=(1, 3))
        return scores


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return (..., a, b) float64 distances of (..., a, dim) and (..., b, dim)."""
    # In float64, with squared lengths of the rounded vectors: for similar crops, |a|^2 + |b|^2 - 2 a.b cancels.
    first, second = first.astype(np.float64), second.astype(np.float64)
    squares = (first**2).sum(axis=-1)[..., :, None] + (second**2).sum(axis=-1)[..., None, :]
    return np.sqrt(np.maximum(squares - 2 * first @ second.swapaxes(-1, -2), 0))
