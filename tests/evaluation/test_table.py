"""Tables of results as text, Markdown and HTML."""

from dataclasses import replace

import numpy as np

from vouch.evaluation.result import Settings, evaluate
from vouch.evaluation.table import (
    format_html,
    format_markdown,
    format_table,
    format_text,
    notes_of,
    table_records,
    table_rows,
)


def result(name, number=300, known=True, **settings):
    is_target = np.arange(number) % 3 == 0
    scores = np.random.default_rng(0).standard_normal(number) + 2 * is_target
    enrol = np.arange(number) // 3 % 25
    speakers = (enrol, (enrol + ~is_target) % 25) if known else None
    return evaluate(name, scores, is_target, Settings(draws=5, **settings), speakers)


def test_text_is_aligned_and_names_what_was_left_out():
    first = result("a")
    second = replace(result("another_system", 9999), unscored=7, notes=("no figures for channel=phone",))
    heading, *rows, unscored, note = format_table([first, second]).splitlines()
    assert unscored == "another_system: 7 trials without a score were left out"
    assert note == "another_system: no figures for channel=phone"
    for word, values in (
        ("trials", ["300 (100/200)", "9999 (3333/6666)"]),
        ("EER % [95 % interval]", [f"{r.eer.value:.2f} [{r.intervals['eer'].low:.2f}, " for r in (first, second)]),
        ("minDCF(0.01)", [f"{r.min_dcf[0.01].value:.4f}" for r in (first, second)]),
        ("minDCF(0.05)", [f"{r.min_dcf[0.05].value:.4f}" for r in (first, second)]),
    ):
        column = heading.index(word)
        assert [row[column:].startswith(value) for row, value in zip(rows, values, strict=True)] == [True, True]


def test_what_intervals_are_over_and_the_notes_on_it():
    few = replace(result("c"), groups=(replace(result("c: part"), notes=("x",)), result("c: rest")), notes=("x",))
    lines = format_table([result("a"), result("b", known=False), few]).splitlines()
    column = lines[0].index("interval over")
    assert [line[column:].split("  ")[0] for line in lines[1:4]] == ["25 speakers", "trials", "25 speakers"]
    assert lines[-2:] == [f"b: {result('b', known=False).notes[0]}", "c; c: part: x"]


def test_parts_are_a_table_of_their_own():
    lines = format_table([replace(result("a"), groups=(result("a: short"), result("a: long")))]).splitlines()
    assert lines[2] == ""
    assert [line.split("  ")[0] for line in lines] == ["system", "a", "", "system", "a: short", "a: long"]


def test_every_figure_of_results_that_differ():
    results = [result("a", priors=(0.2,)), result("b", priors=(0.01, 0.2), definitions=("kaldi",))]
    heading, first, second = table_rows(results, every_figure=True)
    figures = ["minDCF(0.01)", "minDCF(0.2)", "actDCF(0.01)", "actDCF(0.2)", "Cllr", "minCllr", "EER % of kaldi"]
    assert list(heading[5:]) == [*figures, "minDCF(0.01) of kaldi", "minDCF(0.2) of kaldi"]
    assert (first[0], second[0]) == ("a", "b")
    a, b = results
    assert (first[4], second[4]) == tuple(f"{each.eer.threshold:.4g}" for each in results)
    assert first[5:] == (
        "-",
        f"{a.min_dcf[0.2].value:.4f}",
        "-",
        f"{a.act_dcf[0.2].value:.4f}*",
        f"{a.cllr:.4f}*",
        f"{a.min_cllr:.4f}",
        *("-", "-", "-"),
    )
    assert second[-5:-2] == (f"{b.cllr:.4f}*", f"{b.min_cllr:.4f}", f"{b.other_eers['kaldi']:.2f}")
    assert second[-2:] == tuple(f"{b.other_min_dcfs['kaldi'][prior]:.4f}" for prior in (0.01, 0.2))
    assert notes_of(results) == []
    (mark,) = notes_of(results, every_figure=True)
    assert mark.startswith("* actDCF and Cllr read scores as log-likelihood ratios; these scores are not calibrated")


def test_calibrated_figures_are_not_marked():
    results = [result("a"), result("b", calibrated=True)]
    heading, first, second = table_rows(results, every_figure=True)
    marked = {name for name, cell in zip(heading, first, strict=True) if cell.endswith("*")}
    assert marked == {"actDCF(0.01)", "actDCF(0.05)", "Cllr"}
    assert not any(cell.endswith("*") for cell in second)
    assert len(notes_of(results, every_figure=True)) == 1
    assert notes_of(results[1:], every_figure=True) == []


def test_results_of_earlier_scores_are_marked_in_every_table():
    results = [replace(result("a"), outdated="../scores/a.txt is gone"), result("b")]
    assert [row[0] for row in table_rows(results)[1:]] == ["a (of earlier scores)", "b"]
    (note,) = (note for note in notes_of(results) if "earlier" in note)
    expected = "a: of earlier scores, not computed again: ../scores/a.txt is gone; judge its scores again, or remove it"
    assert note == expected
    assert [record["outdated"] for record in table_records(results)] == ["../scores/a.txt is gone", None]


def test_records_hold_numbers():
    results = [result("a", priors=(0.2,), known=False), result("b", definitions=("kaldi",), calibrated=True)]
    a, b = table_records(results)
    assert list(a) == list(b)
    for record, each in zip((a, b), results, strict=True):
        low, high = each.intervals["eer"]
        assert (record["EER %"], record["EER % low"], record["EER % high"]) == (each.eer.value, low, high)
        assert (record["threshold"], record["Cllr"], record["minCllr"]) == (
            each.eer.threshold,
            each.cllr,
            each.min_cllr,
        )
        assert (record["targets"], record["nontargets"], record["unscored"]) == (100, 200, 0)
    assert (a["minDCF(0.2)"], a["actDCF(0.2)"]) == (results[0].min_dcf[0.2].value, results[0].act_dcf[0.2].value)
    assert (a["minDCF(0.01)"], b["minDCF(0.2)"], a["EER % of kaldi"], a["minDCF(0.05) of kaldi"]) == (None,) * 4
    assert b["EER % of kaldi"] == results[1].other_eers["kaldi"]
    assert (a["interval over"], a["speakers"], a["calibrated"]) == ("trials", None, False)
    assert (b["interval over"], b["speakers"], b["calibrated"]) == ("speakers", 25, True)
    assert a["notes"] == list(results[0].notes)


def test_signs_of_the_formats_are_escaped():
    rows = [("a", "b|c"), ("<i>", "\\|")]
    assert format_text(rows) == "a    b|c\n<i>  \\|\n"
    assert format_markdown(rows) == "| a | b\\|c |\n| --- | --- |\n| <i> | \\\\\\| |\n"
    assert format_markdown([("a",), ("0.5*",)]) == "| a |\n| --- |\n| 0.5\\* |\n"
    assert format_html(rows) == (
        "<table>\n<tr><th>a</th><th>b|c</th></tr>\n<tr><td>&lt;i&gt;</td><td>\\|</td></tr>\n</table>\n"
    )
