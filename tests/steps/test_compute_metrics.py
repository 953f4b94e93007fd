"""Stage 7 with its options, and the two scripts that look at several systems."""

import json

import numpy as np
import pytest
from eer_intervals import eer_interval
from processes import fails, succeeds

from vouch import metrics
from vouch.intervals import by_score
from vouch.metrics_compat import EQUAL_ERROR_RATES, sequential_min_dcf

PAIRS = [(f"s{a}-{i}", f"s{b}-{j}") for a in range(6) for b in range(a, 6) for i in range(3) for j in range(3, 6)]
IS_TARGET = np.array([a[:2] == b[:2] for a, b in PAIRS])


def write_scores(path, seed, shift=1.5):
    scores = np.round(np.random.default_rng(seed).standard_normal(len(PAIRS)) + shift * IS_TARGET, 6)
    path.write_text("".join(f"{a} {b} {score:g}\n" for (a, b), score in zip(PAIRS, scores, strict=True)))
    return np.array([float(f"{score:g}") for score in scores])


@pytest.fixture
def exp(tmp_path):
    """An experiment with scores of one list, and the tables of its data directory."""
    data, exp = tmp_path / "data", tmp_path / "exp" / "one"
    for folder in (data, exp / "scores"):
        folder.mkdir(parents=True)
    labels = zip(PAIRS, IS_TARGET, strict=True)
    (data / "trials").write_text("".join(f"{a} {b} {'target' if t else 'nontarget'}\n" for (a, b), t in labels))
    names = sorted({name for pair in PAIRS for name in pair})
    (data / "utt2spk").write_text("".join(f"{name} {name[:2]}\n" for name in names))
    (data / "utt2dur").write_text("".join(f"{name} {1 + int(name[-1])}.5\n" for name in names))
    (data / "conditions").write_text("".join(f"{a} {b} room={int(b[-1]) % 2} enrol={a[:2]}\n" for a, b in PAIRS))
    (exp / "config.yaml").write_text("model: {name: tiny}\n")
    write_scores(exp / "scores" / "t.txt", 0)
    return exp


def judge(scripts, exp, *options, scores=("t",)):
    paths = [exp / "scores" / f"{name}.txt" for name in scores]
    words = (exp.parents[1] / "data" / "trials", *paths, "--out-dir", exp / "results", "--draws", 50, *options)
    return scripts.run("steps/compute_metrics.py", *words, cwd=exp)


def test_every_option_at_once(scripts, exp):
    data = exp.parents[1] / "data"
    options = ["--utt2spk", data / "utt2spk", "--utt2dur", data / "utt2dur", "--duration-edges", 2, 3]
    options += ["--duration-of", "enrol", "--conditions", data / "conditions", "--priors", 0.3]
    done = succeeds(judge(scripts, exp, *options, "--definitions", *EQUAL_ERROR_RATES))
    record = json.loads((exp / "results" / "t.json").read_text())
    scores = write_scores(exp / "scores" / "t.txt", 0)
    assert record["eer"]["percent"] == pytest.approx(100 * metrics.equal_error_rate(scores, IS_TARGET).value)
    assert record["eer_interval"]["resampled"] == "speakers"
    assert record["act_dcf"]["0.3"]["value"] == pytest.approx(metrics.act_dcf(scores, IS_TARGET, 0.3).value)
    assert record["min_cllr"]["value"] == pytest.approx(metrics.min_cllr(scores, IS_TARGET))
    expected = {name: 100 * rule(scores, IS_TARGET).value for name, rule in EQUAL_ERROR_RATES.items()}
    assert record["other_eers_percent"] == pytest.approx(expected)
    cost = sequential_min_dcf(scores, IS_TARGET, 0.3).value
    assert record["other_min_dcfs"] == {name: {"0.3": pytest.approx(cost)} for name in ("voxceleb_trainer", "kaldi")}
    short = np.array([a[-1] == "0" for a, _ in PAIRS])
    groups = {group["system"]: group for group in record["groups"]}
    ranges = ["t: enrol < 2 s", "t: 2 s <= enrol < 3 s", "t: 3 s <= enrol"]
    assert list(groups) == [*ranges, *(f"t: enrol=s{n}" for n in range(5)), "t: room=0", "t: room=1"]
    part = metrics.equal_error_rate(scores[short], IS_TARGET[short]).value
    assert groups["t: enrol < 2 s"]["eer"]["percent"] == pytest.approx(100 * part)
    assert "t: no figures for enrol=s5: 9 target and 0 non-target trials" in done.stdout
    assert "t: 3 s <= enrol" in (exp / "results" / "t.txt").read_text()
    report = (exp / "results" / "report.html").read_text()
    assert "model: {name: tiny}" in report
    assert "t: room=1" in report


