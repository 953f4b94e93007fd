"""The paired comparison of two systems."""

import numpy as np
import pytest

from vouch.base.errors import VouchError
from vouch.evaluation import metrics
from vouch.evaluation.comparison import compare_systems


def two_systems():
    rng = np.random.default_rng(0)
    is_target = np.arange(600) % 3 == 0
    worse = rng.standard_normal(600) + 1.5 * is_target
    return worse, worse + 0.2 * rng.standard_normal(600) + is_target, is_target


def test_a_better_system_is_found_better():
    first, second, is_target = two_systems()
    found = {each.name: each for each in compare_systems(first, second, is_target, priors=(0.1,), draws=100)}
    assert list(found) == ["eer", "min_dcf(0.1)"]
    eer = found["eer"]
    assert eer.first == 100 * metrics.equal_error_rate(first, is_target).value
    assert eer.second == 100 * metrics.equal_error_rate(second, is_target).value
    assert found["min_dcf(0.1)"].second == metrics.min_dcf(second, is_target, 0.1).value
    for each in found.values():
        assert each.difference.value == each.first - each.second
        assert 0 < each.difference.interval.low <= each.difference.value <= each.difference.interval.high
        assert each.difference.p_value == pytest.approx(2 / 101)
    swapped = compare_systems(second, first, is_target, priors=(0.1,), draws=100)[0].difference
    assert (swapped.value, swapped.p_value) == (-eer.difference.value, eer.difference.p_value)
    assert swapped.interval == pytest.approx((-eer.difference.interval.high, -eer.difference.interval.low))


def test_few_speakers_make_less_sure():
    first, second, is_target = two_systems()
    speakers = np.array([f"s{row // 3 % 8}" for row in range(600)])
    others = np.where(is_target, speakers, np.roll(speakers, 3))
    over_trials = compare_systems(first, second, is_target, draws=100)[0].difference
    over_speakers = compare_systems(first, second, is_target, (speakers, others), draws=100)[0].difference
    assert over_speakers.value == over_trials.value
    assert over_speakers.interval != over_trials.interval


def test_what_cannot_be_judged_is_refused():
    first, second, is_target = two_systems()
    for settings, message in (
        ({"seed": -1}, "seed >= 0, not -1"),
        ({"priors": (0.1, 0.1000000001)}, "two target priors are 0.1 in six digits"),
    ):
        with pytest.raises(VouchError, match=message):
            compare_systems(first, second, is_target, **settings)
    with pytest.raises(VouchError, match="600 target and 0 non-target"):
        compare_systems(first, second, np.ones(600, bool))
    second[5] = np.nan
    with pytest.raises(VouchError, match="1 of 600 scores are NaN"):
        compare_systems(first, second, is_target)
