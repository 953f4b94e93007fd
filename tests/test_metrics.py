"""Metrics against slow exact loops, a plain bootstrap and figures that other programs computed."""

import itertools
import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vouch import metrics
from vouch.errors import VouchError
from vouch.kaldi.scores import join_scores, read_scores
from vouch.kaldi.trials import read_trials

GOLDEN = Path(__file__).parent / "golden"


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


@given(EITHER, st.floats(0.001, 0.999), st.floats(0.1, 10), st.floats(0.1, 10))
def test_min_dcf_equals_a_search_of_all_thresholds(trials, p_target, c_miss, c_fa):
    weights = c_miss * p_target, c_fa * (1 - p_target)
    costs = {t: weights[0] * float(miss) + weights[1] * float(fa) for t, miss, fa in slow_roc(*trials)}
    found = metrics.min_dcf(*trials, p_target, c_miss, c_fa)
    assert found.value == pytest.approx(min(costs.values()) / min(weights), abs=1e-12)
    assert costs[found.threshold] / min(weights) == pytest.approx(found.value, abs=1e-12)
    assert found.value <= 1 + 1e-12


@given(EITHER)
def test_only_the_order_of_scores_counts(trials):
    scores, is_target = trials
    ranks = np.unique(scores, return_inverse=True)[1]
    for stretched in (ranks, np.exp(ranks), -1.0 / (1 + ranks)):
        assert metrics.equal_error_rate(stretched, is_target).value == metrics.equal_error_rate(*trials).value
        assert metrics.min_dcf(stretched, is_target, 0.05).value == metrics.min_dcf(*trials, 0.05).value
        assert metrics.eer_interval(stretched, is_target, draws=20) == metrics.eer_interval(*trials, draws=20)


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
    assert metrics.eer_interval(*shuffled, draws=20) == metrics.eer_interval(*trials, draws=20)


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


def overlapping(targets: int, nontargets: int, shift: float, decimals: int) -> tuple[np.ndarray, np.ndarray]:
    is_target = np.arange(targets + nontargets) < targets
    noise = np.random.default_rng(1).standard_normal(len(is_target))
    return np.round(noise + shift * is_target, decimals), is_target


@pytest.mark.parametrize(
    "trials",
    [
        overlapping(40, 60, 1.5, 9),  # all scores are near the crossing
        overlapping(60, 90, 1.5, 0),  # tied
        overlapping(2000, 2000, 3.0, 9),  # most scores are far from the crossing
        overlapping(300, 4000, 2.0, 1),
        overlapping(3000, 2000, 1.0, 0),  # ties that are drawn all at once
        overlapping(30, 900, 5.0, 9),  # a single error or two
    ],
    ids=["small", "small-tied", "large", "unbalanced-tied", "heavily-tied", "rare-errors"],
)
def test_interval_equals_the_plain_bootstrap(trials):
    scores, is_target = trials
    rng = np.random.default_rng(2)
    plain = []
    for _ in range(1500):
        chosen = np.concatenate([rng.choice(np.flatnonzero(kind), kind.sum()) for kind in (is_target, ~is_target)])
        plain.append(metrics.equal_error_rate(scores[chosen], is_target[chosen]).value)
    plain = np.array(plain)
    for level in (0.5, 0.95):
        ends = metrics.eer_interval(scores, is_target, draws=4000, level=level, seed=3)
        for share, end in zip([(1 - level) / 2, (1 + level) / 2], ends, strict=True):
            # EERs come in steps: the end of an interval may carry many draws at once.
            noise = 3.5 * np.sqrt(share * (1 - share) * (1 / 1500 + 1 / 4000))
            assert np.mean(plain < end - 1e-9) - noise <= share <= np.mean(plain <= end + 1e-9) + noise


def test_interval_is_reproducible_and_grows_with_the_level():
    trials = overlapping(100, 200, 1.0, 9)
    assert metrics.eer_interval(*trials, seed=5) == metrics.eer_interval(*trials, seed=5)
    assert metrics.eer_interval(*trials, seed=5) != metrics.eer_interval(*trials, seed=6)
    low, high = metrics.eer_interval(*trials, level=0.5)
    wide_low, wide_high = metrics.eer_interval(*trials, level=0.99)
    assert wide_low < low < metrics.equal_error_rate(*trials).value < high < wide_high


@settings(max_examples=30)
@given(EITHER)
def test_interval_lies_among_rates(trials):
    low, high = metrics.eer_interval(*trials, draws=50)
    assert 0 <= low <= high <= 1


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
        metrics.eer_interval,
        lambda *trials: metrics.min_dcf(*trials, 0.01),
    )
    for function in functions:
        with pytest.raises(VouchError, match=message):
            function(*arrays)


