"""Defines the scoring backends: cosine, PLDA and the distance of crops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from vouch.base.errors import VouchError
from vouch.kaldi.matrices.mapped import read_vectors
from vouch.scoring.cosine import Cosine
from vouch.scoring.distance import CropDistances, load_crops
from vouch.scoring.plda import Plda, likelihood_ratios
from vouch.scoring.plda_file import read_mean, read_plda, read_transform
from vouch.scoring.preparation import Preparation
from vouch.scoring.sides import Cohort, Sides, load_cohort, load_sides, read_enrolments
from vouch.scoring.snorm import CohortScores

# The backends, and how each by default averages the utterances of an enrolment (see `vouch.scoring.sides.AVERAGES`).
DEFAULT_AVERAGES = {"cosine": "unit-mean", "plda": "mean", "distance": "scores"}


class Scorer(Protocol):
    """Scores pairs of rows of two collections, or all of some rows with all of others."""

    def pairs(self, enrol_index: np.ndarray, test_index: np.ndarray) -> np.ndarray: ...

    def matrix(self, enrol_index: np.ndarray | slice, test_index: np.ndarray | slice) -> np.ndarray: ...


class Backend(Protocol):
    """Reads embeddings and makes scorers.

    Attributes
    ----------
    is_symmetric : bool
        Whether exchanging the two sides of a trial leaves its score unchanged.
    """

    @property
    def is_symmetric(self) -> bool: ...

    def load_sides(self, embedding_scp: str | Path, enrol_map: str | Path | None, average: str) -> Sides: ...

    def load_cohort(self, embedding_scp: str | Path, utt2spk: str | Path | None, average: str) -> Cohort: ...

    def scorer(self, enrol: Sides | Cohort, test: Sides | Cohort) -> Scorer: ...


class CosineBackend(NamedTuple):
    """Cosine of the angle between prepared embeddings."""

    prepare: Preparation = Preparation()
    is_symmetric: bool = True

    def load_sides(self, embedding_scp: str | Path, enrol_map: str | Path | None, average: str) -> Sides:
        """See `vouch.scoring.sides.load_sides`."""
        return load_sides(embedding_scp, enrol_map, average, self.prepare)

    def load_cohort(self, embedding_scp: str | Path, utt2spk: str | Path | None, average: str) -> Cohort:
        """See `vouch.scoring.sides.load_cohort`."""
        return load_cohort(embedding_scp, utt2spk, average, self.prepare)

    def scorer(self, enrol: Sides | Cohort, test: Sides | Cohort) -> Cosine:
        """Return the scorer of rows of `enrol.unit` with rows of `test.unit`."""
        return Cosine(enrol.unit, test.unit)


class PldaBackend(NamedTuple):
    """Log-likelihood ratio of a PLDA model, on prepared embeddings.

    Attributes
    ----------
    path : str or Path
        File of the model, for messages.
    length : str
        See `vouch.scoring.plda.Plda.project`.
    """

    prepare: Preparation
    model: Plda
    path: str | Path
    length: str = "expected"
    is_symmetric: bool = False

    def load_sides(self, embedding_scp: str | Path, enrol_map: str | Path | None, average: str) -> Sides:
        """See `vouch.scoring.sides.load_sides`."""
        return load_sides(embedding_scp, enrol_map, average, self.prepare)

    def load_cohort(self, embedding_scp: str | Path, utt2spk: str | Path | None, average: str) -> Cohort:
        """See `vouch.scoring.sides.load_cohort`."""
        return load_cohort(embedding_scp, utt2spk, average, self.prepare)

    def scorer(self, enrol: Sides | Cohort, test: Sides | Cohort) -> Scorer:
        """Return the scorer; rows of `enrol` are means of their numbers of utterances, rows of `test` one utterance.

        Raises
        ------
        VouchError
            The model is for embeddings of another dimension.
        """
        try:
            projected = [
                self.model.project(side.unit * np.sqrt(side.unit.shape[1]), utterances, self.length)
                for side, utterances in ((enrol, enrol.utterances), (test, 1))
            ]
        except VouchError as error:
            raise VouchError(f"{self.path}: {error}") from None
        return likelihood_ratios(self.model, projected[0], enrol.utterances, projected[1])


class DistanceBackend(NamedTuple):
    """Negative mean distance of crops; `normalize` is that of `vouch.scoring.distance.load_crops`."""

    normalize: bool = True
    is_symmetric: bool = True

    def load_sides(self, embedding_scp: str | Path, enrol_map: str | Path | None, average: str = "scores") -> Sides:
        """Read crops; for enrolments of several utterances only the average "scores" is possible."""
        if average != "scores":
            raise VouchError(f"average '{average}': the distance of crops can only average scores")
        names, crops = load_crops(embedding_scp, self.normalize)
        rows = {name: row for row, name in enumerate(names)}
        enrol, members = rows, None
        if enrol_map is not None:
            enrolments = read_enrolments(enrol_map, rows, embedding_scp)
            enrol, members = {name: at for at, name in enumerate(enrolments)}, list(enrolments.values())
        return Sides(crops, names, np.ones(len(names), np.int64), enrol, rows, members)

    def load_cohort(self, embedding_scp: str | Path, utt2spk: str | Path | None, average: str) -> Cohort:
        """Read crops, with each utterance as one member; `VouchError` for speakers, since crops cannot be averaged."""
        if utt2spk is not None:
            raise VouchError("the crops of a speaker's utterances have no mean; with distances each utterance is one")
        names, crops = load_crops(embedding_scp, self.normalize)
        return Cohort(crops, np.ones(len(names), np.int64))

    def scorer(self, enrol: Sides | Cohort, test: Sides | Cohort) -> CropDistances:
        """Return the scorer of rows of `enrol.unit` with rows of `test.unit`."""
        return CropDistances(enrol.unit, test.unit)


def load_preparation(mean: str | None, lda: str | Path | None, embedding_scp: str | Path) -> Preparation:
    """Read the mean and the linear map for preparing embeddings.

    Parameters
    ----------
    mean : str or None
        File of a vector, embedding.scp of embeddings to average, or "data" for the mean of the embeddings themselves;
        None: no centring.
    lda : str or Path or None
        File of a matrix; None: no linear map.
    embedding_scp : str or Path
        The embeddings that "data" refers to.

    Raises
    ------
    VouchError
        A file cannot be read, or holds values that are not finite.
    """
    vector = None
    if mean is not None:
        table = embedding_scp if mean == "data" else mean
        is_table = mean == "data" or mean.endswith(".scp")
        vector = read_vectors(table)[1].mean(axis=0, dtype=np.float64) if is_table else read_mean(mean)
    return Preparation(vector, None if lda is None else read_transform(lda))


def load_plda(path: str | Path, length: str, prepare: Preparation) -> PldaBackend:
    """Read a PLDA model; see `PldaBackend`."""
    return PldaBackend(prepare, read_plda(path), path, length)


def cohort_scores(backend: Backend, sides: Sides, cohort: Cohort) -> CohortScores:
    """Return the scores of both sides of trials against a cohort.

    Cohort members are test utterances for enrolments, and enrolments for test utterances, as in z- and t-norm. If an
    enrolment's score is the average over its utterances, so are its cohort scores.

    Raises
    ------
    VouchError
        The cohort's embeddings have another dimension.
    """
    dims = cohort.unit.shape[-1], sides.unit.shape[-1]
    if dims[0] != dims[1]:
        raise VouchError(
            f"the cohort's embeddings have {dims[0]} dimensions and those of the trials {dims[1]};"
            " extract both with the same model"
        )
    everyone = slice(None)
    tests = backend.scorer(sides, cohort)
    members = sides.members

    def of_rows(rows: np.ndarray) -> np.ndarray:
        return tests.matrix(rows, everyone)

    of_enrol: Callable[[np.ndarray], np.ndarray] = of_rows
    if members is not None:

        def of_members(enrolments: np.ndarray) -> np.ndarray:
            return np.stack([of_rows(members[each]).mean(axis=0) for each in enrolments])

        of_enrol = of_members
    if backend.is_symmetric:
        return CohortScores(len(cohort.unit), of_enrol, of_rows)
    models = backend.scorer(cohort, sides)
    return CohortScores(len(cohort.unit), of_enrol, lambda rows: models.matrix(everyone, rows).T)
