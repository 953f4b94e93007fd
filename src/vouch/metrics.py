"""How well scores separate target from non-target trials: ROC, EER with an interval, minDCF and Cllr.

A trial is accepted when its score is at least the threshold. Scores that are equal cannot be told apart, so they are
one step of the ROC: no figure here depends on the order of the trials.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from vouch.errors import VouchError


class Roc(NamedTuple):
    """Error rates at each threshold that makes a difference.

    The first point accepts every trial (miss 0, false alarm 1), the last one, with an infinite threshold, rejects
    every trial (miss 1, false alarm 0).

    Attributes
    ----------
    threshold : (points,) float64, the distinct scores in ascending order, then infinity
    miss : (points,) float64, share of the targets that are rejected
    false_alarm : (points,) float64, share of the non-targets that are accepted
    """

    threshold: np.ndarray
    miss: np.ndarray
    false_alarm: np.ndarray


class OperatingPoint(NamedTuple):
    """A figure and the threshold at which it is reached."""

    value: float
    threshold: float


class _Counts(NamedTuple):
    """Trials of each distinct score, in ascending order: (distinct,) float64, int64, int64."""

    score: np.ndarray
    targets: np.ndarray
    nontargets: np.ndarray


def roc(scores: np.ndarray, is_target: np.ndarray) -> Roc:
    """Return miss and false-alarm rates at each distinct threshold.

    Parameters
    ----------
    scores : (trials,) float array, larger for targets
    is_target : (trials,) bool array

    Raises
    ------
    VouchError : the scores are not finite, or there are no targets or no non-targets
    """
    return _roc_of(_count(scores, is_target))


def equal_error_rate(scores: np.ndarray, is_target: np.ndarray) -> OperatingPoint:
    """Return the rate, from 0 to 1, at which misses and false alarms are equally frequent.

    Between two neighbouring points of `roc` both rates are interpolated linearly, and so is the threshold: the EER is
    where the line between the points meets the diagonal. It is exactly 0 when every target scores above every
    non-target, and 0.5 when all scores are equal. `roc` tells which arrays are accepted and what is raised.
    """
    points = _roc_of(_count(scores, is_target))
    difference = points.miss - points.false_alarm
    right = int(np.argmax(difference >= 0))
    left, rate, weight = right - 1, *_crossing(points.miss, difference, right)
    low, high = points.threshold[left], points.threshold[right]
    return OperatingPoint(float(rate), float(low + weight * (high - low) if np.isfinite(high) else low))


def min_dcf(
    scores: np.ndarray, is_target: np.ndarray, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0
) -> OperatingPoint:
    """Return the smallest normalised detection cost over all thresholds, as in NIST's evaluation plans.

    The cost c_miss p_target miss + c_fa (1 - p_target) false_alarm is divided by that of the better of the two systems
    that do not listen, accept-all and reject-all. Both are candidates, so that the result is at most 1.

    Parameters
    ----------
    scores, is_target : as for `roc`
    p_target : prior probability of a target trial, between 0 and 1
    c_miss, c_fa : costs of one error of each kind, positive

    Returns
    -------
    cost and the lowest threshold that reaches it, infinite for reject-all
    """
    if not 0 < p_target < 1 or c_miss <= 0 or c_fa <= 0:
        raise VouchError(
            f"minDCF needs 0 < p_target < 1 and positive costs, not p_target {p_target}, c_miss {c_miss}, c_fa {c_fa}"
        )
    points = _roc_of(_count(scores, is_target))
    weights = c_miss * p_target, c_fa * (1 - p_target)
    cost = (weights[0] * points.miss + weights[1] * points.false_alarm) / min(weights)
    best = int(np.argmin(cost))
    return OperatingPoint(float(cost[best]), float(points.threshold[best]))


def cllr(scores: np.ndarray, is_target: np.ndarray) -> float:
    """Return the cost of log-likelihood ratios in bits (Brümmer and du Preez, 2006).

    It judges scores as natural-logarithm likelihood ratios: 0 is perfect, 1 is what constant scores of 0 give, and
    uncalibrated scores such as cosines can be far above what their EER promises.
    """
    scores, is_target = _checked(scores, is_target)
    miss_cost = np.logaddexp(0, -scores[is_target]).mean()
    false_alarm_cost = np.logaddexp(0, scores[~is_target]).mean()
    return float((miss_cost + false_alarm_cost) / (2 * np.log(2)))


def eer_interval(
    scores: np.ndarray, is_target: np.ndarray, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile-bootstrap interval of the EER (Efron and Tibshirani, 1993, chapter 13).

    Each draw resamples target and non-target scores independently, with replacement. Trials that share a speaker are
    not independent, so the truth is somewhat less certain than the interval says.

    Parameters
    ----------
    scores, is_target : as for `roc`
    draws : number of bootstrap samples
    level : probability of the interval, between 0 and 1
    seed : of the random generator; the same seed gives the same interval

    Returns
    -------
    low, high : rates from 0 to 1
    """
    if draws < 1 or not 0 < level < 1:
        raise VouchError(f"the bootstrap needs draws >= 1 and 0 < level < 1, not draws {draws}, level {level}")
    counts = _count(scores, is_target)
    first, last = _crossing_region(counts)
    rng = np.random.default_rng(seed)
    misses = _resampled_below(rng, counts.targets, first, last, draws)
    rejections = _resampled_below(rng, counts.nontargets, first, last, draws)
    rates = np.empty(draws)
    for draw, (miss, rejection) in enumerate(zip(misses, rejections, strict=True)):
        difference = miss - (1 - rejection)
        rates[draw], _ = _crossing(miss, difference, max(1, int(np.argmax(difference >= 0))))
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _checked(scores: np.ndarray, is_target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


def _count(scores: np.ndarray, is_target: np.ndarray) -> _Counts:
    scores, is_target = _checked(scores, is_target)
    order = np.argsort(scores)
    scores = scores[order]
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
    trials = np.diff(last, prepend=-1)
    targets = np.diff(np.cumsum(is_target[order])[last], prepend=0)
    return _Counts(scores[last], targets, trials - targets)


def _roc_of(counts: _Counts) -> Roc:
    miss = np.append(0, np.cumsum(counts.targets)) / counts.targets.sum()
    false_alarm = np.append(np.cumsum(counts.nontargets[::-1])[::-1], 0) / counts.nontargets.sum()
    return Roc(np.append(counts.score, np.inf), miss, false_alarm)


def _crossing(miss: np.ndarray, difference: np.ndarray, right: int) -> tuple[float, float]:
    """Return the rate where `difference` = miss - false alarm is 0, and how far that is from the point left of `right`.

    The distance is 0 at the left point and 1 at the right one, which is the first with a difference of at least 0.
    """
    left = right - 1
    weight = -difference[left] / (difference[right] - difference[left])
    return miss[left] + weight * (miss[right] - miss[left]), weight


def _crossing_region(counts: _Counts) -> tuple[int, int]:
    """Return the first and the last ROC point between which resampled ROCs meet the diagonal.

    The EER depends only on the ROC near the diagonal, so a bootstrap draw need not place trials that score far from
    it one by one. A point with difference d of the two rates stays outside if |d| > 8 s + 20 / n, with s the standard
    deviation of d and n the smaller number of trials: by Bernstein's inequality d then changes its sign in fewer than
    1 draw of 10^12.
    """
    _, miss, false_alarm = _roc_of(counts)
    targets, nontargets = counts.targets.sum(), counts.nontargets.sum()
    deviation = np.sqrt(miss * (1 - miss) / targets + false_alarm * (1 - false_alarm) / nontargets)
    margin = 8 * deviation + 20 / min(targets, nontargets)
    difference = miss - false_alarm
    below, above = np.flatnonzero(difference < -margin), np.flatnonzero(difference > margin)
    return int(below[-1]) if len(below) else 0, int(above[0]) if len(above) else len(miss) - 1


def _resampled_below(
    rng: np.random.Generator, counts: np.ndarray, first: int, last: int, draws: int
) -> Iterator[np.ndarray]:
    """Yield, for each bootstrap draw, the share of the trials below each threshold from point `first` to `last`.

    Drawing first how many trials fall below, into and above the region, and then only those inside it, is the same
    as drawing all of them.
    """
    total, inside = int(counts.sum()), counts[first:last]
    below, within = int(counts[:first].sum()), int(inside.sum())
    shares = np.array([below, within, total - below - within]) / total
    owner = np.repeat(np.arange(len(inside)), inside)
    for drawn_below, drawn_within, _ in rng.multinomial(total, shares, size=draws):
        if len(owner) > 32 * len(inside):
            # Heavily tied scores: one binomial number for each distinct score is cheaper than one for each trial.
            drawn = rng.multinomial(drawn_within, inside / within)
        elif within:
            drawn = np.bincount(owner[rng.integers(within, size=drawn_within)], minlength=len(inside))
        else:
            drawn = inside
        yield (drawn_below + np.append(0, np.cumsum(drawn))) / total
