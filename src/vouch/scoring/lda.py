"""Linear discriminant analysis: an affine map to the dimensions that separate speakers best (numpy only)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vouch.base.errors import VouchError

# Floor of the variances that are divided by, relative to the largest.
_VARIANCE_FLOOR = 1e-6


def train_lda(
    vectors: np.ndarray, groups: Sequence[Sequence[int]], dim: int, total_covariance_factor: float = 0.0
) -> np.ndarray:
    """Estimate the map as in Kaldi's ivector-compute-lda.

    Parameters
    ----------
    vectors : (n, size) float array
    groups : sequence of sequence of int
        Rows of `vectors` of each speaker, at least one; rows in no group are not used.
    dim : int
        Number of dimensions to keep.
    total_covariance_factor : float
        Weight of the total covariance in the covariance that becomes the identity; the rest is the within-speaker one.

    Returns
    -------
    (dim, size + 1) float64 ndarray
        The last column is the offset; see `apply_affine`.

    Raises
    ------
    VouchError
        `dim` exceeds the embeddings' dimension or the number of speakers minus one, the factor is out of range, there
        are too few utterances, or no speaker has two of them.
    """
    size = vectors.shape[1]
    rows = np.concatenate([np.asarray(group, np.intp) for group in groups])
    if not 1 <= dim <= size:
        raise VouchError(f"LDA to {dim} dimensions: must be between 1 and {size}, those of the embeddings")
    if dim >= len(groups):
        raise VouchError(
            f"LDA to {dim} dimensions: {len(groups)} {'speaker differs' if len(groups) == 1 else 'speakers differ'} in"
            f" {len(groups) - 1} directions at most; take fewer dimensions or more speakers"
        )
    if not 0 <= total_covariance_factor <= 1:
        raise VouchError(f"the total covariance factor is {total_covariance_factor}, but must be between 0 and 1")
    if len(rows) < size:
        raise VouchError(f"LDA of {size} dimensions needs as many utterances, these are {len(rows)}")
    if max(map(len, groups)) < 2:
        raise VouchError("LDA needs speakers with two or more utterances; here each has only one")
    mean = vectors[rows].mean(axis=0, dtype=np.float64)
    centred = vectors[rows] - mean
    total = centred.T @ centred / len(rows)
    # Each speaker's mean is weighted by the number of utterances.
    means = np.stack([np.sqrt(len(g)) * (vectors[list(g)].mean(axis=0, dtype=np.float64) - mean) for g in groups])
    between = means.T @ means / len(rows)
    variances, basis = np.linalg.eigh(
        total_covariance_factor * total + (1 - total_covariance_factor) * (total - between)
    )
    if variances[-1] <= 0:
        raise VouchError("LDA: the embeddings do not vary within speakers")
    whiten = basis.T / np.sqrt(np.maximum(variances, _VARIANCE_FLOOR * variances[-1]))[:, None]
    _, directions = np.linalg.eigh(whiten @ between @ whiten.T)
    matrix = directions.T[::-1][:dim] @ whiten
    return np.concatenate([matrix, -(matrix @ mean)[:, None]], axis=1)


def apply_affine(matrix: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return `matrix` times each vector; an additional column of the matrix is an offset, as in Kaldi's transform-vec.

    Parameters
    ----------
    matrix : (dim, size) or (dim, size + 1) float array
    vectors : (n, size) float array

    Returns
    -------
    (n, dim) float array

    Raises
    ------
    VouchError
        The dimensions do not fit.
    """
    size = vectors.shape[1]
    if matrix.shape[1] not in (size, size + 1):
        raise VouchError(f"the matrix takes embeddings of {matrix.shape[1] - 1} dimensions, these have {size}")
    mapped = vectors @ matrix[:, :size].T
    return mapped if matrix.shape[1] == size else mapped + matrix[:, size]
