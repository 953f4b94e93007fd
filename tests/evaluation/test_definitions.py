"""Error rates as other programs define them, against reference vectors made by running those programs."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from eer_intervals import eer_interval
from hypothesis import given
from hypothesis import strategies as st

from vouch.base.errors import VouchError
from vouch.evaluation import metrics
from vouch.evaluation.definitions import EQUAL_ERROR_RATES, feerci_eer, ge2e_eer, sequential_min_dcf
from vouch.kaldi.lists.scores import join_scores, read_scores
from vouch.kaldi.lists.trials import read_trials

GOLDEN = Path(__file__).parents[1] / "golden"


def load_sets(name: str, key: str) -> list[tuple[str, np.ndarray, np.ndarray]]:
    arrays = np.load(GOLDEN / f"{name}.npz")
    label = "label" if key == "distance" else "labels"
    sign = -1 if key == "distance" else 1
    names = [entry.split("/")[0] for entry in arrays.files if entry.endswith(f"/{key}")]
    return [(n, sign * arrays[f"{n}/{key}"].astype(float), arrays[f"{n}/{label}"] == 1) for n in names]


def has_ties(scores: np.ndarray) -> bool:
    return len(np.unique(scores)) < len(scores)


@pytest.mark.parametrize(("name", "scores", "is_target"), load_sets("voxceleb_trainer_metrics", "scores"))
def test_the_same_as_voxceleb_trainer(name, scores, is_target):
    reference = json.loads((GOLDEN / "voxceleb_trainer_metrics.json").read_text())[name]
    found = EQUAL_ERROR_RATES["voxceleb_trainer"](scores, is_target)
    assert 100 * found.value == pytest.approx(reference["eer_percent"], abs=1e-9)
    # Ours lies between its two rates, give or take a trial.
    rates, step = (reference["fpr_at_eer"], reference["fnr_at_eer"]), 1 / is_target.sum()
    assert min(rates) - step <= metrics.equal_error_rate(scores, is_target).value <= max(rates) + step
    for setting, expected in reference["dcf"].items():
        p_target, c_miss, c_fa = (float(word.lstrip("pmisfa")) for word in setting.split("_"))
        cost = sequential_min_dcf(scores, is_target, p_target, c_miss, c_fa)
        assert cost == pytest.approx((expected["min_dcf"], expected["threshold"]), abs=1e-12)
        if not has_ties(scores):
            ours = metrics.min_dcf(scores, is_target, p_target, c_miss, c_fa).value
            assert ours == pytest.approx(cost.value, abs=1e-12)


@pytest.mark.parametrize(("name", "scores", "is_target"), load_sets("pyannote_eer", "distance"))
def test_the_same_as_pyannote_and_feerci(name, scores, is_target):
    reference = json.loads((GOLDEN / "pyannote_eer.json").read_text())[name]
    assert EQUAL_ERROR_RATES["pyannote"](scores, is_target).value == pytest.approx(reference["eer_det_curve"], abs=1e-9)
    assert EQUAL_ERROR_RATES["feerci"](scores, is_target).value == pytest.approx(reference["eer_feer"], abs=2e-6)
    if not has_ties(scores):
        ours = metrics.equal_error_rate(scores, is_target).value
        assert ours == pytest.approx(reference["eer_feer"], abs=1 / is_target.sum())
        if "plain_bootstrap_ci95" in reference:
            expected = reference["plain_bootstrap_ci95"]
            assert eer_interval(scores, is_target) == pytest.approx(
                expected, abs=0.4 * reference["plain_bootstrap_std"]
            )


@pytest.mark.parametrize(
    "name", ["gauss_37_211", "gauss_500_4000", "perfect", "inverted", "one_target", "two", "ties", "allsame"]
)
def test_the_same_as_kaldi(name):
    reference = json.loads((GOLDEN / "kaldi_eer" / "metrics.json").read_text())[name]
    paths = GOLDEN / f"kaldi_eer/{name}.trials", GOLDEN / f"kaldi_eer/{name}.scores"
    scores, is_target = join_scores(read_trials(paths[0]), read_scores(paths[1]), *paths)
    found = EQUAL_ERROR_RATES["kaldi"](scores, is_target)
    assert (f"{100 * found.value:.4g}", f"{found.threshold:g}") == (reference["eer_stdout"], reference["eer_threshold"])
    for p_target in ("0.01", "0.001", "0.05"):
        cost = sequential_min_dcf(scores, is_target, float(p_target))
        expected = reference[f"mindcf_{p_target}"], reference[f"mindcf_{p_target}_threshold"]
        assert (f"{cost.value:.4f}", f"{cost.threshold:.4f}") == expected
    assert f"{sequential_min_dcf(scores, is_target, 0.01, 10).value:.4f}" == reference["mindcf_0.01_cmiss10"]


@pytest.mark.parametrize("name", ["original", "enrol_centroid"])
def test_the_same_as_ge2e(name):
    reference = json.loads((GOLDEN / "ge2e_eer.json").read_text())
    similarity = np.array(reference["similarities"][name])  # (speakers, utterances, centroids)
    is_target = np.broadcast_to(np.eye(len(similarity), dtype=bool)[:, None], similarity.shape)
    found = ge2e_eer(similarity.ravel(), is_target.ravel())
    assert found == pytest.approx((reference[name]["eer"], reference[name]["threshold"]), abs=1e-6)
    if name == "enrol_centroid":
        # There it is the mean of both rates where they are nearest; ours lies between them.
        ours = metrics.equal_error_rate(similarity.ravel(), is_target.ravel()).value
        assert ours == pytest.approx(reference["threshold_free_enrol_centroid"], abs=0.5 / is_target.sum())


SIDE = st.lists(st.one_of(st.integers(0, 8).map(lambda eighth: eighth / 8), st.floats(0, 1, width=32)), min_size=1)


@given(SIDE, SIDE)
def test_kaldi_and_ge2e_equal_their_loops(targets, nontargets):
    scores, is_target = np.array(targets + nontargets), np.arange(len(targets + nontargets)) < len(targets)
    descending = sorted(nontargets, reverse=True)
    stop = 0
    while stop + 1 < len(targets):
        above = len(nontargets) * stop // len(targets)
        if descending[min(above, len(nontargets) - 1)] < sorted(targets)[stop]:
            break
        stop += 1
    assert EQUAL_ERROR_RATES["kaldi"](scores, is_target) == (stop / len(targets), sorted(targets)[stop])

    rates = []
    for threshold in np.arange(50, 100) / 100:
        miss = Fraction(sum(score <= threshold for score in targets), len(targets))
        rates.append((miss, Fraction(sum(score > threshold for score in nontargets), len(nontargets))))
    nearest = min(abs(miss - false_alarm) for miss, false_alarm in rates)
    # Rounding decides between thresholds that are equally good.
    best = [float(sum(pair) / 2) for pair in rates if abs(pair[0] - pair[1]) == nearest]
    assert min(abs(value - EQUAL_ERROR_RATES["ge2e"](scores, is_target).value) for value in best) < 1e-12


@pytest.mark.parametrize("name", EQUAL_ERROR_RATES)
def test_extreme_sets(name):
    definition = EQUAL_ERROR_RATES[name]
    is_target = np.array([False, False, True, True])
    separated = definition(np.array([0.1, 0.2, 0.8, 0.9]), is_target).value
    assert separated == (0.25 if name == "pyannote" else 0)
    for bad in (np.array([0.1, np.nan, 0.8, 0.9]), np.zeros(3)):
        with pytest.raises(VouchError, match=r"NaN|one label per score"):
            definition(bad, is_target)
    with pytest.raises(VouchError, match="0 target and 4 non-target"):
        definition(np.zeros(4), np.zeros(4, bool))


@pytest.mark.parametrize(
    ("targets", "nontargets", "expected"),
    [
        # The crossing is bounded by rates of 1/3, 1 - 2/3 and 0. In single precision the second is below the first.
        ([0, 1, 2, 2], [-1, 0, 0, 1], 1 - np.float32(2 / 3)),
        # The bisection ends on its first comparison; the positions of the second one are still in the middle.
        ([-0.5, -0.1, 0.7], [-1.9, 1.1, 1.4], 0.5),
        # No target is below the tied score, and feerci counts one less than none.
        ([1, 2], [-3, 1], -1),
    ],
)
def test_feerci_by_hand(targets, nontargets, expected):
    is_target = np.arange(len(targets) + len(nontargets)) < len(targets)
    assert feerci_eer(np.array(targets + nontargets, float), is_target).value == pytest.approx(expected, abs=1e-12)


def test_feerci_needs_two_of_each():
    with pytest.raises(VouchError, match="two target and two non-target"):
        feerci_eer(np.array([1.0, 0.0, 2.0]), np.array([True, False, False]))
