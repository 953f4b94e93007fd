"""Tests whether two systems differ, by a paired bootstrap of their figures over the same trials or speakers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vouch.evaluation.intervals import Difference, bootstrap, over_speakers, over_trials, paired_difference
from vouch.evaluation.metrics import Cost, equal_error_rate, min_dcf
from vouch.evaluation.result import LEVEL, PRIORS


class Comparison(NamedTuple):
    """A figure of two systems, with the significance of their difference; equal error rates in percent."""

    name: str
    first: float
    second: float
    difference: Difference


def compare_systems(
    first: np.ndarray,
    second: np.ndarray,
    is_target: np.ndarray,
    speakers: tuple[np.ndarray, np.ndarray] | None = None,
    priors: Sequence[float] = PRIORS,
    draws: int = 1000,
    seed: int = 0,
) -> list[Comparison]:
    """Compare EER and minimum detection costs of two systems on the same trials.

    Both systems are evaluated on the same resampled lists, so that the difficulty of a list cancels: systems can differ
    significantly even if their intervals overlap.

    Parameters
    ----------
    first, second : ndarray
        (trials,) float arrays of scores, larger for targets.
    is_target : (trials,) bool array
    speakers : tuple of ndarray and ndarray, optional
        (trials,) arrays, names or numbers of the speakers of the enrolment and of the test sides, which the bootstrap
        resamples; None: it resamples trials.
    priors : sequence of float
        Target priors of the detection costs.
    draws, seed : int
        Number of bootstrap samples, and the random seed.

    Raises
    ------
    VouchError
        As from `vouch.evaluation.metrics.roc`, or a setting is impossible.
    """
    systems = [np.asarray(scores, np.float64) for scores in (first, second)]
    is_target = np.asarray(is_target, bool)
    # The whole list comes first, because it raises the error for invalid scores.
    names, values = ["eer"], [[100 * equal_error_rate(scores, is_target).value for scores in systems]]
    for prior in priors:
        names.append(f"min_dcf({prior:g})")
        values.append([min_dcf(scores, is_target, prior).value for scores in systems])
    resampling = over_trials(is_target) if speakers is None else over_speakers(is_target, *speakers)
    one, other = bootstrap(systems, is_target, resampling, [Cost(prior) for prior in priors], draws, seed)
    comparisons = []
    for name, (a, b) in zip(names, values, strict=True):
        scale = 100 if name == "eer" else 1
        difference = paired_difference(a - b, scale * one[name], scale * other[name], LEVEL)
        comparisons.append(Comparison(name, a, b, difference))
    return comparisons
