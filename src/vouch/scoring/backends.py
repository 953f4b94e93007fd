"""The ways to score pairs of embeddings, read from files: cosine, PLDA and the distance of crops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from vouch.errors import VouchError
from vouch.kaldi.ark import read_vectors
from vouch.scoring import cosine, distance, plda
from vouch.scoring.plda_file import read_mean, read_plda, read_transform
from vouch.scoring.preparation import Preparation
from vouch.scoring.sides import Sides, read_enrolments

# The backends, and what stands for an enrolment of several utterances in each when nothing is said.
DEFAULT_AVERAGES = {"cosine": "unit-mean", "plda": "mean", "distance": "scores"}
Score = Callable[[np.ndarray, np.ndarray], np.ndarray]


def load_preparation(mean: str | None, lda: str | Path | None, embedding_scp: str | Path) -> Preparation:
    """Read what embeddings are prepared with.

    Parameters
    ----------
    mean : file of a vector, or "data": the mean of the embeddings themselves; None: no centring
    lda : file of a matrix; None: none
    embedding_scp : the embeddings that "data" means
    """
    vector = None
    if mean is not None:
        is_data = mean == "data"
        vector = read_vectors(embedding_scp)[1].mean(axis=0, dtype=np.float64) if is_data else read_mean(mean)
    return Preparation(vector, None if lda is None else read_transform(lda))


def cosine_scorer(sides: Sides) -> Score:
    """Return the cosine of pairs of rows of `sides.unit`."""
    return lambda enrol, test: cosine.score_trials(sides.unit, enrol, test)


def plda_scorer(sides: Sides, model: str | Path, length: str) -> Score:
    """Return the log-likelihood ratio of pairs of rows of `sides.unit`.

    Parameters
    ----------
    model : file of a PLDA model
    length : see `vouch.scoring.plda.Plda.project`
    """
    trained = read_plda(model)
    scaled = sides.unit * np.sqrt(sides.unit.shape[1])
    try:
        enrol, test = trained.project(scaled, sides.utterances, length), trained.project(scaled, 1, length)
    except VouchError as error:
        raise VouchError(f"{model}: {error}") from None
    return lambda rows, others: plda.score_trials(trained, enrol, sides.utterances, test, rows, others)


def load_distance(
    embedding_scp: str | Path, enrol_map: str | Path | None, normalize: bool = True
) -> tuple[Sides, Score]:
    """Return the sides and minus the mean distance of the crops of pairs of utterances; see `distance.load_crops`."""
    names, crops = distance.load_crops(embedding_scp, normalize)
    rows = {name: row for row, name in enumerate(names)}
    enrol, members = rows, None
    if enrol_map is not None:
        enrolments = read_enrolments(enrol_map, rows, embedding_scp)
        enrol, members = {name: at for at, name in enumerate(enrolments)}, list(enrolments.values())
    sides = Sides(crops, names, np.ones(len(names), np.int64), enrol, rows, members)
    return sides, lambda rows, others: distance.score_trials(crops, rows, others)
