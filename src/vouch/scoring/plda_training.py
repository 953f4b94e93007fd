"""Trains two-covariance PLDA models by EM, and adapts them to embeddings without speaker labels (numpy only).

Both algorithms are those of Kaldi's ivector-compute-plda and ivector-adapt-plda.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vouch.base.errors import VouchError
from vouch.scoring.plda import Plda

# Relative variance below which a direction is constant up to rounding (float32 precision squared).
_LEAST_VARIANCE = 1e-13


def train_plda(vectors: np.ndarray, groups: Sequence[Sequence[int]], iterations: int = 10) -> Plda:
    """Estimate a model by expectation maximisation.

    The global mean is the mean of the speakers' means, with equal weights.

    Parameters
    ----------
    vectors : (n, dim) float array
    groups : sequence of sequence of int
        Rows of `vectors` of each speaker, at least one; rows in no group are not used.
    iterations : int
        Number of EM iterations; both covariances start as identity matrices.

    Raises
    ------
    VouchError
        There are fewer than two speakers, fewer utterances than dimensions, no speaker with two utterances, or the
        vectors lie in a subspace.
    """
    dim = vectors.shape[1]
    counts = np.array([len(rows) for rows in groups])
    total = int(counts.sum())
    if total <= dim:
        raise VouchError(f"PLDA of {dim} dimensions needs more than {dim} utterances, these are {total}; use LDA first")
    if len(groups) < 2:
        raise VouchError("PLDA needs two or more speakers, there is 1")
    if counts.max() < 2:
        raise VouchError("PLDA needs speakers with two or more utterances; here each has only one")
    if iterations < 1:
        raise VouchError(f"PLDA needs at least 1 iteration, not {iterations}")
    means = np.stack([vectors[list(rows)].mean(axis=0, dtype=np.float64) for rows in groups])
    mean = means.mean(axis=0)
    scatter = np.zeros((dim, dim))
    for rows, centre in zip(groups, means, strict=True):
        deviations = vectors[list(rows)] - centre
        scatter += deviations.T @ deviations
    _check_rank(scatter + (means - mean).T * counts @ (means - mean))
    within = between = np.eye(dim)
    for _ in range(iterations):
        within, between = _em_step(means - mean, counts, scatter, within, between)
    return diagonalize(mean, within, between)


def _check_rank(scatter: np.ndarray) -> None:
    variances = np.linalg.eigvalsh(scatter)
    if variances[0] <= _LEAST_VARIANCE * variances[-1]:
        raise VouchError("the embeddings do not vary in all of their dimensions; use LDA to fewer dimensions first")


def _em_step(
    offsets: np.ndarray, counts: np.ndarray, scatter: np.ndarray, within: np.ndarray, between: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the covariances after one iteration; `offsets` are the (speakers, dim) centred speaker means."""
    precision_within, precision_between = np.linalg.inv(within), np.linalg.inv(between)
    new_within, new_between = scatter.copy(), np.zeros_like(between)
    # Speakers with the same number of utterances share the posterior covariance.
    for number in np.unique(counts):
        offset = offsets[counts == number]
        posterior = np.linalg.inv(precision_between + number * precision_within)
        expected = offset @ (number * posterior @ precision_within).T
        rest = offset - expected
        new_between += len(offset) * posterior + expected.T @ expected
        new_within += number * (len(offset) * posterior + rest.T @ rest)
    return new_within / counts.sum(), new_between / len(counts)


def adapt_plda(
    plda: Plda,
    vectors: np.ndarray,
    within_scale: float = 0.3,
    between_scale: float = 0.7,
    mean_difference_scale: float = 1.0,
) -> Plda:
    """Adapt a model to embeddings of another domain without speaker labels.

    The mean becomes that of the new data. Where the variance of the new data exceeds that of the model, the excess is
    distributed over the two covariances.

    Parameters
    ----------
    vectors : (n, dim) float array
    within_scale, between_scale : float
        Shares of the excess for each covariance.
    mean_difference_scale : float
        Weight of the shift of the mean in the total covariance of the new data.

    Raises
    ------
    VouchError
        The vectors have another dimension than the model.
    """
    if vectors.shape[1] != len(plda.mean):
        raise VouchError(f"the PLDA model takes {len(plda.mean)} dimensions, the vectors have {vectors.shape[1]}")
    mean = vectors.mean(axis=0, dtype=np.float64)
    deviations = vectors - mean
    shift = mean - plda.mean
    total = deviations.T @ deviations / len(vectors) + mean_difference_scale * np.outer(shift, shift)
    whiten = plda.transform / np.sqrt(1 + plda.psi)[:, None]
    variances, basis = np.linalg.eigh(whiten @ total @ whiten.T)
    within = basis.T @ (basis / (1 + plda.psi)[:, None])
    between = basis.T @ (basis * (plda.psi / (1 + plda.psi))[:, None])
    excess = np.maximum(variances - 1, 0)
    back = np.linalg.inv(basis.T @ whiten)
    within = back @ (within + np.diag(within_scale * excess)) @ back.T
    between = back @ (between + np.diag(between_scale * excess)) @ back.T
    return diagonalize(mean, within, between)


def diagonalize(mean: np.ndarray, within: np.ndarray, between: np.ndarray) -> Plda:
    """Return the model with these covariances, both (dim, dim) float64.

    Raises
    ------
    VouchError
        The within-speaker covariance is singular.
    """
    try:
        whiten = np.linalg.inv(np.linalg.cholesky((within + within.T) / 2))
    except np.linalg.LinAlgError:
        raise VouchError(
            "the embeddings do not vary in all of their dimensions within speakers; use LDA to fewer dimensions"
        ) from None
    psi, basis = np.linalg.eigh(whiten @ ((between + between.T) / 2) @ whiten.T)
    # Rounding may leave a variance of zero slightly negative.
    return Plda(mean, basis.T[::-1] @ whiten, np.maximum(psi[::-1], 0))
