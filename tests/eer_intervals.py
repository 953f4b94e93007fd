"""The interval of the EER over resampled trials, as stage 7 puts it together."""

from __future__ import annotations

import numpy as np

from vouch.evaluation.intervals import Interval, bootstrap, by_score, over_trials, percentile_interval


def eer_interval(
    scores: np.ndarray, is_target: np.ndarray, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Return the ends of the interval as rates from 0 to 1."""
    order = by_score(scores, is_target)
    scores, is_target = np.asarray(scores)[order], np.asarray(is_target)[order]
    (values,) = bootstrap([scores], is_target, over_trials(is_target), [], draws, seed)
    return percentile_interval(values["eer"], level)
