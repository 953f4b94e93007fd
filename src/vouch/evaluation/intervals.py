"""Bootstrap intervals of figures over trials or speakers, and paired tests between systems.

Each bootstrap sample gives every trial a weight, the number of times it occurs in the resampled list. The scores are
sorted once; a sample only sums weights, and all figures follow from the sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from vouch.base.errors import VouchError
from vouch.evaluation.metrics import Cost, checked_trials, equal_point, error_rates, pooled_cllr, ratio_costs

# Function that takes a random generator and returns the (trials,) weights of one bootstrap sample.
Resampling = Callable[[np.random.Generator], np.ndarray]
# A step of a resampled ROC holds at most this share of the trials of a kind beyond it, on the side with fewer trials.
# Single trials within a step change a figure by a few hundredths of what resampling changes.
_FINENESS = 1 / 512
# With more bootstrap samples, the ends of an interval no longer change in the digits that are shown.
MOST_DRAWS = 100_000


class Interval(NamedTuple):
    """Ends of a percentile interval."""

    low: float
    high: float


class Difference(NamedTuple):
    """Difference of a figure between two systems (first minus second), its interval, and its two-sided p-value."""

    value: float
    interval: Interval
    p_value: float


def over_trials(is_target: np.ndarray) -> Resampling:
    """Resample target and non-target trials independently, with replacement (Efron and Tibshirani, 1993, chapter 13).

    Trials that share a speaker are not independent, so these intervals are too narrow.

    Parameters
    ----------
    is_target : (trials,) bool array
    """
    kinds = [np.flatnonzero(kind) for kind in (is_target, ~np.asarray(is_target))]

    def draw(rng: np.random.Generator) -> np.ndarray:
        weights = np.empty(len(is_target), np.int32)
        for rows in kinds:
            chosen = rng.integers(len(rows), size=len(rows), dtype=np.int32)
            weights[rows] = np.bincount(chosen, minlength=len(rows))
        return weights

    return draw


def over_speakers(is_target: np.ndarray, enrol: np.ndarray, test: np.ndarray) -> Resampling:
    """Resample speakers with replacement, on both sides of the trials at once (Snijders and Borgatti, 1999).

    A trial between two speakers is repeated for each pair of their copies, a trial within a speaker for each copy. Two
    copies of one speaker make no non-target trials. For non-target trials the variance of single trials is counted up
    to three times, so that intervals are somewhat too wide for lists with few trials per pair of speakers (Owen, 2007).
    Samples without any target or any non-target trial are drawn again.

    Parameters
    ----------
    is_target : (trials,) bool array
    enrol, test : ndarray
        (trials,) names or numbers of the speakers of the two sides.

    Raises
    ------
    VouchError
        There are fewer than two speakers.
    """
    speakers, rows = np.unique(np.concatenate([enrol, test]), return_inverse=True)
    if len(speakers) < 2:
        raise VouchError("resampling speakers needs at least two speakers")
    one, other = rows[: len(enrol)].astype(np.int32), rows[len(enrol) :].astype(np.int32)
    # Trials within a speaker count once per copy: the weight at the index after the last speaker is always 1.
    other[one == other] = len(speakers)
    kinds = [np.flatnonzero(kind) for kind in (is_target, ~np.asarray(is_target))]

    def draw(rng: np.random.Generator) -> np.ndarray:
        while True:
            drawn = rng.integers(len(speakers), size=len(speakers))
            copies = np.append(np.bincount(drawn, minlength=len(speakers)), 1).astype(np.int32)
            weights = copies[one]
            weights *= copies[other]
            # Looking at the first trials is nearly always enough.
            if all(weights[kind[:100]].any() or weights[kind].any() for kind in kinds):
                return weights

    return draw


def bootstrap(
    systems: Sequence[np.ndarray],
    is_target: np.ndarray,
    resampling: Resampling,
    costs: Sequence[Cost],
    draws: int = 1000,
    seed: int = 0,
) -> list[dict[str, np.ndarray]]:
    """Return the figures of systems on bootstrap samples, which are the same for all systems.

    Parameters
    ----------
    systems : sequence of ndarray
        (trials,) scores of each system.
    is_target : (trials,) bool array
    resampling : Resampling
        `over_trials` or `over_speakers`, made for the same trials in the same order.
    costs : sequence of Cost
        Detection costs to compute.
    draws : int
        Number of bootstrap samples.
    seed : int
        Seed of the random generator; the same seed gives the same samples.

    Returns
    -------
    list of dict of str to ndarray
        For each system the (draws,) values of "eer", "min_dcf(P)" and "act_dcf(P)" for each target prior P, "cllr" and
        "min_cllr"; rates are fractions, not percent.

    Raises
    ------
    VouchError
        As from `vouch.evaluation.metrics.roc` and `figure_names`, or the number of draws is below 1 or above
        `MOST_DRAWS`, or the seed is negative.
    """
    if draws < 1:
        raise VouchError(f"the bootstrap needs draws >= 1, not {draws}")
    if draws > MOST_DRAWS:
        raise VouchError(f"the bootstrap takes {MOST_DRAWS:,} draws at most, not {draws}; 1000 are usual")
    if seed < 0:
        raise VouchError(f"the bootstrap needs seed >= 0, not {seed}")
    names = figure_names(costs)
    judges = [_Judge(scores, is_target, costs) for scores in systems]
    rng = np.random.default_rng(seed)
    values: list[list[list[float]]] = [[] for _ in judges]
    for _ in range(draws):
        weights = resampling(rng)
        for rows, judge in zip(values, judges, strict=True):
            rows.append(judge.figures(weights))
    return [dict(zip(names, np.array(rows).T, strict=True)) for rows in values]


def figure_names(costs: Sequence[Cost]) -> list[str]:
    """Return the names of the figures that `bootstrap` computes, in order.

    Raises
    ------
    VouchError
        A target prior is not between 0 and 1, or two priors agree in the six digits that names have.
    """
    priors = [f"{cost.p_target:g}" for cost in costs]
    for cost, prior in zip(costs, priors, strict=True):
        if not 0 < float(prior) < 1:
            raise VouchError(f"a detection cost needs 0 < p_target < 1 in six digits, not {cost.p_target}")
        if priors.count(prior) > 1:
            raise VouchError(f"two target priors are {prior} in six digits; give each once")
    dcfs = [f"{kind}_dcf({cost.p_target:g})" for cost in costs for kind in ("min", "act")]
    return ["eer", *dcfs, "cllr", "min_cllr"]


def percentile_interval(values: np.ndarray, level: float = 0.95) -> Interval:
    """Return the central interval that holds a share `level` of (draws,) bootstrap values."""
    if not 0 < level < 1:
        raise VouchError(f"an interval needs 0 < level < 1, not {level}")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def paired_difference(value: float, first: np.ndarray, second: np.ndarray, level: float = 0.95) -> Difference:
    """Return the difference first - second of a figure and its significance.

    Parameters
    ----------
    value : float
        Difference on the whole list.
    first, second : ndarray
        (draws,) values of the figure for both systems on the same bootstrap samples.
    level : float
        Probability of the interval.

    Returns
    -------
    Difference
        The p-value is twice the share of samples on the rarer side of zero, including samples that are exactly zero.
        One is added to that count and to the number of samples, so that it is never 0 (Davison and Hinkley, 1997,
        chapter 4).
    """
    differences = first - second
    rarer = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    p_value = min(1.0, 2 * (rarer + 1) / (len(differences) + 1))
    return Difference(value, percentile_interval(differences, level), p_value)


def by_score(scores: np.ndarray, is_target: np.ndarray) -> np.ndarray:
    """Return the (trials,) order that sorts scores ascending, with non-targets first among equal scores.

    In this order, bootstrap samples do not depend on the order of the trial list, and are faster to draw.
    """
    return np.lexsort(checked_trials(scores, is_target)[::-1])


class _Judge:
    """Computes the figures of one system from the weights of its trials."""

    def __init__(self, scores: np.ndarray, is_target: np.ndarray, costs: Sequence[Cost]) -> None:
        scores, is_target = checked_trials(scores, is_target)
        self._costs = costs
        order = np.argsort(scores, kind="stable")
        is_sorted = np.array_equal(order, np.arange(len(scores)))
        self._order: np.ndarray | slice = slice(None) if is_sorted else order
        scores, self._is_target = scores[self._order], is_target[self._order]
        decisions = np.searchsorted(scores, [cost.bayes_threshold() for cost in costs])
        self._starts = _step_starts(scores, self._is_target, decisions)
        # Index of the ROC point that rejects all steps below each Bayes threshold.
        self._decisions = np.searchsorted(self._starts, decisions)
        ratio = ratio_costs(scores, self._is_target)
        self._ratio_costs = [self._mean_cost(ratio, kind) for kind in (self._is_target, ~self._is_target)]

    def _sums(self, values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values, self._starts, dtype=np.float64 if values.dtype.kind == "f" else np.int64)

    def _mean_cost(self, ratio: np.ndarray, kind: np.ndarray) -> np.ndarray:
        return self._sums(ratio * kind) / np.maximum(self._sums(kind.astype(np.int64)), 1)

    def figures(self, weights: np.ndarray) -> list[float]:
        """Return the figures in the order of `figure_names` for (trials,) weights in the order of the list."""
        weights = weights[self._order]
        trials, targets = self._sums(weights), self._sums(weights * self._is_target)
        nontargets = trials - targets
        miss, false_alarm = error_rates(targets, nontargets)
        values = [equal_point(miss, false_alarm)[0]]
        for cost, decision in zip(self._costs, self._decisions, strict=True):
            dcf = cost.normalized(miss, false_alarm)
            values += [float(dcf.min()), float(dcf[decision])]
        ratio = sum(
            kind @ cost / kind.sum() for kind, cost in zip((targets, nontargets), self._ratio_costs, strict=True)
        )
        return [*values, float(ratio) / 2, pooled_cllr(targets, nontargets)]


def _step_starts(scores: np.ndarray, is_target: np.ndarray, decisions: np.ndarray) -> np.ndarray:
    """Return where steps begin among sorted scores: at every distinct score of a short list, fewer of a long list."""
    runs = np.flatnonzero(np.append(True, scores[1:] != scores[:-1]))
    cuts = [decisions[decisions < len(scores)]]
    for kind in (is_target, ~is_target):
        rows = np.flatnonzero(kind)
        ranks = _step_ranks(len(rows))
        cuts += [rows[ranks], rows[len(rows) - 1 - ranks]]
    starts = np.unique(np.concatenate([[0], *cuts]))
    # Each step begins at the first of equal scores.
    return np.unique(runs[np.searchsorted(runs, starts, side="right") - 1])


def _step_ranks(trials: int) -> np.ndarray:
    """Return ranks from 0 to the middle, with distances that grow with the rank."""
    ranks, rank = [], 0
    while rank <= trials // 2 and rank < trials:
        ranks.append(rank)
        rank += max(1, int(rank * _FINENESS))
    return np.array(ranks)
