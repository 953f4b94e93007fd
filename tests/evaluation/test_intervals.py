"""Intervals and paired tests against a plain bootstrap that repeats trials and computes each figure anew."""

import itertools

import numpy as np
import pytest
from eer_intervals import eer_interval
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from vouch.base.errors import VouchError
from vouch.evaluation import metrics
from vouch.evaluation.intervals import (
    bootstrap,
    by_score,
    over_speakers,
    over_trials,
    paired_difference,
    percentile_interval,
)
from vouch.evaluation.metrics import Cost

COSTS = (Cost(0.01), Cost(0.2))


def overlapping(targets: int, nontargets: int, shift: float, decimals: int) -> tuple[np.ndarray, np.ndarray]:
    is_target = np.arange(targets + nontargets) < targets
    noise = np.random.default_rng(1).standard_normal(len(is_target))
    return np.round(noise + shift * is_target, decimals), is_target


def plain_figures(scores: np.ndarray, is_target: np.ndarray) -> dict[str, float]:
    """Every figure by its definition."""
    return {
        "eer": metrics.equal_error_rate(scores, is_target).value,
        **{f"min_dcf({cost.p_target})": metrics.min_dcf(scores, is_target, *cost).value for cost in COSTS},
        **{f"act_dcf({cost.p_target})": metrics.act_dcf(scores, is_target, *cost).value for cost in COSTS},
        "cllr": metrics.cllr(scores, is_target),
        "min_cllr": metrics.min_cllr(scores, is_target),
    }


@pytest.mark.parametrize("decimals", [9, 0])
@pytest.mark.parametrize("kind", ["trials", "speakers"])
def test_a_draw_is_the_list_with_trials_repeated(kind, decimals):
    scores, is_target = overlapping(200, 300, 1.0, decimals)
    speakers = np.random.default_rng(3).choice(list("abcdef"), size=(2, len(scores)))
    resampling = over_trials(is_target) if kind == "trials" else over_speakers(is_target, *speakers)
    (found,) = bootstrap([scores], is_target, resampling, COSTS, draws=20, seed=7)
    rng = np.random.default_rng(7)
    for draw in range(20):
        rows = np.repeat(np.arange(len(scores)), resampling(rng))
        expected = plain_figures(scores[rows], is_target[rows])
        assert {name: values[draw] for name, values in found.items()} == pytest.approx(expected, abs=1e-12)


def test_trials_of_each_kind_are_drawn_with_replacement():
    is_target = np.arange(50) % 5 == 0
    weights = np.array([over_trials(is_target)(np.random.default_rng(seed)) for seed in range(4000)])
    assert (weights[:, is_target].sum(axis=1) == 10).all()
    assert (weights[:, ~is_target].sum(axis=1) == 40).all()
    for kind, number in ((is_target, 10), (~is_target, 40)):
        assert weights[:, kind].mean(axis=0) == pytest.approx(np.ones(number), abs=0.08)
        assert weights[:, kind].var(axis=0) == pytest.approx(np.full(number, 1 - 1 / number), abs=0.15)


def test_speakers_are_drawn_with_replacement():
    names = [f"s{number}" for number in range(8)]
    pairs = [(a, b) for a in names for b in names if a <= b]
    is_target = np.array([a == b for a, b in pairs])
    resampling = over_speakers(is_target, *zip(*pairs, strict=True))
    total = np.zeros(8)
    for seed in range(500):
        weight = dict(zip(pairs, resampling(np.random.default_rng(seed)).tolist(), strict=True))
        copies = {name: weight[name, name] for name in names}
        assert sum(copies.values()) == 8
        assert all(weight[a, b] == copies[a] * copies[b] for a, b in pairs if a != b)
        total += list(copies.values())
    assert total / 500 == pytest.approx(np.ones(8), abs=0.2)


def test_both_sides_count():
    """A draw holds a trial as often as a list that is made from the drawn speakers, one by one, holds it."""
    rng = np.random.default_rng(4)
    enrol, test = rng.choice(list("abcdef"), size=(2, 80))
    resampling = over_speakers(enrol == test, enrol, test)
    for seed in range(30):
        drawn = [sorted(set("abcdef"))[row] for row in np.random.default_rng(seed).integers(6, size=6)]
        made = [
            row
            for row, (one, other) in enumerate(zip(enrol, test, strict=True))
            for first, second in itertools.product(range(6), repeat=2)
            if (drawn[first], drawn[second]) == (one, other) and (first == second) == (one == other)
        ]
        found = resampling(np.random.default_rng(seed))
        assert found.tolist() == np.bincount(made, minlength=80).tolist()


