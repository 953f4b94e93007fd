"""Decides whether two recordings are of the same speaker, from their embeddings (numpy only)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vouch.base.errors import VouchError
from vouch.scoring.calibration import Calibration
from vouch.scoring.preparation import Preparation


class Answer(NamedTuple):
    """Result of comparing two recordings.

    Attributes
    ----------
    score : float
        Cosine of the angle between their embeddings.
    ratio : float or None
        Natural logarithm of the likelihood ratio; None without a calibration.
    """

    score: float
    ratio: float | None


def verify_pair(
    embeddings: np.ndarray,
    seconds: Sequence[float],
    names: Sequence[str],
    prepare: Preparation,
    calibration: Calibration | None,
) -> Answer:
    """Score the embeddings of two recordings, and compute the likelihood ratio that they are of the same speaker.

    Parameters
    ----------
    embeddings : (2, dim) float array
        Embeddings before preparation.
    seconds : sequence of float
        Durations of the two recordings.
    names : sequence of str
        Names of the two recordings, for messages.
    prepare : Preparation
        Preparation of the embeddings, the same as for the calibrated scores.
    calibration : Calibration or None
        Calibration of one system, with no quality measures other than durations and magnitudes.

    Raises
    ------
    VouchError
        An embedding is not usable, or the calibration needs data that two recordings do not give.
    """
    for name, embedding in zip(names, embeddings, strict=True):
        if not np.isfinite(embedding).all():
            raise VouchError(f"{name}: the embedding is NaN or infinite")
    first, second = prepare(embeddings.astype(np.float64), names)
    score = float(first @ second)
    if calibration is None:
        return Answer(score, None)
    measures = {
        "log-duration": [math.log(duration) for duration in seconds],
        "magnitude": np.linalg.norm(embeddings.astype(np.float64), axis=1).tolist(),
    }
    needed = {name: np.array([measures[name]]) for name in calibration.measures if name in measures}
    return Answer(score, float(calibration.apply(np.array([[score]]), needed)[0]))
