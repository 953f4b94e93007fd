"""Calibration against scores whose likelihood ratios are known, and against a plain search for the minimum."""

import json

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import norm

from vouch.base.errors import VouchError
from vouch.evaluation.metrics import cllr
from vouch.scoring.calibration import fit_calibration, prior_threshold, read_calibration, write_calibration


def gaussian_trials(rng, targets, nontargets):
    """Scores N(1, 0.5) and N(0, 0.5): the log-likelihood ratio is 4 (score - 0.5)."""
    is_target = np.arange(targets + nontargets) < targets
    return (is_target + 0.5 * rng.standard_normal(len(is_target)))[:, None], is_target


@pytest.mark.parametrize("prior", [0.5, 0.05])
def test_gaussian_scores_get_their_ratio(prior):
    scores, is_target = gaussian_trials(np.random.default_rng(0), 20_000, 60_000)
    found = fit_calibration(scores, {}, is_target, prior)
    assert found.weights == pytest.approx([4], rel=0.06)
    assert found.offset == pytest.approx(-2, abs=0.12)
    assert found.apply(np.array([[0.5]]), {}) == pytest.approx([0], abs=0.12)


def weighted_cllr(ratios, is_target, prior):
    shift = np.log(prior / (1 - prior))
    misses = np.mean([np.log1p(np.exp(-ratio - shift)) for ratio in ratios[is_target]])
    return prior * misses + (1 - prior) * np.mean([np.log1p(np.exp(ratio + shift)) for ratio in ratios[~is_target]])


@pytest.mark.parametrize("prior", [0.5, 0.1])
def test_no_other_weights_cost_less(prior):
    rng = np.random.default_rng(1)
    is_target = rng.random(300) < 0.4
    scores = np.stack([is_target + rng.standard_normal(300), 100 * is_target + 80 * rng.standard_normal(300)], axis=1)
    measures = {"log-duration": rng.standard_normal((300, 2)) + 3}
    found = fit_calibration(scores, measures, is_target, prior)
    cost = weighted_cllr(found.apply(scores, measures), is_target, prior)
    for _ in range(200):
        other = found._replace(
            weights=found.weights * (1 + 0.05 * rng.standard_normal(4)),
            offset=found.offset + 0.05 * rng.standard_normal(),
        )
        assert weighted_cllr(other.apply(scores, measures), is_target, prior) > cost - 1e-6
    if prior == 0.5:
        assert cost / np.log(2) == pytest.approx(cllr(found.apply(scores, measures), is_target))


def test_fusion_and_measures_help_where_they_inform():
    rng = np.random.default_rng(2)
    is_target = rng.random(6000) < 0.5
    sides = rng.uniform(0, 3, (6000, 2))
    # Long recordings score higher, whoever speaks; the second system errs independently of the first.
    first = is_target + 0.6 * rng.standard_normal(6000) + 0.8 * sides.min(axis=1)
    second = is_target + 0.6 * rng.standard_normal(6000)
    scores = np.stack([first, second], axis=1)
    half = np.arange(6000) < 3000

    def cost(systems, measures):
        train = {name: values[half] for name, values in measures.items()}
        found = fit_calibration(scores[half][:, systems], train, is_target[half])
        test = {name: values[~half] for name, values in measures.items()}
        return cllr(found.apply(scores[~half][:, systems], test), is_target[~half])

    alone, fused, informed = cost([0], {}), cost([0, 1], {}), cost([0, 1], {"log-duration": sides})
    assert informed < fused - 0.02 < alone - 0.04
    swapped = cost([0, 1], {"log-duration": sides[:, ::-1]})
    assert swapped == pytest.approx(informed, abs=1e-9)


def test_perfect_separation_and_constant_measures_stay_finite():
    is_target = np.array([True] * 5 + [False] * 5)
    scores = np.where(is_target, 1.0, -1.0)[:, None]
    found = fit_calibration(scores, {"log-duration": np.full((10, 2), 1.5)}, is_target)
    ratios = found.apply(scores, {"log-duration": np.full((10, 2), 1.5)})
    assert np.isfinite(ratios).all()
    assert (ratios > 3).tolist() == is_target.tolist()
    assert found.weights[1:].tolist() == [0, 0]


