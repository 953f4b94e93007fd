"""The record of a result, its table and its JSON."""

import json

import numpy as np
import pytest

from vouch import metrics
from vouch.errors import VouchError
from vouch.report import PRIORS, evaluate, format_table, write_result


def trials(number: int = 300) -> tuple[np.ndarray, np.ndarray]:
    is_target = np.arange(number) % 3 == 0
    return np.random.default_rng(0).standard_normal(number) + 2 * is_target, is_target


def test_figures_are_those_of_the_metrics():
    scores, is_target = trials()
    result = evaluate("mine", scores, is_target, draws=50, seed=3, unscored=4)
    rate, threshold = metrics.equal_error_rate(scores, is_target)
    interval = metrics.eer_interval(scores, is_target, 50, 0.95, 3)
    assert (result.system, result.targets, result.nontargets, result.unscored) == ("mine", 100, 200, 4)
    assert result.eer == (100 * rate, threshold)
    assert result.eer_interval == (100 * interval[0], 100 * interval[1])
    assert result.min_dcf == {prior: metrics.min_dcf(scores, is_target, prior) for prior in PRIORS}
    assert result.cllr == metrics.cllr(scores, is_target)


def test_json_holds_every_figure(tmp_path):
    result = evaluate("größe", *trials(), draws=50, seed=3, unscored=4)
    write_result(tmp_path / "x.y", result)
    record = json.loads((tmp_path / "x.y.json").read_text())
    assert record == {
        "system": "größe",
        "trials": 300,
        "targets": 100,
        "nontargets": 200,
        "unscored": 4,
        "eer": {"percent": result.eer.value, "threshold": result.eer.threshold},
        "eer_interval": {
            "low_percent": result.eer_interval[0],
            "high_percent": result.eer_interval[1],
            "level": 0.95,
            "draws": 50,
        },
        "min_dcf": {
            str(prior): {"value": point.value, "threshold": point.threshold} for prior, point in result.min_dcf.items()
        },
        "cllr": result.cllr,
    }


def test_json_has_no_infinity(tmp_path):
    write_result(tmp_path / "x", evaluate("x", np.array([0.0, 1.0]), np.array([True, False]), draws=5))
    record = json.loads((tmp_path / "x.json").read_text(), parse_constant=pytest.fail)
    assert record["min_dcf"]["0.01"] == {"value": 1.0, "threshold": None}


def test_table_is_aligned_and_names_what_was_left_out(tmp_path):
    first = evaluate("a", *trials(), draws=50)
    second = evaluate("another_system", *trials(9999), draws=50, unscored=7)
    heading, *rows, note = format_table([first, second]).splitlines()
    assert note == "another_system: 7 trials without a score were left out"
    for word, values in (
        ("trials", ["300 (100/200)", "9999 (3333/6666)"]),
        ("EER %", [f"{r.eer.value:.2f} [{r.eer_interval[0]:.2f}, " for r in (first, second)]),
        ("minDCF(0.01)", [f"{r.min_dcf[0.01].value:.4f}" for r in (first, second)]),
        ("minDCF(0.05)", [f"{r.min_dcf[0.05].value:.4f}" for r in (first, second)]),
    ):
        column = heading.index(word)
        assert [row[column:].startswith(value) for row, value in zip(rows, values, strict=True)] == [True, True]
    write_result(tmp_path / "x", first)
    assert (tmp_path / "x.txt").read_text() == format_table([first])


def test_unusable_scores_are_refused():
    with pytest.raises(VouchError, match="0 non-target"):
        evaluate("x", np.ones(3), np.ones(3, bool))