def test_missing_scores_are_left_out_of_the_parts_too(scripts, exp):
    data = exp.parents[1] / "data"
    scores = write_scores(exp / "scores" / "t.txt", 0)
    lines = (exp / "scores" / "t.txt").read_text().splitlines(keepends=True)
    keep = np.arange(len(PAIRS)) % 5 > 0
    (exp / "scores" / "t.txt").write_text("".join(line for line, kept in zip(lines, keep, strict=True) if kept))
    fails(judge(scripts, exp), f"trials:1: '{' '.join(PAIRS[0])}' has no score")
    assert not (exp / "results").exists()
    done = succeeds(
        judge(scripts, exp, "--allow-missing", "--conditions", data / "conditions", "--utt2spk", data / "utt2spk")
    )
    assert f"t: {np.count_nonzero(~keep)} trials without a score were left out" in done.stdout
    groups = {group["system"]: group for group in json.loads((exp / "results" / "t.json").read_text())["groups"]}
    odd = keep & np.array([b[-1] in "35" for _, b in PAIRS])
    assert groups["t: room=1"]["trials"] == np.count_nonzero(odd)
    part = metrics.equal_error_rate(scores[odd], IS_TARGET[odd]).value
    assert groups["t: room=1"]["eer"]["percent"] == pytest.approx(100 * part)


def test_degenerate_lists(scripts, exp):
    trials, scores = exp.parents[1] / "data" / "trials", exp / "scores" / "t.txt"
    trials.write_text("a b target\n")
    scores.write_text("a b 1\n")
    fails(judge(scripts, exp), "t.txt: error rates need target and non-target trials; these are 1 target and 0 non")
    trials.write_text("a b target\na c nontarget\n")
    fails(judge(scripts, exp), "'a c' has no score in")
    for bad in ("nan", "inf", "-inf"):
        scores.write_text(f"a b {bad}\na c 1\n")
        fails(judge(scripts, exp), "t.txt:1: the score is not a finite number")
    assert not (exp / "results").exists()
    # All scores tied: chance, exactly.
    scores.write_text("a b 1\na c 1\n")
    succeeds(judge(scripts, exp))
    record = json.loads((exp / "results" / "t.json").read_text())
    figures = record["eer"]["percent"], record["min_dcf"]["0.01"]["value"], record["min_cllr"]["value"]
    assert figures == pytest.approx((50, 1, 1))
    assert (record["eer_interval"]["low_percent"], record["eer_interval"]["high_percent"]) == (50, 50)
    # Separable ones: no error.
    scores.write_text("a b 1\na c 0\n")
    succeeds(judge(scripts, exp))
    record = json.loads((exp / "results" / "t.json").read_text())
    figures = record["eer"]["percent"], record["min_dcf"]["0.01"]["value"], record["min_cllr"]["value"]
    assert figures == (0, 0, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--priors", 1.5], "a detection cost needs 0 < p_target < 1"),
        (["--draws", 0], "the bootstrap needs draws >= 1"),
        (["--seed", -1], "the bootstrap needs seed >= 0"),
        (["--priors", 0.01, 0.010000001], "two target priors are 0.01"),
        (["--name", "a\nb"], r"the name of a system is one line, not 'a\nb'"),
        (["--utt2dur", "../../data/utt2dur", "--duration-edges", "nan"], "finite, positive ascending edges"),
        (["--duration-edges", 3], "say how durations are used; give --utt2dur too"),
        (["--duration-of", "test"], "say how durations are used; give --utt2dur too"),
        (["--utt2spk", "../../data/utt2dur"], "resampling speakers"),
        (["--utt2dur", "../../data/utt2spk"], "is not a number"),
        (["--utt2dur", "../../data/utt2dur", "--duration-edges", 3, 2], "positive ascending edges"),
        (["--conditions", "../../data/utt2dur"], "is not '<enrol-id> <test-id> <name>=<value> ...'"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
    ],
)
def test_impossible_options_are_one_line(scripts, exp, options, message):
    if "--utt2spk" in options:
        (exp.parents[1] / "data" / "utt2dur").write_text(
            "".join(f"{n} x\n" for n in sorted({n for p in PAIRS for n in p}))
        )
    fails(judge(scripts, exp, *options), message)


def test_misspelt_definition(scripts, exp):
    done = judge(scripts, exp, "--definitions", "kalid")
    assert done.returncode == 2
    assert "did you mean 'kaldi'?" in done.stderr


def test_interval_does_not_depend_on_the_order_of_lines(scripts, exp):
    succeeds(judge(scripts, exp))
    first = (exp / "results" / "t.json").read_text()
    trials = exp.parents[1] / "data" / "trials"
    trials.write_text("".join(sorted(trials.read_text().splitlines(keepends=True), reverse=True)))
    succeeds(judge(scripts, exp))
    assert (exp / "results" / "t.json").read_text() == first
    scores = write_scores(exp / "scores" / "t.txt", 0)
    order = by_score(scores, IS_TARGET)
    low, high = eer_interval(scores[order], IS_TARGET[order], draws=50)
    interval = json.loads(first)["eer_interval"]
    assert (interval["low_percent"], interval["high_percent"]) == pytest.approx((100 * low, 100 * high))