def test_thresholds():
    assert prior_threshold(0.5) == 0
    assert prior_threshold(0.01) == pytest.approx(np.log(99))
    scores, is_target = gaussian_trials(np.random.default_rng(3), 2000, 50_000)
    found = fit_calibration(scores, {}, is_target)
    ratios = found.apply(scores, {})[~is_target]
    for rate, kept in ((0.5, 0.5), (0.1, 0.1), (0.03, 0.02), (0.01, 0.01), (0.0007, 0.0005), (0.0002, 0.0002)):
        assert np.count_nonzero(ratios >= found.threshold(rate)) == round(kept * 50_000)
        assert found.threshold(rate) in ratios
        # Scores of non-targets are N(0, 0.5).
        expected = found.weights[0] * 0.5 * norm.isf(kept) + found.offset
        assert found.threshold(rate) == pytest.approx(expected, abs=0.6)
    for rate in (0.9, 0.0001):
        with pytest.raises(VouchError, match=r"the development trials can tell rates from 0\.0002 to 0\.5"):
            found.threshold(rate)
    few = fit_calibration(scores[1995:2005], {}, is_target[1995:2005])
    with pytest.raises(VouchError, match="can tell no rate"):
        few.threshold(0.1)


@pytest.mark.parametrize("spread", [1, 0])
def test_no_threshold_accepts_more_than_its_rate_of_tied_scores(spread):
    rng = np.random.default_rng(0)
    is_target = np.arange(20_500) < 500
    scores = np.round(np.where(is_target, 2, -2) + spread * rng.standard_normal(20_500))[:, None]
    found = fit_calibration(scores, {}, is_target)
    ratios = found.apply(scores, {})
    for rate in (0.5, 0.3, 0.1, 0.05, 0.02, 0.01, 0.005, 0.001, 0.0005):
        threshold = found.threshold(rate)
        assert np.mean(ratios[~is_target] >= threshold) <= rate
        if rate != 0.3:
            # The next lower ratio would accept too many.
            lower = ratios[~is_target & (ratios < threshold)].max()
            assert np.mean(ratios[~is_target] >= lower) > rate
        assert spread or np.all(ratios[is_target] >= threshold)


def newton(scores, is_target, prior):
    """Weight and offset without any ridge, by Newton's method with halved steps."""
    x = np.stack([scores, np.ones(len(scores))], axis=1)
    share = np.where(is_target, prior / is_target.sum(), (1 - prior) / (~is_target).sum())
    sign = np.where(is_target, -1, 1)

    def errors(w):
        return sign * (x @ w + logit(prior))

    w = np.zeros(2)
    for _ in range(100):
        p = expit(errors(w))
        step = np.linalg.solve((x * (share * p * (1 - p))[:, None]).T @ x, x.T @ (share * sign * p))
        costs = [share @ np.logaddexp(0, errors(w - step / 2**power)) for power in range(30)]
        w = w - step / 2 ** int(np.argmin(costs))
    return w


@pytest.mark.parametrize("prior", [0.5, 0.01, 1e-4, 1e-6, 1e-9, 0.9999, 1 - 1e-6])
def test_an_extreme_prior_does_not_shrink_the_weights(prior):
    rng = np.random.default_rng(6)
    is_target = np.arange(5000) < 1000
    scores = np.where(is_target, 2, -1) + rng.standard_normal(5000)
    found = fit_calibration(scores[:, None], {}, is_target, prior)
    assert [*found.weights, found.offset] == pytest.approx(newton(scores, is_target, prior), rel=1e-3)