def test_impossible_settings_are_refused():
    trials = np.array([0.0, 1.0]), np.array([False, True])
    for settings_ in ((0.0,), (1.0,), (0.01, 0), (0.01, 1, -1)):
        with pytest.raises(VouchError, match="minDCF needs"):
            metrics.min_dcf(*trials, *settings_)
    for draws, level in ((0, 0.95), (10, 0.0), (10, 1.0)):
        with pytest.raises(VouchError, match="bootstrap needs"):
            metrics.eer_interval(*trials, draws, level)


def load_sets(name: str, key: str) -> list[tuple[str, np.ndarray, np.ndarray]]:
    arrays = np.load(GOLDEN / f"{name}.npz")
    label = "label" if key == "distance" else "labels"
    sign = -1 if key == "distance" else 1
    names = [entry.split("/")[0] for entry in arrays.files if entry.endswith(f"/{key}")]
    return [(n, sign * arrays[f"{n}/{key}"].astype(float), arrays[f"{n}/{label}"] == 1) for n in names]


def has_ties(scores: np.ndarray) -> bool:
    return len(np.unique(scores)) < len(scores)


@pytest.mark.parametrize(("name", "scores", "is_target"), load_sets("voxceleb_trainer_metrics", "scores"))
def test_agrees_with_voxceleb_trainer(name, scores, is_target):
    reference = json.loads((GOLDEN / "voxceleb_trainer_metrics.json").read_text())[name]
    found = 100 * metrics.equal_error_rate(scores, is_target).value
    # It takes the larger rate of the threshold where both are nearest; tied scores set them far apart.
    rates = 100 * reference["fpr_at_eer"], 100 * reference["fnr_at_eer"]
    step = 100 / is_target.sum()
    assert min(rates) - step <= found <= max(rates) + step
    if not has_ties(scores):
        assert found == pytest.approx(reference["eer_percent"], abs=step)
    for setting, expected in reference["dcf"].items():
        p_target, c_miss, c_fa = (float(word.lstrip("pmisfa")) for word in setting.split("_"))
        cost = metrics.min_dcf(scores, is_target, p_target, c_miss, c_fa).value
        if has_ties(scores):
            # It separates tied trials, which no threshold can, in the order of its list.
            assert cost >= expected["min_dcf"] - 0.05
        else:
            assert cost == pytest.approx(expected["min_dcf"], abs=1e-12)


@pytest.mark.parametrize(("name", "distance", "is_target"), load_sets("pyannote_eer", "distance"))
def test_agrees_with_pyannote(name, distance, is_target):
    reference = json.loads((GOLDEN / "pyannote_eer.json").read_text())[name]
    found = metrics.equal_error_rate(distance, is_target).value
    if name != "separable":  # there it says 0.25
        # It takes the mean of four rates at the ends of a step that may be several trials long.
        assert found == pytest.approx(reference["eer_det_curve"], abs=2 / is_target.sum())
    if not has_ties(distance):
        assert found == pytest.approx(reference["eer_feer"], abs=1 / is_target.sum())
        if "plain_bootstrap_ci95" in reference:
            interval = metrics.eer_interval(distance, is_target, draws=4000)
            expected = reference["plain_bootstrap_ci95"]
            assert interval == pytest.approx(expected, abs=0.3 * reference["plain_bootstrap_std"])


@pytest.mark.parametrize("name", ["gauss_37_211", "gauss_500_4000", "perfect", "inverted", "one_target", "two", "ties"])
def test_agrees_with_kaldi(name):
    reference = json.loads((GOLDEN / "kaldi_eer" / "metrics.json").read_text())[name]
    paths = GOLDEN / f"kaldi_eer/{name}.trials", GOLDEN / f"kaldi_eer/{name}.scores"
    scores, is_target = join_scores(read_trials(paths[0]), read_scores(paths[1]), *paths)
    if name != "inverted":  # it never reaches 100 %
        found = metrics.equal_error_rate(scores, is_target).value
        assert found == pytest.approx(float(reference["eer_stdout"]) / 100, abs=1 / is_target.sum() + 5e-5)
    if not has_ties(scores):
        for p_target in ("0.01", "0.001", "0.05"):
            cost = metrics.min_dcf(scores, is_target, float(p_target)).value
            assert f"{cost:.4f}" == reference[f"mindcf_{p_target}"]
        assert f"{metrics.min_dcf(scores, is_target, 0.01, 10).value:.4f}" == reference["mindcf_0.01_cmiss10"]
