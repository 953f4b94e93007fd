"""Equal error rates and minimum detection costs as other programs define them, to compare with published figures.

The definitions differ by up to a few steps of the ROC: hundredths of a percent on long trial lists, much more on short
ones or with tied scores. Vouch's own definitions are in `vouch.evaluation.metrics`; nothing else in Vouch uses these.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from types import MappingProxyType

import numpy as np

from vouch.base.errors import VouchError
from vouch.evaluation.metrics import Cost, OperatingPoint, checked_trials, count_trials

_Definition = Callable[[np.ndarray, np.ndarray], OperatingPoint]


def voxceleb_trainer_eer(scores: np.ndarray, is_target: np.ndarray) -> OperatingPoint:
    """Return the larger of the two error rates where they are nearest, as voxceleb_trainer does.

    The rates come from a ROC without points inside straight segments, which may lack the nearest one.

    Parameters
    ----------
    scores : (trials,) float array
        Larger for targets.
    is_target : (trials,) bool array

    Raises
    ------
    VouchError
        As from `vouch.evaluation.metrics.roc`.
    """
    threshold, false_alarm, miss = _thinned_roc(scores, is_target)
    nearest = int(np.argmin(np.abs(miss - false_alarm)))
    return OperatingPoint(float(max(false_alarm[nearest], miss[nearest])), float(threshold[nearest]))


def pyannote_eer(scores: np.ndarray, is_target: np.ndarray) -> OperatingPoint:
    """Return the mean of the four rates around the crossing, as pyannote.metrics does.

    The points come from the same thinned ROC as in `voxceleb_trainer_eer` and may be far apart: the result is 0.25 when
    all targets score above all non-targets. The parameters are those of `voxceleb_trainer_eer`.
    """
    threshold, false_alarm, miss = _thinned_roc(scores, is_target)
    right = int(np.argmax(false_alarm > miss))
    ends = slice(right - 1, right + 1)
    return OperatingPoint(float((false_alarm[ends] + miss[ends]).sum() / 4), float(threshold[right]))


def kaldi_eer(scores: np.ndarray, is_target: np.ndarray) -> OperatingPoint:
    """Return the share of targets below the threshold at which Kaldi's compute-eer stops.

    compute-eer goes up the sorted target scores until the non-target score at the same rank from the top, in
    proportion, is lower. The result is a multiple of 1 / targets and never 1. The parameters are those of
    `voxceleb_trainer_eer`.
    """
    scores, is_target = checked_trials(scores, is_target)
    scores = scores.astype(np.float32)  # the precision of compute-eer
    targets, nontargets = np.sort(scores[is_target]), np.sort(scores[~is_target])
    position = np.arange(len(targets) - 1)
    opposite = np.maximum(len(nontargets) - 1 - len(nontargets) * position // len(targets), 0)
    below = nontargets[opposite] < targets[:-1]
    stop = int(np.argmax(below)) if below.any() else len(targets) - 1
    return OperatingPoint(stop / len(targets), float(targets[stop]))


def feerci_eer(scores: np.ndarray, is_target: np.ndarray) -> OperatingPoint:
    """Return the EER of feerci, which bisects the two sorted lists of scores (Haasnoot et al., 2018).

    Rates are counted in steps of 1 / (n - 1). Rates and scores have single precision, whose rounding may decide between
    the two rates at the crossing. Tied scores are treated arbitrarily; a few of them may even give a negative rate. The
    parameters are those of `voxceleb_trainer_eer`; the threshold is the target score at which the bisection ends.

    Raises
    ------
    VouchError
        As from `vouch.evaluation.metrics.roc`, or the scores overlap with fewer than two trials of a kind.
    """
    scores, is_target = checked_trials(scores, is_target)
    targets, nontargets = np.sort(scores[is_target]), np.sort(scores[~is_target])
    if nontargets[-1] < targets[0]:
        return OperatingPoint(0.0, float(targets[0]))
    if targets[-1] < nontargets[0]:
        return OperatingPoint(1.0, float(targets[-1]))
    last_target, last_nontarget = len(targets) - 1, len(nontargets) - 1
    if not (last_target and last_nontarget):
        raise VouchError("feerci's EER needs two target and two non-target trials")
    low_t, high_t, low_n, high_n = _feerci_bracket(targets, nontargets)
    threshold = float(targets[low_t])
    # feerci computes in single precision.
    if np.float32(targets[low_t]) >= np.float32(nontargets[low_n]):
        low_t = bisect.bisect_right(targets, np.float32(nontargets[low_n]))
        high_t = bisect.bisect_left(targets, np.float32(nontargets[high_n])) - 1
    else:
        low_n = bisect.bisect_right(nontargets, np.float32(targets[low_t]))
    low, high = np.array([low_t, high_t], np.float32) / np.float32(last_target)
    false_alarm = np.float32(1 - float(np.float32(low_n) / np.float32(last_nontarget)))
    crosses = false_alarm == high or (false_alarm - low) / (false_alarm - high) > 0
    return OperatingPoint(float(high if crosses else false_alarm), threshold)


def ge2e_eer(scores: np.ndarray, is_target: np.ndarray) -> OperatingPoint:
    """Return the mean error rate of the best of the thresholds 0.50, 0.51, ..., 0.99, as GE2E code bases do.

    Scores above the threshold are accepted. The thresholds suit cosines of networks trained with GE2E; if the error
    rates cross below 0.5, the result is meaningless. The parameters are those of `voxceleb_trainer_eer`.
    """
    scores, is_target = checked_trials(scores, is_target)
    thresholds = 0.5 + 0.01 * np.arange(50)
    targets, nontargets = np.sort(scores[is_target]), np.sort(scores[~is_target])
    miss = np.searchsorted(targets, thresholds, side="right") / len(targets)
    false_alarm = 1 - np.searchsorted(nontargets, thresholds, side="right") / len(nontargets)
    best = int(np.argmin(np.abs(false_alarm - miss)))
    return OperatingPoint(float((false_alarm[best] + miss[best]) / 2), float(thresholds[best]))


def sequential_min_dcf(
    scores: np.ndarray, is_target: np.ndarray, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0
) -> OperatingPoint:
    """Return the minimum detection cost of voxceleb_trainer and of Kaldi's compute_min_dcf.py.

    Tied trials are rejected one after the other, in the order of the list, which no threshold can do, and accepting
    every trial is not considered. Otherwise it equals `vouch.evaluation.metrics.min_dcf`, with the same parameters.

    Returns
    -------
    OperatingPoint
        The cost, and the highest score that is rejected.
    """
    scores, is_target = checked_trials(scores, is_target)
    order = np.argsort(scores, kind="stable")
    rejected = is_target[order]
    miss = np.cumsum(rejected) / rejected.sum()
    false_alarm = 1 - np.cumsum(~rejected) / (~rejected).sum()
    cost = Cost(p_target, c_miss, c_fa).normalized(miss, false_alarm)
    best = int(np.argmin(cost))
    return OperatingPoint(float(cost[best]), float(scores[order[best]]))


# Equal error rates by the program that defines them.
EQUAL_ERROR_RATES: MappingProxyType[str, _Definition] = MappingProxyType(
    {
        "voxceleb_trainer": voxceleb_trainer_eer,
        "kaldi": kaldi_eer,
        "pyannote": pyannote_eer,
        "feerci": feerci_eer,
        "ge2e": ge2e_eer,
    }
)

# Minimum detection costs, for the programs above that have a definition of their own.
MIN_DCFS = MappingProxyType({"voxceleb_trainer": sequential_min_dcf, "kaldi": sequential_min_dcf})


def _thinned_roc(scores: np.ndarray, is_target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return threshold, false-alarm and miss rates, in descending order of thresholds, as scikit-learn's roc_curve.

    Points inside straight segments are left out, and a point that rejects every trial comes first.
    """
    counts = count_trials(scores, is_target)
    accepted, false = np.cumsum(counts.targets[::-1]), np.cumsum(counts.nontargets[::-1])
    bends = np.flatnonzero(np.diff(accepted, 2) | np.diff(false, 2)) + 1
    keep = np.unique([0, *bends, len(accepted) - 1])
    false_alarm = np.append(0, false[keep]) / false[-1]
    miss = 1 - np.append(0, accepted[keep]) / accepted[-1]
    return np.append(np.inf, counts.score[::-1][keep]), false_alarm, miss


def _feerci_bracket(targets: np.ndarray, nontargets: np.ndarray) -> tuple[int, int, int, int]:
    """Return the last positions of feerci's bisection, rounded down and up, in both sorted lists.

    When the first comparison decides a step, the two positions that it does not use keep their former values.
    """
    last_target, last_nontarget = len(targets) - 1, len(nontargets) - 1
    position, step = 0.5, 1.0
    for _ in range(2 * int(math.log2(max(len(targets), len(nontargets))))):
        low_t, high_n = math.floor((1 - position) * last_target), math.ceil(position * last_nontarget)
        if targets[low_t] > nontargets[high_n]:
            step /= 2
            position += step
            continue
        high_t, low_n = math.ceil((1 - position) * last_target), math.floor(position * last_nontarget)
        if nontargets[low_n] <= targets[high_t]:
            break
        step /= 2
        position -= step
    return low_t, high_t, low_n, high_n
