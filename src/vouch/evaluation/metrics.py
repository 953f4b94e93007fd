"""Measures how scores separate trials: ROC, EER, minimum and actual DCF, Cllr, minimum Cllr.

A trial is accepted when its score is at least the threshold. Equal scores are one step of the ROC, so that no figure
depends on the order of the trials. Definitions of other programs are in `vouch.evaluation.definitions`, confidence
intervals in `vouch.evaluation.intervals`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression

from vouch.base.errors import VouchError


class Roc(NamedTuple):
    """Error rates at each distinct threshold.

    The first point accepts every trial (miss 0, false alarm 1), the last one, with an infinite threshold, rejects
    every trial (miss 1, false alarm 0).

    Attributes
    ----------
    threshold : (points,) float64
        The distinct scores in ascending order, then infinity.
    miss : (points,) float64
        Share of the targets that are rejected.
    false_alarm : (points,) float64
        Share of the non-targets that are accepted.
    """

    threshold: np.ndarray
    miss: np.ndarray
    false_alarm: np.ndarray


class OperatingPoint(NamedTuple):
    """The value of a figure and the threshold at which it is reached."""

    value: float
    threshold: float


class Counts(NamedTuple):
    """Distinct scores in ascending order, and their numbers of targets and non-targets: float64, int64, int64."""

    score: np.ndarray
    targets: np.ndarray
    nontargets: np.ndarray


class Cost(NamedTuple):
    """Parameters of a detection cost: the prior probability of a target trial, and the cost of each kind of error."""

    p_target: float
    c_miss: float = 1.0
    c_fa: float = 1.0

    def normalized(self, miss: np.ndarray, false_alarm: np.ndarray) -> np.ndarray:
        """Return the expected cost, divided by the smaller of the costs of accepting and of rejecting every trial."""
        weights = self._weights()
        return (weights[0] * miss + weights[1] * false_alarm) / min(weights)

    def bayes_threshold(self) -> float:
        """Return the log-likelihood ratio (natural logarithm) from which on accepting is the cheaper decision."""
        weights = self._weights()
        return math.log(weights[1] / weights[0])

    def _weights(self) -> tuple[float, float]:
        if not 0 < self.p_target < 1 or self.c_miss <= 0 or self.c_fa <= 0:
            raise VouchError(
                f"a detection cost needs 0 < p_target < 1 and positive costs, not p_target {self.p_target},"
                f" c_miss {self.c_miss}, c_fa {self.c_fa}"
            )
        return self.c_miss * self.p_target, self.c_fa * (1 - self.p_target)


def roc(scores: np.ndarray, is_target: np.ndarray) -> Roc:
    """Return miss and false-alarm rates at each distinct threshold.

    Parameters
    ----------
    scores : (trials,) float array
        Larger for targets.
    is_target : (trials,) bool array

    Raises
    ------
    VouchError
        The scores are not finite, or there are no targets or no non-targets.
    """
    counts = count_trials(scores, is_target)
    return Roc(np.append(counts.score, np.inf), *error_rates(counts.targets, counts.nontargets))


def equal_error_rate(scores: np.ndarray, is_target: np.ndarray) -> OperatingPoint:
    """Return the rate, from 0 to 1, at which misses and false alarms are equally frequent.

    Between two neighbouring points of `roc` both rates are interpolated linearly, and so is the threshold: the EER is
    where the line between the points meets the diagonal. It is exactly 0 when every target scores above every
    non-target, and 0.5 when all scores are equal. Parameters and errors are those of `roc`.
    """
    points = roc(scores, is_target)
    rate, left, weight = equal_point(points.miss, points.false_alarm)
    low, high = points.threshold[left : left + 2]
    return OperatingPoint(rate, float(low + weight * (high - low) if np.isfinite(high) else low))


def min_dcf(
    scores: np.ndarray, is_target: np.ndarray, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0
) -> OperatingPoint:
    """Return the smallest normalised detection cost over all thresholds, as in NIST's evaluation plans.

    The cost c_miss p_target miss + c_fa (1 - p_target) false_alarm is divided by the smaller of the costs of accepting
    and of rejecting every trial. Both are considered, so that the result is at most 1.

    Parameters
    ----------
    scores, is_target : ndarray
        As for `roc`.
    p_target : float
        Prior probability of a target trial, between 0 and 1.
    c_miss, c_fa : float
        Costs of one error of each kind, positive.

    Returns
    -------
    OperatingPoint
        The cost, and the lowest threshold that reaches it; infinite if rejecting every trial does.
    """
    points = roc(scores, is_target)
    cost = Cost(p_target, c_miss, c_fa).normalized(points.miss, points.false_alarm)
    best = int(np.argmin(cost))
    return OperatingPoint(float(cost[best]), float(points.threshold[best]))


def act_dcf(
    scores: np.ndarray, is_target: np.ndarray, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0
) -> OperatingPoint:
    """Return the normalised detection cost of Bayes decisions that take scores as log-likelihood ratios.

    The Bayes threshold ln (c_fa (1 - p_target) / (c_miss p_target)) is the same for every system. The cost exceeds that
    of `min_dcf` by the calibration error at this prior, and may be far above 1.
    Parameters are those of `min_dcf`.
    """
    cost = Cost(p_target, c_miss, c_fa)
    threshold = cost.bayes_threshold()
    scores, is_target = checked_trials(scores, is_target)
    accepted = scores >= threshold
    return OperatingPoint(
        float(cost.normalized(1 - accepted[is_target].mean(), accepted[~is_target].mean())), threshold
    )


def cllr(scores: np.ndarray, is_target: np.ndarray) -> float:
    """Return the cost of log-likelihood ratios in bits (Brümmer and du Preez, 2006).

    Scores are taken as log-likelihood ratios (natural logarithm). Perfect scores give 0, and constant scores of 0 give
    1; uncalibrated scores such as cosines can give far more than their EER suggests.
    """
    scores, is_target = checked_trials(scores, is_target)
    costs = ratio_costs(scores, is_target)
    return float((costs[is_target].mean() + costs[~is_target].mean()) / 2)


def min_cllr(scores: np.ndarray, is_target: np.ndarray) -> float:
    """Return the smallest `cllr` that a non-decreasing function of the scores can reach, at most 1.

    The pool-adjacent-violators algorithm finds that function (Zadrozny and Elkan, 2002; Brümmer and du Preez, 2006).
    The result is the part of Cllr that calibration cannot reduce.
    """
    counts = count_trials(scores, is_target)
    return pooled_cllr(counts.targets, counts.nontargets)


def checked_trials(scores: np.ndarray, is_target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both as (trials,) arrays, float64 and bool, after the checks of `roc`."""
    scores = np.asarray(scores, dtype=np.float64)
    is_target = np.asarray(is_target, dtype=bool)
    if scores.ndim != 1 or scores.shape != is_target.shape:
        raise VouchError(f"needs one label per score, not scores {scores.shape} and labels {is_target.shape}")
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise VouchError(f"{len(bad)} of {len(scores)} scores are NaN or infinite, the first is number {bad[0] + 1}")
    targets = int(np.count_nonzero(is_target))
    if not 0 < targets < len(scores):
        raise VouchError(
            f"error rates need target and non-target trials; these are {targets} target and"
            f" {len(scores) - targets} non-target trials"
        )
    return scores, is_target


