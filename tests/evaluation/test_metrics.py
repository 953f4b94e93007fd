"""Metrics against slow exact loops on spread and on tied scores."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from vouch.base.errors import VouchError
from vouch.evaluation import metrics


def sets_of(score: st.SearchStrategy) -> st.SearchStrategy:
    """Score sets with at least one target and one non-target."""
    side = st.lists(score, min_size=1, max_size=25)
    return st.tuples(side, side).map(
        lambda sides: (np.array(sides[0] + sides[1], float), np.arange(len(sides[0] + sides[1])) < len(sides[0]))
    )


SPREAD = sets_of(st.floats(-1e6, 1e6, allow_subnormal=False))
TIED = sets_of(st.integers(-2, 2))
EITHER = st.one_of(SPREAD, TIED)


def slow_roc(scores: np.ndarray, is_target: np.ndarray) -> list[tuple[float, Fraction, Fraction]]:
    """Count misses and false alarms anew at each threshold."""
    targets, nontargets = scores[is_target].tolist(), scores[~is_target].tolist()
    return [
        (
            threshold,
            Fraction(sum(score < threshold for score in targets), len(targets)),
            Fraction(sum(score >= threshold for score in nontargets), len(nontargets)),
        )
        for threshold in [*sorted(set(targets + nontargets)), math.inf]
    ]


def slow_eer(scores: np.ndarray, is_target: np.ndarray) -> Fraction:
    points = slow_roc(scores, is_target)
    for (_, miss_a, fa_a), (_, miss_b, fa_b) in itertools.pairwise(points):
        if miss_b >= fa_b:
            # miss_a + w (miss_b - miss_a) = fa_a + w (fa_b - fa_a)
            weight = (fa_a - miss_a) / ((miss_b - miss_a) - (fa_b - fa_a))
            return miss_a + weight * (miss_b - miss_a)
    raise AssertionError("reject-all has no false alarms")


@given(EITHER)
def test_roc_is_counted_at_each_threshold(trials):
    for point, expected in zip(np.column_stack(metrics.roc(*trials)), slow_roc(*trials), strict=True):
        assert point.tolist() == [float(value) for value in expected]


@given(EITHER)
def test_eer_equals_exact_arithmetic(trials):
    assert metrics.equal_error_rate(*trials).value == pytest.approx(float(slow_eer(*trials)), abs=1e-12)


@given(EITHER)
def test_scikit_learn_has_the_same_curve(trials):
    scores, is_target = trials
    false_alarm, hit, threshold = roc_curve(is_target, scores, drop_intermediate=False)
    ours = metrics.roc(scores, is_target)
    assert threshold[::-1].tolist() == ours.threshold.tolist()
    np.testing.assert_allclose(ours.false_alarm, false_alarm[::-1], atol=1e-9, rtol=0)
    np.testing.assert_allclose(ours.miss, 1 - hit[::-1], atol=1e-9, rtol=0)
    eer = np.interp(0, false_alarm - (1 - hit), false_alarm)
    assert metrics.equal_error_rate(scores, is_target).value == pytest.approx(eer, abs=1e-9)


@given(EITHER, st.floats(0.001, 0.999), st.floats(0.1, 10), st.floats(0.1, 10))
def test_min_dcf_equals_a_search_of_all_thresholds(trials, p_target, c_miss, c_fa):
    weights = c_miss * p_target, c_fa * (1 - p_target)
    costs = {t: weights[0] * float(miss) + weights[1] * float(fa) for t, miss, fa in slow_roc(*trials)}
    found = metrics.min_dcf(*trials, p_target, c_miss, c_fa)
    assert found.value == pytest.approx(min(costs.values()) / min(weights), abs=1e-12)
    assert costs[found.threshold] / min(weights) == pytest.approx(found.value, abs=1e-12)
    assert found.value <= 1 + 1e-12


@given(EITHER, st.floats(0.001, 0.999), st.floats(0.1, 10), st.floats(0.1, 10))
def test_act_dcf_is_the_cost_at_the_bayes_threshold(trials, p_target, c_miss, c_fa):
    scores, is_target = trials
    threshold = math.log(c_fa * (1 - p_target)) - math.log(c_miss * p_target)
    costs = [
        c_miss * p_target * np.mean([score < threshold for score in scores[is_target]]),
        c_fa * (1 - p_target) * np.mean([score >= threshold for score in scores[~is_target]]),
    ]
    found = metrics.act_dcf(*trials, p_target, c_miss, c_fa)
    if abs(scores - threshold).min() > 1e-9:
        assert found.value == pytest.approx(sum(costs) / min(c_miss * p_target, c_fa * (1 - p_target)), abs=1e-12)
        assert found.threshold == pytest.approx(threshold, abs=1e-12)
    assert found.value >= metrics.min_dcf(*trials, p_target, c_miss, c_fa).value - 1e-12


@given(EITHER)
def test_only_the_order_of_scores_counts(trials):
    scores, is_target = trials
    ranks = np.unique(scores, return_inverse=True)[1]
    for stretched in (ranks, np.exp(ranks), -1.0 / (1 + ranks)):
        assert metrics.equal_error_rate(stretched, is_target).value == metrics.equal_error_rate(*trials).value
        assert metrics.min_dcf(stretched, is_target, 0.05).value == metrics.min_dcf(*trials, 0.05).value
        assert metrics.min_cllr(stretched, is_target) == metrics.min_cllr(*trials)


@given(EITHER)
def test_swapping_labels_and_signs_changes_nothing(trials):
    scores, is_target = trials
    mirrored = metrics.equal_error_rate(-scores, ~is_target).value
    assert mirrored == pytest.approx(metrics.equal_error_rate(*trials).value, abs=1e-12)
    cost = metrics.min_dcf(-scores, ~is_target, 1 - 0.05).value
    assert cost == pytest.approx(metrics.min_dcf(*trials, 0.05).value, abs=1e-12)


@given(EITHER, st.randoms(use_true_random=False))
def test_the_order_of_trials_does_not_count(trials, random):
    order = list(range(len(trials[0])))
    random.shuffle(order)
    shuffled = trials[0][order], trials[1][order]
    assert metrics.equal_error_rate(*shuffled) == metrics.equal_error_rate(*trials)
    assert metrics.min_dcf(*shuffled, 0.01) == metrics.min_dcf(*trials, 0.01)


def test_eer_threshold_separates_at_the_eer():
    rng = np.random.default_rng(0)
    is_target = np.arange(3000) < 1000
    scores = rng.standard_normal(3000) + 2 * is_target
    rate, threshold = metrics.equal_error_rate(scores, is_target)
    assert np.mean(scores[is_target] < threshold) == pytest.approx(rate, abs=1 / 1000)
    assert np.mean(scores[~is_target] >= threshold) == pytest.approx(rate, abs=1 / 2000)


@pytest.mark.parametrize(
    ("targets", "nontargets", "rate", "threshold"),
    [
        ([3, 4], [1, 2], 0.0, 3.0),  # separable
        ([1, 2], [3, 4], 1.0, 3.0),  # inverted
        ([1, 1], [1, 1, 1], 0.5, 1.0),  # all equal: reject-all has no finite threshold to interpolate with
        ([0, 2], [1], 0.5, 1.5),
        ([2], [2], 0.5, 2.0),
    ],
)
def test_eer_of_extreme_sets(targets, nontargets, rate, threshold):
    scores = np.array(targets + nontargets, float)
    found = metrics.equal_error_rate(scores, np.arange(len(scores)) < len(targets))
    assert found == metrics.OperatingPoint(rate, threshold)


def test_min_dcf_can_reject_or_accept_everything():
    inverted = np.array([0.0, 1.0]), np.array([True, False])
    assert metrics.min_dcf(*inverted, 0.01) == metrics.OperatingPoint(1.0, math.inf)
    assert metrics.min_dcf(*inverted, 0.99) == metrics.OperatingPoint(1.0, 0.0)


@given(EITHER)
def test_cllr_is_the_mean_of_log_costs(trials):
    scores, is_target = trials
    scores = np.clip(scores, -500, 500)
    miss = np.mean([math.log2(1 + math.exp(-score)) for score in scores[is_target]])
    false_alarm = np.mean([math.log2(1 + math.exp(score)) for score in scores[~is_target]])
    assert metrics.cllr(scores, is_target) == pytest.approx((miss + false_alarm) / 2, rel=1e-12)


def test_cllr_of_extreme_ratios():
    is_target = np.array([True, False])
    assert metrics.cllr(np.zeros(2), is_target) == 1
    assert metrics.cllr(np.array([1e5, -1e5]), is_target) == 0
    assert metrics.cllr(np.array([-1e5, 1e5]), is_target) == pytest.approx(1e5 / math.log(2))


@pytest.mark.parametrize(
    ("scores", "is_target", "message"),
    [
        ([], [], "0 target and 0 non-target"),
        ([1.0, 2.0], [True, True], "2 target and 0 non-target"),
        ([1.0, 2.0], [False, False], "0 target and 2 non-target"),
        ([1.0, math.nan, 3.0], [True, False, True], "1 of 3 scores are NaN or infinite, the first is number 2"),
        ([1.0, 2.0, -math.inf], [True, False, True], "the first is number 3"),
        ([1.0, 2.0], [True], "one label per score"),
    ],
)
def test_unusable_scores_are_refused(scores, is_target, message):
    arrays = np.array(scores, float), np.array(is_target, bool)
    functions = (
        metrics.roc,
        metrics.equal_error_rate,
        metrics.cllr,
        metrics.min_cllr,
        lambda *trials: metrics.min_dcf(*trials, 0.01),
        lambda *trials: metrics.act_dcf(*trials, 0.01),
    )
    for function in functions:
        with pytest.raises(VouchError, match=message):
            function(*arrays)


@pytest.mark.parametrize("dcf", [metrics.min_dcf, metrics.act_dcf])
@pytest.mark.parametrize("setting", [(0.0,), (1.0,), (0.01, 0), (0.01, 1, -1)])
def test_impossible_costs_are_refused(dcf, setting):
    with pytest.raises(VouchError, match="a detection cost needs"):
        dcf(np.array([0.0, 1.0]), np.array([False, True]), *setting)


def pooled_blocks(scores: np.ndarray, is_target: np.ndarray) -> list[list[int]]:
    """Pool adjacent violators one pair at a time: [targets, non-targets] of each block."""
    blocks = [
        [int(np.sum(is_target[scores == score])), int(np.sum(~is_target[scores == score]))]
        for score in sorted(set(scores.tolist()))
    ]
    row = 0
    while row + 1 < len(blocks):
        (t, n), (next_t, next_n) = blocks[row : row + 2]
        if Fraction(t, t + n) >= Fraction(next_t, next_t + next_n):
            blocks[row : row + 2] = [[t + next_t, n + next_n]]
            row = max(0, row - 1)
        else:
            row += 1
    return blocks


@given(EITHER)
def test_min_cllr_is_cllr_of_pooled_ratios(trials):
    _, is_target = trials
    targets, nontargets = is_target.sum(), (~is_target).sum()
    ratios, labels = [], []
    for t, n in pooled_blocks(*trials):
        # Blocks of one kind have infinite ratios; 1000 costs nothing either.
        ratio = math.log(t / targets) - math.log(n / nontargets) if t and n else 1000 * (1 if t else -1)
        ratios += [ratio] * (t + n)
        labels += [True] * t + [False] * n
    expected = metrics.cllr(np.array(ratios), np.array(labels))
    assert metrics.min_cllr(*trials) == pytest.approx(expected, abs=1e-9)
    assert -1e-12 <= metrics.min_cllr(*trials) <= 1 + 1e-12


@given(EITHER, st.floats(0.1, 3), st.floats(-2, 2))
def test_no_calibration_beats_min_cllr(trials, slope, offset):
    scores, is_target = trials
    scores = np.clip(scores, -500, 500)
    assert metrics.cllr(slope * scores + offset, is_target) >= metrics.min_cllr(scores, is_target) - 1e-9


def test_min_cllr_of_extreme_sets():
    is_target = np.array([True, True, False])
    assert metrics.min_cllr(np.array([2.0, 3.0, 1.0]), is_target) == 0
    assert metrics.min_cllr(np.zeros(3), is_target) == pytest.approx(1)
    assert metrics.min_cllr(np.array([1.0, 1.0, 2.0]), is_target) == pytest.approx(1)
