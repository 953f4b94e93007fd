"""Probabilistic linear discriminant analysis with two covariances: the model and its log-likelihood ratios.

An embedding is the sum of a global mean, a speaker term with covariance B and a recording term with covariance W
(Ioffe, 2006; Sizov et al., 2014). In the basis of `Plda.transform`, W is the identity and B diagonal.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vouch.base.errors import VouchError, pick
from vouch.scoring.cosine import dot_trials


class Plda(NamedTuple):
    """A trained model.

    Attributes
    ----------
    mean : (dim,) float64 ndarray
    transform : (dim, dim) float64 ndarray
        A with A W A' = identity and A B A' = diag(`psi`).
    psi : (dim,) float64 ndarray
        Between-speaker variances relative to the within-speaker ones, descending, none negative.
    """

    mean: np.ndarray
    transform: np.ndarray
    psi: np.ndarray

    def project(self, vectors: np.ndarray, utterances: np.ndarray | int = 1, length: str = "expected") -> np.ndarray:
        """Transform embeddings to the basis of the model, and normalise their length.

        Parameters
        ----------
        vectors : (n, dim) float array
        utterances : (n,) int array or int
            Number of utterances that each embedding is the mean of; one int for all.
        length : str
            A name in `LENGTHS`.

        Returns
        -------
        (n, dim) float64 ndarray

        Raises
        ------
        VouchError
            The embeddings have another dimension than the model, or `length` is unknown.
        """
        scale = pick(LENGTHS, length, "length normalisation")
        if vectors.shape[1] != len(self.mean):
            raise VouchError(
                f"the PLDA model takes {len(self.mean)} dimensions, these embeddings have {vectors.shape[1]};"
                " prepare both alike (centring, LDA)"
            )
        projected = (vectors - self.mean) @ self.transform.T
        number = np.broadcast_to(np.asarray(utterances, np.float64), len(projected))
        return projected * scale(projected, self.psi, number[:, None])[:, None]

    def smooth(self, share: float) -> Plda:
        """Return the model with within-speaker covariance W + `share` B, for use with little training data."""
        within = 1 + share * self.psi
        return Plda(self.mean, self.transform / np.sqrt(within)[:, None], self.psi / within)


def _expected_length(projected: np.ndarray, psi: np.ndarray, utterances: np.ndarray) -> np.ndarray:
    square = (projected**2 / (psi + 1 / utterances)).sum(axis=1)
    return np.sqrt(projected.shape[1] / np.where(square > 0, square, projected.shape[1]))


def _simple_length(projected: np.ndarray, psi: np.ndarray, utterances: np.ndarray) -> np.ndarray:
    square = (projected**2).sum(axis=1)
    return np.sqrt(projected.shape[1] / np.where(square > 0, square, projected.shape[1]))


def _unchanged_length(projected: np.ndarray, psi: np.ndarray, utterances: np.ndarray) -> np.ndarray:
    return np.ones(len(projected))


# "expected": the length that the model expects for a mean of so many utterances; "simple": the root of the dimension.
LENGTHS = {"expected": _expected_length, "simple": _simple_length, "none": _unchanged_length}


class LikelihoodRatios(NamedTuple):
    """Log-likelihood ratios of the hypotheses "same speaker" and "different speakers", from `likelihood_ratios`.

    The ratio is the sum of a term of the enrolment, a term of the test vector that depends on the enrolment's number of
    utterances, and a dot product.

    Attributes
    ----------
    enrol : (n, dim) float64 ndarray
        Enrolments with the weights of the dot product.
    test : (m, dim) float64 ndarray
    of_enrol : (n,) float64 ndarray
    kind : (n,) int ndarray
        Row of `of_test` for each enrolment.
    of_test : (kinds, m) float64 ndarray
    """

    enrol: np.ndarray
    test: np.ndarray
    of_enrol: np.ndarray
    kind: np.ndarray
    of_test: np.ndarray

    def pairs(self, enrol_index: np.ndarray, test_index: np.ndarray) -> np.ndarray:
        """Return the score of each pair of rows, (trials,) float64, in natural logarithms."""
        alone = self.of_enrol[enrol_index] + self.of_test[self.kind[enrol_index], test_index]
        return alone + dot_trials(self.enrol, self.test, enrol_index, test_index)

    def matrix(self, enrol_index: np.ndarray | slice, test_index: np.ndarray | slice) -> np.ndarray:
        """Return the scores of some enrolments with some test vectors, (rows, others) float64."""
        scores = self.enrol[enrol_index] @ self.test[test_index].T
        scores += self.of_enrol[enrol_index][:, None]
        for kind in range(len(self.of_test)):
            scores[self.kind[enrol_index] == kind] += self.of_test[kind, test_index]
        return scores


def likelihood_ratios(plda: Plda, enrol: np.ndarray, utterances: np.ndarray, test: np.ndarray) -> LikelihoodRatios:
    """Compute the terms of the log-likelihood ratios that depend on one side only.

    Parameters
    ----------
    enrol : (n, dim) float64 ndarray
        From `Plda.project`.
    utterances : (n,) int array
        Number of utterances that each enrolment is the mean of.
    test : (m, dim) float64 ndarray
        From `Plda.project`, of one utterance each.
    """
    psi = plda.psi
    numbers, kind = np.unique(utterances, return_inverse=True)
    # By number of utterances: posterior of the speaker term given the enrolment, and variance of a test vector around
    # it.
    gain = numbers[:, None] * psi / (numbers[:, None] * psi + 1)
    variance = 1 + psi / (numbers[:, None] * psi + 1)
    weighted = enrol * (gain / variance)[kind]
    of_enrol = -0.5 * (np.log(variance).sum(axis=1)[kind] + (enrol * gain[kind] * weighted).sum(axis=1))
    # Log-likelihood of test vectors of an unknown speaker; the constant ln(2 pi) cancels and is left out everywhere.
    alone = 0.5 * (np.log1p(psi).sum() + (test**2 / (1 + psi)).sum(axis=1))
    of_test = alone - 0.5 * (1 / variance) @ (test**2).T
    return LikelihoodRatios(weighted, test, of_enrol, kind, of_test)