def test_comparison_of_two_score_files(scripts, exp):
    data = exp.parents[1] / "data"
    first, second = (write_scores(exp / "scores" / name, 1, shift) for name, shift in (("a.txt", 0.5), ("b.txt", 4)))
    words = ("utils/compare_scores.py", "scores/a.txt", "scores/b.txt", data / "trials", "--draws", 99)
    done = succeeds(scripts.run(*words, "--priors", 0.2, "--json", "compared.json", cwd=exp))
    heading, eer, cost = done.stdout.splitlines()
    assert heading.split() == ["first", "second", "difference", "[95", "%", "interval]", "p"]
    rates = [100 * metrics.equal_error_rate(scores, IS_TARGET).value for scores in (first, second)]
    assert eer.split()[:5] == ["EER", "%", *(f"{rate:.2f}" for rate in rates), f"{rates[0] - rates[1]:+.2f}"]
    assert eer.split()[-1] == "0.02"
    assert cost.startswith("minDCF(0.2)  ")
    record = json.loads((exp / "compared.json").read_text())
    assert record["resampled"] == "trials"
    figures = record["figures"]["eer"]
    assert figures["low"] <= figures["difference"] <= figures["high"]
    assert (figures["first"], figures["second"]) == pytest.approx(rates)
    speakers = succeeds(scripts.run(*words, "--utt2spk", data / "utt2spk", cwd=exp))
    assert speakers.stdout.splitlines()[1].split()[:5] == eer.split()[:5]
    (exp / "scores" / "b.txt").write_text("s0-0 s0-3 1\n")
    fails(scripts.run(*words, cwd=exp), f"trials:2: '{' '.join(PAIRS[1])}' has no score in scores/b.txt")


def test_an_input_is_not_overwritten(scripts, exp):
    """Neither by a table nor by the comparison."""
    data, scores = exp.parents[1] / "data", exp / "scores" / "t.txt"
    before = {path: path.read_bytes() for path in (scores, data / "trials")}
    done = judge(scripts, exp, "--out-dir", exp / "scores")
    fails(done, "scores/t.txt: is to be written and is read too, as 'scores'")
    words = ("utils/compare_scores.py", scores, scores, data / "trials", "--json")
    fails(scripts.run(*words, data / "trials", cwd=exp), "trials: is to be written and is read too, as 'trials'")
    fails(scripts.run(*words, scores, cwd=exp), "scores/t.txt: is to be written and is read too, as 'first'")
    assert {path: path.read_bytes() for path in before} == before
    assert [path.name for path in (exp / "scores").iterdir()] == ["t.txt"]


def test_one_table_over_experiments(scripts, exp):
    other = exp.with_name("two")
    (other / "scores").mkdir(parents=True)
    for name in ("t", "u"):
        write_scores(other / "scores" / f"{name}.txt", 5)
    (exp.with_name("unfinished")).mkdir()
    table = ("utils/results.py", exp.parent)
    fails(scripts.run(*table, cwd=exp), "neither it nor a folder in it has results/*.json")
    fails(scripts.run("utils/results.py", "nowhere", cwd=exp), "nowhere: no such folder")
    succeeds(judge(scripts, exp))
    succeeds(judge(scripts, other, "--priors", 0.3, scores=("t", "u")))
    heading, *rows = succeeds(scripts.run(*table, cwd=exp)).stdout.splitlines()
    assert [row.split()[:2] for row in rows] == [["one", "t"], ["two", "t"], ["two", "u"]]
    assert heading.split()[:2] == ["experiment", "system"]
    lines = succeeds(scripts.run("utils/results.py", other, exp, "--format", "markdown", cwd=exp)).stdout.splitlines()
    assert [line.split(" | ")[0] for line in lines] == ["| experiment", "| ---", "| two", "| two", "| one"]
    assert len({line.count("|") for line in lines}) == 1
    records = json.loads(succeeds(scripts.run(*table, "--format", "json", cwd=exp)).stdout)
    assert [record["experiment"] for record in records] == ["one", "two", "two"]
    result = json.loads((exp / "results" / "t.json").read_text())
    assert records[0]["minDCF(0.01)"] == f"{result['min_dcf']['0.01']['value']:.4f}"
    assert (records[0]["minDCF(0.3)"], records[1]["minDCF(0.01)"]) == ("-", "-")
    (exp / "results" / "old.json").write_text("{}\n")
    fails(scripts.run(*table, cwd=exp), "old.json: not a result of this version of stage 7")