def test_intervals_over_speakers_cover_the_truth_and_those_over_trials_do_not():
    """Of lists of 40 speakers from a known population, about 95 % of the intervals hold the population's EER.

    A target score is the speaker's, a non-target score the sum of both speakers', plus that of the trial. All scores
    are normal, of variance 2 (0.5 + 0.5 + 1) for either kind and 3 apart.
    """
    truth, held = ndtr(-1.5 / np.sqrt(2)), np.zeros(2)
    enrol, test = (np.append(np.repeat(np.arange(40), 4), side) for side in np.triu_indices(40, 1))
    is_target = enrol == test
    for seed in range(100):
        rng = np.random.default_rng(seed)
        alone, paired = rng.standard_normal(40), np.sqrt(0.5) * rng.standard_normal(40)
        scores = np.where(is_target, 3 + alone[enrol], paired[enrol] + paired[test])
        scores += rng.standard_normal(len(scores))
        order = by_score(scores, is_target)
        sides = enrol[order], test[order]
        for row, resampling in enumerate((over_speakers(is_target[order], *sides), over_trials(is_target[order]))):
            (values,) = bootstrap([scores[order]], is_target[order], resampling, (), 100, seed)
            low, high = percentile_interval(values["eer"])
            held[row] += low <= truth <= high
    assert held[0] >= 86
    assert held[1] <= 75


def test_draws_without_a_kind_are_drawn_again():
    # Half of the draws have one speaker only, and no non-target trial.
    is_target = np.array([True, True, False])
    resampling = over_speakers(is_target, list("aba"), list("abb"))
    (values,) = bootstrap([np.array([3.0, 1.0, 2.0])], is_target, resampling, (), 40)
    assert np.isfinite(values["eer"]).all()
    with pytest.raises(VouchError, match="at least two speakers"):
        over_speakers(is_target, list("aaa"), list("aaa"))


def test_speakers_that_differ_widen_the_interval():
    rng = np.random.default_rng(0)
    speaker = np.repeat(np.arange(12), 100)
    is_target = np.arange(1200) % 2 == 0
    # Some speakers are hard.
    scores = rng.standard_normal(1200) + is_target * (3.0 - 2.5 * (speaker % 3 == 0))
    names = [f"s{number:02d}" for number in speaker]
    partners = [
        f"s{n if t else (n + 1 + i % 11) % 12:02d}" for i, (n, t) in enumerate(zip(speaker, is_target, strict=True))
    ]
    widths = []
    for resampling in (over_trials(is_target), over_speakers(is_target, names, partners)):
        (values,) = bootstrap([scores], is_target, resampling, (), 300)
        low, high = percentile_interval(values["eer"])
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]


@pytest.mark.parametrize(
    "trials",
    [
        overlapping(40, 60, 1.5, 9),
        overlapping(60, 90, 1.5, 0),  # tied
        overlapping(20_000, 30_000, 3.0, 9),  # several trials are one step
        overlapping(300, 4000, 2.0, 1),
        overlapping(30, 900, 5.0, 9),  # a single error or two
    ],
    ids=["small", "small-tied", "large", "unbalanced-tied", "rare-errors"],
)
def test_intervals_equal_those_of_the_plain_bootstrap(trials):
    scores, is_target = trials
    draws = 150 if len(scores) > 10_000 else 400
    rng = np.random.default_rng(2)
    rows = []
    for _ in range(draws):
        chosen = np.concatenate([rng.choice(np.flatnonzero(kind), kind.sum()) for kind in (is_target, ~is_target)])
        rows.append(plain_figures(scores[chosen], is_target[chosen]))
    (found,) = bootstrap(*[[scores], is_target], over_trials(is_target), COSTS, draws=800, seed=3)
    for name, values in found.items():
        plain = np.array([row[name] for row in rows])
        for share in (0.1, 0.5, 0.9):
            end = np.quantile(values, share)
            # Figures come in steps: one value may carry many draws at once.
            noise = 4 * np.sqrt(share * (1 - share) * (1 / draws + 1 / 800))
            assert np.mean(plain < end - 1e-9) - noise <= share <= np.mean(plain <= end + 1e-9) + noise, name


