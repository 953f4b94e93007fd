"""The record of a result and its JSON."""

from dataclasses import replace

import numpy as np
import pytest
from eer_intervals import eer_interval

from vouch.base.errors import VouchError
from vouch.evaluation import metrics
from vouch.evaluation.definitions import kaldi_eer, sequential_min_dcf
from vouch.evaluation.intervals import bootstrap, by_score, over_speakers, over_trials, percentile_interval
from vouch.evaluation.metrics import Cost
from vouch.evaluation.result import PRIORS, Settings, evaluate

FEW = Settings(draws=50, seed=3)


def trials(number: int = 300) -> tuple[np.ndarray, np.ndarray]:
    is_target = np.arange(number) % 3 == 0
    return np.random.default_rng(0).standard_normal(number) + 2 * is_target, is_target


def test_figures_are_those_of_the_metrics():
    scores, is_target = trials()
    result = evaluate("mine", scores, is_target, FEW, unscored=4)
    rate, threshold = metrics.equal_error_rate(scores, is_target)
    assert (result.system, result.targets, result.nontargets, result.unscored) == ("mine", 100, 200, 4)
    assert result.eer == (100 * rate, threshold)
    assert result.intervals["eer"] == pytest.approx([100 * end for end in eer_interval(scores, is_target, 50, 0.95, 3)])
    assert result.min_dcf == {prior: metrics.min_dcf(scores, is_target, prior) for prior in PRIORS}
    assert result.act_dcf == {prior: metrics.act_dcf(scores, is_target, prior) for prior in PRIORS}
    assert result.cllr == pytest.approx(metrics.cllr(scores, is_target))
    assert result.min_cllr == metrics.min_cllr(scores, is_target)
    assert (result.resampled, result.draws, result.level) == ("trials", 50, 0.95)
    assert result.other_eers == {}


def test_intervals_are_over_what_was_asked_for():
    scores, is_target = trials()
    names = np.array([f"s{row % 7}" for row in range(300)])
    others = np.where(is_target, names, np.roll(names, 1))
    order = by_score(scores, is_target)
    for speakers in (None, (names, others)):
        result = evaluate("mine", scores, is_target, replace(FEW, priors=(0.2,), definitions=("kaldi",)), speakers)
        if speakers is None:
            resampling = over_trials(is_target[order])
        else:
            resampling = over_speakers(is_target[order], names[order], others[order])
        (draws,) = bootstrap([scores[order]], is_target[order], resampling, [Cost(0.2)], 50, 3)
        draws["eer"] *= 100
        assert list(result.intervals) == list(draws)
        for name, values in draws.items():
            assert result.intervals[name] == pytest.approx(percentile_interval(values))
        assert (result.resampled, result.speakers) == (("trials", None) if speakers is None else ("speakers", 7))
        assert result.other_eers == {"kaldi": 100 * kaldi_eer(scores, is_target).value}
        assert result.other_min_dcfs == {"kaldi": {0.2: sequential_min_dcf(scores, is_target, 0.2).value}}


def test_trials_are_resampled_where_that_is_asked_for():
    scores, is_target = trials()
    names = np.array([f"s{row % 7}" for row in range(300)])
    result = evaluate("mine", scores, is_target, replace(FEW, resample="trials"), (names, names))
    assert (result.resampled, result.speakers) == ("trials", 7)
    assert result.intervals == evaluate("mine", scores, is_target, FEW).intervals
    assert len(result.notes) == 2
    with pytest.raises(VouchError, match="did you mean 'speakers'"):
        evaluate("mine", scores, is_target, replace(FEW, resample="speaker"))


@pytest.mark.parametrize(("number", "few"), [(2, True), (19, True), (20, False), (60, False)])
def test_few_speakers_are_remarked(number, few):
    scores, is_target = trials()
    enrol = np.arange(300) // 3 % number
    result = evaluate("mine", scores, is_target, FEW, (enrol, (enrol + ~is_target) % number))
    assert result.speakers == number
    assert any(note.startswith(f"only {number} speakers") and "tells little" in note for note in result.notes) == few


def test_scores_of_the_wrong_direction_are_remarked():
    scores, is_target = trials()
    hint = "the EER is above 50 %: are these distances? Larger scores must mean the same speaker"
    assert hint in evaluate("mine", -scores, is_target, FEW).notes
    assert hint not in evaluate("mine", scores, is_target, FEW).notes
    assert hint not in evaluate("mine", np.zeros(300), is_target, FEW).notes  # chance, exactly


def test_unusable_settings_are_refused():
    with pytest.raises(VouchError, match="0 non-target"):
        evaluate("x", np.ones(3), np.ones(3, bool))
    for settings, message in (
        (Settings(draws=0), "draws >= 1"),
        (Settings(seed=-1), "seed >= 0, not -1"),
        (Settings(priors=(1.5,)), "0 < p_target < 1"),
        (Settings(priors=(0.9999999,)), "0 < p_target < 1 in six digits, not 0.9999999"),
        (Settings(priors=(0.01, 0.2, 0.010000001)), "two target priors are 0.01 in six digits"),
        (Settings(definitions=("kalid",)), "did you mean 'kaldi'"),
    ):
        with pytest.raises(VouchError, match=message):
            evaluate("x", *trials(), settings)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\n", "a\r", "a\u2028b"])
def test_names_are_one_line(name):
    with pytest.raises(VouchError, match="the name of a system is one line") as refused:
        evaluate(name, *trials(), FEW)
    assert len(str(refused.value).splitlines()) == 1


def test_scores_too_large_for_their_differences_are_refused():
    is_target = np.array([True, False])
    for score in (1e308, -1e308):
        with pytest.raises(VouchError, match=r"scores beyond 1e\+300"):
            evaluate("x", np.array([score, 0.0]), is_target, FEW)
    assert evaluate("x", np.array([1e300, -1e300]), is_target, FEW).eer.value == 0
