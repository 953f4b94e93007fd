"""Stage 7 with its options, and the two scripts that look at several systems."""

import json

import numpy as np
import pytest
from eer_intervals import eer_interval
from processes import fails, succeeds

from vouch.evaluation import metrics
from vouch.evaluation.definitions import EQUAL_ERROR_RATES, sequential_min_dcf
from vouch.evaluation.intervals import bootstrap, by_score, over_speakers, percentile_interval
from vouch.kaldi.lineage.records import write_record

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
    words = (exp.parents[1] / "data" / "trials", *paths, exp / "results", "--draws", 50, *options)
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
        (["--draws", 10**13], "the bootstrap takes 100,000 draws at most"),
        (["--seed", -1], "the bootstrap needs seed >= 0"),
        (["--priors", 0.01, 0.010000001], "two target priors are 0.01"),
        (["--name", "a\nb"], r"the name of a system is one line, not 'a\nb'"),
        (["--utt2dur", "../../data/utt2dur", "--duration-edges", "nan"], "finite, positive ascending edges"),
        (["--duration-edges", 3], "say how durations are used; give --utt2dur too"),
        (["--duration-of", "test"], "say how durations are used; give --utt2dur too"),
        (["--utt2spk", "../../data/utt2dur"], "is nontarget, but of one speaker in ../../data/utt2dur (135 such)"),
        (["--utt2spk", "nowhere"], "nowhere: no such file"),
        (["--utt2dur", "../../data/utt2spk"], "is not a number"),
        (["--utt2dur", "../../data/utt2dur", "--duration-edges", 3, 2], "positive ascending edges"),
        (["--conditions", "../../data/utt2dur"], "is not '<enrol-id> <test-id> <name>=<value> ...'"),
        (["--experiment-config", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
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
    sides = ([pair[side][:2] for pair in PAIRS] for side in (0, 1))
    resampling = over_speakers(IS_TARGET[order], *(np.array(side)[order] for side in sides))
    (values,) = bootstrap([scores[order]], IS_TARGET[order], resampling, (), 50)
    interval = json.loads(first)["eer_interval"]
    expected = [100 * end for end in percentile_interval(values["eer"])]
    assert (interval["low_percent"], interval["high_percent"]) == pytest.approx(expected)
    succeeds(judge(scripts, exp, "--resample", "trials"))
    low, high = eer_interval(scores[order], IS_TARGET[order], draws=50)
    interval = json.loads((exp / "results" / "t.json").read_text())["eer_interval"]
    assert (interval["low_percent"], interval["high_percent"]) == pytest.approx((100 * low, 100 * high))
    assert interval["resampled"] == "trials"


TOO_FEW = "t: only 6 speakers: with fewer than 20 this figure tells little"
OVER_TRIALS = "t: the interval is over trials: too narrow"


def test_table_record_and_report_say_what_was_resampled(scripts, exp):
    data = exp.parents[1] / "data"
    for options, cell, notes in (
        ([], "6 speakers", [TOO_FEW]),
        (["--resample", "trials"], "trials", [TOO_FEW, OVER_TRIALS]),
        (["--utt2spk", data / "utt2spk", "--resample", "speakers"], "6 speakers", [TOO_FEW]),
    ):
        done = succeeds(judge(scripts, exp, *options))
        heading, row, *_ = done.stdout.splitlines()
        assert row[heading.index("interval over") :].startswith(f"{cell}  ")
        record = json.loads((exp / "results" / "t.json").read_text())
        assert record["eer_interval"]["resampled"] == cell.split()[-1]
        assert record["eer_interval"]["speakers"] == 6
        report = (exp / "results" / "report.html").read_text()
        assert f"50 bootstrap samples of {cell}." in report
        for text in (done.stdout, (exp / "results" / "t.txt").read_text(), report):
            assert [note for note in (TOO_FEW, OVER_TRIALS) if note in text] == notes


def test_speakers_that_are_not_known(scripts, exp):
    """Tables beside the list are taken when they fit to it; what was asked for must be possible."""
    data = exp.parents[1] / "data"
    names = sorted({name for pair in PAIRS for name in pair})
    # As users have it who know no speakers: each utterance is one.
    (data / "utt2spk").write_text("".join(f"{name} {name}\n" for name in names))
    done = succeeds(judge(scripts, exp))
    reason = f"the trial 's0-0 s0-3' is target, but of two speakers in {data / 'utt2spk'} (54 such)"
    assert f"t: speakers are not known: {reason}" in done.stdout
    assert OVER_TRIALS in done.stdout
    for options in (["--resample", "speakers"], ["--utt2spk", data / "utt2spk"]):
        fails(judge(scripts, exp, *options), reason)
    # A table that cannot be read is no table that says nothing: the intervals would change without anybody's wish.
    (data / "utt2spk").write_bytes(b"s0-0 \xff\n")
    fails(judge(scripts, exp), "utt2spk")
    (data / "utt2spk").unlink()
    done = succeeds(judge(scripts, exp))
    assert f"t: there is no utt2spk beside {data / 'trials'} that knows the speakers; give --utt2spk" in done.stdout
    assert json.loads((exp / "results" / "t.json").read_text())["eer_interval"]["resampled"] == "trials"
    fails(judge(scripts, exp, "--resample", "speakers"), "--resample speakers: there is no utt2spk beside")


def test_ratios_are_said_to_be_ratios(scripts, exp):
    write_scores(exp / "scores" / "c.txt", 1)
    succeeds(judge(scripts, exp, "--calibrated", exp / "scores" / "c.txt", scores=("t", "c")))
    records = {name: json.loads((exp / "results" / f"{name}.json").read_text()) for name in "tc"}
    assert (records["t"]["calibrated"], records["c"]["calibrated"]) == (False, True)
    table = succeeds(scripts.run("utils/results.py", exp, cwd=exp)).stdout.splitlines()
    assert [line.count("*") for line in table[:3]] == [0, 0, 3]
    assert table[1].split()[1] == "c"
    fails(judge(scripts, exp, "--calibrated", "t.txt"), "--calibrated t.txt: is none of the score files")


def test_enrolments_with_names_of_their_own(scripts, exp):
    data = exp.parents[1] / "data"
    lines = (data / "trials").read_text().splitlines()
    for path, words in ((data / "trials", lines), (exp / "scores" / "t.txt", None)):
        words = words or path.read_text().splitlines()
        path.write_text("".join(f"model-{line}\n" for line in words))
    table = {f"model-{enrol}": f"{enrol} {enrol[:2]}-5" for enrol, _ in PAIRS}
    (data / "enrol_map").write_text("".join(f"{name} {table[name]}\n" for name in sorted(table)))
    succeeds(judge(scripts, exp))
    interval = json.loads((exp / "results" / "t.json").read_text())["eer_interval"]
    assert (interval["resampled"], interval["speakers"]) == ("speakers", 6)


def test_comparison_of_two_score_files(scripts, exp):
    data = exp.parents[1] / "data"
    first, second = (write_scores(exp / "scores" / name, 1, shift) for name, shift in (("a.txt", 0.5), ("b.txt", 4)))
    words = ("utils/compare_scores.py", "scores/a.txt", "scores/b.txt", data / "trials", "--draws", 99)
    done = succeeds(scripts.run(*words, "--priors", 0.2, "--json", "compared.json", "--resample", "trials", cwd=exp))
    heading, eer, cost, *notes = done.stdout.splitlines()
    assert heading.split("  ")[-2:] == ["difference [95 % interval over trials]", "p"]
    assert notes[0].startswith("the interval is over trials: too narrow")
    assert notes[1].startswith("only 6 speakers: with fewer than 20 this figure tells little")
    rates = [100 * metrics.equal_error_rate(scores, IS_TARGET).value for scores in (first, second)]
    assert eer.split()[:5] == ["EER", "%", *(f"{rate:.2f}" for rate in rates), f"{rates[0] - rates[1]:+.2f}"]
    assert eer.split()[-1] == "0.02"
    assert cost.startswith("minDCF(0.2)  ")
    record = json.loads((exp / "compared.json").read_text())
    assert (record["resampled"], record["speakers"], record["notes"]) == ("trials", 6, notes)
    figures = record["figures"]["eer"]
    assert figures["low"] <= figures["difference"] <= figures["high"]
    assert (figures["first"], figures["second"]) == pytest.approx(rates)
    found = succeeds(scripts.run(*words, "--priors", 0.1, 0.2, "--json", "compared.json", cwd=exp)).stdout.splitlines()
    assert "difference [95 % interval over 6 speakers]" in found[0]
    assert found[1].split()[:5] == eer.split()[:5]
    assert found[1].split()[5:] != eer.split()[5:]
    assert found[4:] == notes[1:]
    record = json.loads((exp / "compared.json").read_text())
    assert (record["resampled"], record["speakers"], record["notes"]) == ("speakers", 6, notes[1:])
    (exp / "scores" / "b.txt").write_text("s0-0 s0-3 1\n")
    fails(scripts.run(*words, cwd=exp), f"trials:2: '{' '.join(PAIRS[1])}' has no score in scores/b.txt")


def test_the_folder_is_the_last_of_the_names_or_an_option(scripts, exp):
    words = ("steps/compute_metrics.py", "../../data/trials", "scores/t.txt", "--draws", 5)
    for option in (("--out-dir", "named"), ("--out-dir=named",)):
        succeeds(scripts.run(*words, *option, cwd=exp))
        assert (exp / "named" / "t.json").exists()
    # The folder was forgotten.
    write_scores(exp / "scores" / "u.txt", 1)
    done = scripts.run(*words[:3], "scores/u.txt", cwd=exp)
    fails(done, "scores/u.txt: is a file; the last name is that of the folder to write to")
    fails(scripts.run(*words[:3], cwd=exp), "the following arguments are required: out_dir", status=2)


def test_an_input_is_not_overwritten(scripts, exp):
    """Neither by a table nor by the comparison."""
    data, scores = exp.parents[1] / "data", exp / "scores" / "t.txt"
    before = {path: path.read_bytes() for path in (scores, data / "trials")}
    done = scripts.run("steps/compute_metrics.py", data / "trials", scores, exp / "scores", cwd=exp)
    fails(done, "scores/t.txt: is to be written and is read too, as 'scores'")
    words = ("utils/compare_scores.py", scores, scores, data / "trials", "--json")
    fails(scripts.run(*words, data / "trials", cwd=exp), "trials: is to be written and is read too, as 'trials'")
    fails(scripts.run(*words, scores, cwd=exp), "scores/t.txt: is to be written and is read too, as 'first'")
    assert {path: path.read_bytes() for path in before} == before
    assert [path.name for path in (exp / "scores").iterdir()] == ["t.txt"]


def test_results_of_earlier_scores_are_marked(scripts, exp):
    scores, report = exp / "scores", exp / "results" / "report.html"

    def first_cells():
        """Names in the table of the report, and in that over experiments, after one more result."""
        succeeds(judge(scripts, exp, scores=("new",)))
        lines = succeeds(scripts.run("utils/results.py", exp, "--format", "markdown", cwd=exp)).stdout.splitlines()
        names = [line.split(" | ")[1] for line in lines if line.startswith("| one")]
        assert all(f"<td>{name}</td>" in report.read_text() for name in names)
        return names

    for seed, name in enumerate(("changed", "gone", "kept", "made", "new")):
        write_scores(scores / f"{name}.txt", seed)
    (exp / "embedding").write_text("one\n")
    write_record(scores / "made.txt", "stage 5", [exp / "embedding"])
    succeeds(judge(scripts, exp, scores=("changed", "gone", "kept", "made")))
    assert first_cells() == ["changed", "gone", "kept", "made", "new"]
    # A result of another version, which does not say what it is of.
    record = json.loads((exp / "results" / "gone.json").read_text())
    del record["scores"]
    (exp / "results" / "unknown.json").write_text(json.dumps({**record, "system": "unknown"}))
    write_scores(scores / "changed.txt", 9)
    (scores / "gone.txt").unlink()
    (exp / "embedding").write_text("two\n")
    mark = " (of earlier scores)"
    expected = [f"changed{mark}", f"gone{mark}", "kept", f"made{mark}", "new", "unknown"]
    assert first_cells() == expected
    page = report.read_text()
    assert "changed: of earlier scores, not computed again: ../scores/changed.txt has changed since; judge" in page
    assert "gone: of earlier scores, not computed again: ../scores/gone.txt is gone; judge" in page
    assert "embedding has changed since this was made from it; run stage 5 again; judge" in page
    assert f"<h2>gone{mark}</h2>" in page
    (exp / "results" / "gone.json").unlink()
    succeeds(judge(scripts, exp, scores=("changed",)))
    assert first_cells() == ["changed", "kept", f"made{mark}", "new", "unknown"]


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
    heading, *rows, note, mark = succeeds(scripts.run(*table, cwd=exp)).stdout.splitlines()
    assert mark.startswith("* actDCF and Cllr")
    assert note.startswith("one, t; two, t; two, u: only 6 speakers")
    assert [row.split()[:2] for row in rows] == [["one", "t"], ["two", "t"], ["two", "u"]]
    assert heading.split()[:2] == ["experiment", "system"]
    lines = succeeds(scripts.run("utils/results.py", other, exp, "--format", "markdown", cwd=exp)).stdout.splitlines()
    assert lines[-3:-1] == ["", f"- {note.replace('one, t; two, t; two, u', 'two, t; two, u; one, t')}"]
    assert lines[-1].startswith("- \\* actDCF and Cllr")
    lines = lines[:-3]
    assert [line.split(" | ")[0] for line in lines] == ["| experiment", "| ---", "| two", "| two", "| one"]
    assert len({line.count("|") for line in lines}) == 1
    records = json.loads(succeeds(scripts.run(*table, "--format", "json", cwd=exp)).stdout)
    assert [record["experiment"] for record in records] == ["one", "two", "two"]
    result = json.loads((exp / "results" / "t.json").read_text())
    assert records[0]["minDCF(0.01)"] == result["min_dcf"]["0.01"]["value"]
    assert records[0]["EER %"] == result["eer"]["percent"]
    assert (records[0]["minDCF(0.3)"], records[1]["minDCF(0.01)"]) == (None, None)
    (exp / "results" / "old.json").write_text("{}\n")
    fails(scripts.run(*table, cwd=exp), "old.json: not a result of this version of stage 7")