def test_steps_of_long_lists_change_little():
    scores, is_target = overlapping(30_000, 60_000, 2.5, 9)
    (found,) = bootstrap([scores], is_target, lambda _: np.ones(len(scores), np.int32), COSTS, draws=1)
    (values,) = bootstrap([scores], is_target, over_trials(is_target), COSTS, draws=100)
    for name, expected in plain_figures(scores, is_target).items():
        assert abs(found[name][0] - expected) < 0.1 * values[name].std(), name


def test_intervals_cover_the_truth():
    """Of many small lists from known distributions, about 95 % of the intervals hold the true EER."""
    truth, held = 0.15865525393145707, 0  # of normal scores 2 standard deviations apart
    for seed in range(120):
        is_target = np.arange(400) < 200
        scores = np.random.default_rng(seed).standard_normal(400) + 2 * is_target
        low, high = eer_interval(scores, is_target, draws=100)
        held += low <= truth <= high
    assert 0.86 <= held / 120 <= 1


def test_interval_is_reproducible_and_grows_with_the_level():
    trials = overlapping(100, 200, 1.0, 9)
    assert eer_interval(*trials, seed=5) == eer_interval(*trials, seed=5)
    assert eer_interval(*trials, seed=5) != eer_interval(*trials, seed=6)
    low, high = eer_interval(*trials, level=0.5)
    wide_low, wide_high = eer_interval(*trials, level=0.99)
    assert wide_low < low < metrics.equal_error_rate(*trials).value < high < wide_high


SIDE = st.lists(st.one_of(st.integers(-2, 2), st.floats(-9, 9)), min_size=1, max_size=25)


@settings(max_examples=40, deadline=None)
@given(SIDE, SIDE, st.randoms(use_true_random=False))
def test_neither_order_nor_scale_counts(targets, nontargets, random):
    scores = np.array(targets + nontargets, float)
    is_target = np.arange(len(scores)) < len(targets)
    low, high = eer_interval(scores, is_target, draws=20)
    assert 0 <= low <= high <= 1
    order = list(range(len(scores)))
    random.shuffle(order)
    assert eer_interval(scores[order], is_target[order], draws=20) == (low, high)
    assert eer_interval(np.unique(scores, return_inverse=True)[1], is_target, draws=20) == (low, high)
    assert (np.diff(scores[by_score(scores, is_target)]) >= 0).all()


def test_a_paired_test_sees_what_separate_intervals_hide():
    rng = np.random.default_rng(0)
    is_target = np.arange(3000) < 1000
    scores = rng.standard_normal(3000) + 2 * is_target
    better = scores + 0.1 * rng.standard_normal(3000) + 0.15 * is_target
    first, second = (
        values["eer"] for values in bootstrap([scores, better], is_target, over_trials(is_target), (), 400)
    )
    intervals = [percentile_interval(values) for values in (first, second)]
    assert intervals[0].low < intervals[1].high
    value = metrics.equal_error_rate(scores, is_target).value - metrics.equal_error_rate(better, is_target).value
    found = paired_difference(value, first, second)
    assert 0 < found.interval.low < found.value < found.interval.high
    assert found.p_value < 0.02


def test_equal_systems_do_not_differ():
    scores, is_target = overlapping(50, 60, 1.0, 9)
    one, other = bootstrap([scores, 3 * scores], is_target, over_trials(is_target), (), 50)
    assert paired_difference(0.0, one["eer"], other["eer"]) == (0.0, (0.0, 0.0), 1.0)


def test_p_values_of_systems_that_are_alike_are_uniform():
    below = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        is_target = np.arange(300) < 150
        common = rng.standard_normal(300) + 1.5 * is_target
        systems = [common + 0.5 * rng.standard_normal(300) for _ in range(2)]
        one, other = (values["eer"] for values in bootstrap(systems, is_target, over_trials(is_target), (), 60, seed))
        below += paired_difference(0.0, one, other).p_value <= 0.3
    assert 10 <= below <= 50


@pytest.mark.parametrize("setting", [{"draws": 0}, {"draws": 10**13}, {"level": 0.0}, {"level": 1.0}])
def test_impossible_settings_are_refused(setting):
    with pytest.raises(VouchError, match=r"needs|takes 100,000 draws at most, not 10000000000000"):
        eer_interval(np.array([0.0, 1.0]), np.array([False, True]), **setting)


@pytest.mark.parametrize("bad", [[np.nan, 1.0], [1.0]])
def test_unusable_scores_are_refused(bad):
    with pytest.raises(VouchError, match=r"NaN|one label per score"):
        eer_interval(np.array(bad), np.array([False, True]))
