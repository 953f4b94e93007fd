"""How certain figures are: bootstrap intervals over trials or over speakers, and paired tests between systems.

Each draw gives every trial a weight, the number of times it is in the resampled list. The scores are sorted once, and a
draw only sums weights: all figures come from the resulting counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from vouch.base.errors import VouchError
from vouch.evaluation.metrics import Cost, checked_trials, equal_point, error_rates, pooled_cllr, ratio_costs

# (generator) -> (trials,) weights of one draw
Resampling = Callable[[np.random.Generator], np.ndarray]
# A step of a resampled ROC holds at most this share of the trials of a kind that lie beyond it, on the side where there
# are fewer. Single trials within it matter a few hundredths of what resampling changes.
_FINENESS = 1 / 512
# The ends of an interval no longer change in the digits that are shown.
MOST_DRAWS = 100_000


class Interval(NamedTuple):
    """Ends of a percentile interval."""

    low: float
    high: float


class Difference(NamedTuple):
    """How far one system's figure lies above another's: the difference, its interval, and the two-sided p-value."""

    value: float
    interval: Interval
    p_value: float


def over_trials(is_target: np.ndarray) -> Resampling:
    """Resample target and non-target trials independently, with replacement (Efron and Tibshirani, 1993, chapter 13).

    Trials that share a speaker are not independent, so intervals from it are narrower than the truth.

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
    """Resample speakers with replacement, those of both sides at once (Snijders and Borgatti, 1999).

    A trial between two speakers is repeated for each pair of their copies, one within a speaker for each copy: both
    sides count. Two copies of one speaker make no non-target trials. What single trials contribute to the spread is
    counted up to three times for non-target trials, so that intervals of lists with few trials between each two
    speakers are rather too wide (Owen, 2007). Draws without any target or any non-target trial are drawn again.

    Parameters
    ----------
    is_target : (trials,) bool array
    enrol, test : ndarray
        (trials,) names or numbers of the speakers of the two sides.

    Raises
    ------
    VouchError
        There are less than two speakers.
    """
    speakers, rows = np.unique(np.concatenate([enrol, test]), return_inverse=True)
    if len(speakers) < 2:
        raise VouchError("resampling speakers needs at least two speakers")
    one, other = rows[: len(enrol)].astype(np.int32), rows[len(enrol) :].astype(np.int32)
    # Trials within a speaker count once for each copy of it: the number after the last speaker's is always 1.
    other[one == other] = len(speakers)
    kinds = [np.flatnonzero(kind) for kind in (is_target, ~np.asarray(is_target))]

    def draw(rng: np.random.Generator) -> np.ndarray:
        while True:
            drawn = rng.integers(len(speakers), size=len(speakers))
            copies = np.append(np.bincount(drawn, minlength=len(speakers)), 1).astype(np.int32)
            weights = copies[one]
            weights *= copies[other]
            # The first few trials nearly always answer it.
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
    """Return the figures of systems on resampled trials, the same ones for all systems.

    Parameters
    ----------
    systems : sequence of ndarray
        For each the (trials,) scores.
    is_target : (trials,) bool array
    resampling : Resampling
        `over_trials` or `over_speakers` of the same trials in the same order.
    costs : sequence of Cost
        The detection costs to compute.
    draws : int
        Number of bootstrap samples.
    seed : int
        Seed of the random generator; the same seed gives the same samples.

    Returns
    -------
    list of dict of str to ndarray
        For each system, under "eer", "min_dcf(P)" and "act_dcf(P)" for each target prior P, "cllr" and "min_cllr", the
        (draws,) values; costs and rates are shares, not percent.

    Raises
    ------
    VouchError
        See `vouch.evaluation.metrics.roc` and `figure_names`; or there is less than one draw, or more than
        `MOST_DRAWS`; or the seed is negative.
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
        A target prior is not between 0 and 1, or two are the same, in the six digits that names have.
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
    """Return the ends between which a share `level` of (draws,) bootstrap values lies, as much below as above."""
    if not 0 < level < 1:
        raise VouchError(f"an interval needs 0 < level < 1, not {level}")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def paired_difference(value: float, first: np.ndarray, second: np.ndarray, level: float = 0.95) -> Difference:
    """Return the difference first - second of a figure and how sure it is that it is not zero.

    Parameters
    ----------
    value : float
        Difference on the whole list.
    first, second : ndarray
        (draws,) the figure of both systems on the same resampled lists.
    level : float
        Probability of the interval.

    Returns
    -------
    Difference
        The p-value is twice the share of draws on the rarer side of zero, draws of exactly zero counted in, with one
        added to draws and to that share so that it is never 0 (Davison and Hinkley, 1997, chapter 4).
    """
    differences = first - second
    rarer = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    p_value = min(1.0, 2 * (rarer + 1) / (len(differences) + 1))
    return Difference(value, percentile_interval(differences, level), p_value)


def by_score(scores: np.ndarray, is_target: np.ndarray) -> np.ndarray:
    """Return the (trials,) order of ascending scores and, among equal ones, non-targets first.

    What is drawn from trials in this order does not depend on the order of their list, and is drawn faster.
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
        # The ROC point at which all steps below a Bayes threshold are rejected.
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
    """Return where steps begin among sorted scores: every distinct score of short lists, fewer ones of long lists."""
    runs = np.flatnonzero(np.append(True, scores[1:] != scores[:-1]))
    cuts = [decisions[decisions < len(scores)]]
    for kind in (is_target, ~is_target):
        rows = np.flatnonzero(kind)
        ranks = _step_ranks(len(rows))
        cuts += [rows[ranks], rows[len(rows) - 1 - ranks]]
    starts = np.unique(np.concatenate([[0], *cuts]))
    # A step begins with the first of equal scores.
    return np.unique(runs[np.searchsorted(runs, starts, side="right") - 1])


def _step_ranks(trials: int) -> np.ndarray:
    """Return ranks from 0 to the middle whose distance grows with the rank."""
    ranks, rank = [], 0
    while rank <= trials // 2 and rank < trials:
        ranks.append(rank)
        rank += max(1, int(rank * _FINENESS))
    return np.array(ranks)