def count_trials(scores: np.ndarray, is_target: np.ndarray) -> Counts:
    """Count the targets and non-targets of each distinct score, after the checks of `roc`."""
    scores, is_target = checked_trials(scores, is_target)
    order = np.argsort(scores)
    scores = scores[order]
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
    trials = np.diff(last, prepend=-1)
    targets = np.diff(np.cumsum(is_target[order])[last], prepend=0)
    return Counts(scores[last], targets, trials - targets)


def error_rates(targets: np.ndarray, nontargets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return miss and false-alarm rates, both (steps + 1,), from the trial counts of (steps,) ascending scores."""
    miss = np.append(0, np.cumsum(targets)) / targets.sum()
    false_alarm = np.append(np.cumsum(nontargets[::-1])[::-1], 0) / nontargets.sum()
    return miss, false_alarm


def equal_point(miss: np.ndarray, false_alarm: np.ndarray) -> tuple[float, int, float]:
    """Return where interpolated rates are equal: the rate, the point before it, the fraction of the way (0 to 1)."""
    difference = miss - false_alarm
    right = int(np.argmax(difference >= 0))
    left = right - 1
    weight = -difference[left] / (difference[right] - difference[left])
    return float(miss[left] + weight * (miss[right] - miss[left])), left, float(weight)


def ratio_costs(scores: np.ndarray, is_target: np.ndarray) -> np.ndarray:
    """Each trial's contribution to Cllr in bits: log2 (1 + exp(-score)), non-targets log2 (1 + exp(score))."""
    return np.logaddexp(0, np.where(is_target, -scores, scores)) / math.log(2)


def pooled_cllr(targets: np.ndarray, nontargets: np.ndarray) -> float:
    """Return the minimum Cllr from the trial counts of (steps,) ascending scores."""
    trials = targets + nontargets
    targets, nontargets, trials = targets[trials > 0], nontargets[trials > 0], trials[trials > 0]
    starts = isotonic_regression(targets / trials, weights=trials).blocks[:-1]
    miss = np.add.reduceat(targets, starts) / targets.sum()
    false_alarm = np.add.reduceat(nontargets, starts) / nontargets.sum()
    # A block with one kind of trial only has an infinite log-likelihood ratio of the right sign, which costs nothing.
    mixed = (miss > 0) & (false_alarm > 0)
    miss, false_alarm = miss[mixed], false_alarm[mixed]
    costs = miss * np.log1p(false_alarm / miss) + false_alarm * np.log1p(miss / false_alarm)
    return float(costs.sum() / (2 * math.log(2)))