def test_files_keep_everything_and_damage_is_named(tmp_path):
    rng = np.random.default_rng(4)
    scores, is_target = gaussian_trials(rng, 50, 100)
    measures = {"magnitude": rng.uniform(1, 2, (150, 2)), "log-duration": rng.uniform(1, 2, (150, 2))}
    found = fit_calibration(scores, measures, is_target, 0.2)._replace(settings={"top-n": 20, "more": None})
    write_calibration(tmp_path / "c.json", found)
    read = read_calibration(tmp_path / "c.json")
    backwards = dict(reversed(measures.items()))
    assert read.apply(scores, backwards).tolist() == found.apply(scores, measures).tolist()
    assert read.threshold(0.2) == found.threshold(0.2)
    assert read.prior == 0.2
    assert read.settings == {"top-n": 20, "more": None}
    content = json.loads((tmp_path / "c.json").read_text())
    damages = [
        "", "[]", "{}", "text", json.dumps({**content, "weights": [1.0]}), json.dumps({**content, "more": 1}),
        json.dumps({**content, "format": "else"}), json.dumps({**content, "offset": float("nan")}),
        json.dumps({**content, "offset": "x"}), json.dumps({**content, "false_alarms": [[1, 2, 3]]}),
        json.dumps({**content, "systems": None}), json.dumps({**content, "measures": 7}),
        json.dumps({**content, "settings": 7}), json.dumps({**content, "settings": {"top-n": "20"}}),
        json.dumps({**content, "offset": True}), json.dumps({**content, "weights": [10**400] * 5}),
        json.dumps({**content, "weights": "[" * 100_000}).replace('"[', "[").replace('["', "["),
        json.dumps({**content, "false_alarms": [1, 2]}), json.dumps({**content, "systems": 3.0}),
    ]  # fmt: skip
    for damage in damages:
        (tmp_path / "d.json").write_text(damage)
        with pytest.raises(VouchError, match=r"d\.json: not (a calibration file|valid JSON)") as raised:
            read_calibration(tmp_path / "d.json")
        assert "\n" not in str(raised.value)


def test_measures_must_be_made_as_for_the_fit(tmp_path):
    scores, is_target = gaussian_trials(np.random.default_rng(7), 50, 100)
    found = fit_calibration(scores, {}, is_target)._replace(settings={"top-n": 20})
    found.check_settings({"top-n": 20})
    found.check_settings({})
    with pytest.raises(VouchError, match="was fitted with top-n 20, not 30"):
        found.check_settings({"top-n": 30})
    with pytest.raises(VouchError, match="was fitted with top-n 20, not the default"):
        found.check_settings({"top-n": None})
    with pytest.raises(VouchError, match="was fitted with top-n the default, not 30"):
        found._replace(settings={"top-n": None}).check_settings({"top-n": 30})
    # Files that older versions wrote do not tell.
    write_calibration(tmp_path / "c.json", found)
    content = json.loads((tmp_path / "c.json").read_text())
    del content["settings"]
    (tmp_path / "c.json").write_text(json.dumps(content))
    read_calibration(tmp_path / "c.json").check_settings({"top-n": 30})


def test_what_cannot_be_calibrated_is_refused():
    scores, is_target = gaussian_trials(np.random.default_rng(5), 50, 50)
    with pytest.raises(VouchError, match="needs target and non-target trials"):
        fit_calibration(scores, {}, np.ones(100, bool))
    with pytest.raises(VouchError, match="the prior is 1, but must be between 0 and 1"):
        fit_calibration(scores, {}, is_target, 1)
    with pytest.raises(VouchError, match="not larger for targets"):
        fit_calibration(-scores, {}, is_target)
    found = fit_calibration(scores, {"magnitude": np.ones((100, 2))}, is_target)
    with pytest.raises(VouchError, match="is for 1 score files, not 2"):
        found.apply(np.zeros((3, 2)), {"magnitude": np.ones((3, 2))})
    with pytest.raises(VouchError, match="needs the quality measure 'magnitude'"):
        found.apply(np.zeros((3, 1)), {})
    with pytest.raises(VouchError, match="does not know the quality measure 'more'"):
        found.apply(np.zeros((3, 1)), {"magnitude": np.ones((3, 2)), "more": np.ones((3, 2))})
