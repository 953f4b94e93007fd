"""The HTML report, read with a strict parser."""

import base64
import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from vouch.base.errors import VouchError
from vouch.evaluation.html import write_report
from vouch.evaluation.plots import System, plot_det, plot_histogram
from vouch.evaluation.result import Settings, evaluate
from vouch.evaluation.result_file import write_result
from vouch.evaluation.table import table_rows

VOID = {"meta", "img"}
SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Strict(HTMLParser):
    """Collects texts, attributes and table cells, and fails on elements that are not closed in order."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.seen, self.texts, self.sources, self.cells = [], [], {}, [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        for name, value in attributes:
            assert name in {"lang", "charset", "name", "content", "alt", "src"}, name
            if name == "src":
                self.sources.append(value)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.cells.append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1].append(data)


def parse(path) -> Strict:
    parser = Strict()
    parser.feed(path.read_text(encoding="utf-8"))
    parser.close()
    assert parser.open == []
    return parser


def make_results(folder, name="a<b>&\"c'"):
    is_target = np.arange(90) % 3 == 0
    scores = np.random.default_rng(0).standard_normal(90) + is_target
    result = evaluate(name, scores, is_target, Settings(draws=5))
    write_result(folder / "one.json", result)
    plot_det(folder / "one_det.png", [System(result, scores, is_target)])
    plot_histogram(folder / "one_hist.png", System(result, scores, is_target))
    return result


def test_report_is_whole_and_needs_no_other_file(tmp_path):
    result = make_results(tmp_path)
    write_result(
        tmp_path / "two.json", evaluate("two", np.array([1.0, 0.0]), np.array([True, False]), Settings(draws=5))
    )
    (tmp_path / "one_det.all.png").write_bytes((tmp_path / "one_det.png").read_bytes())
    (tmp_path / "config.yaml").write_text("model: x<y & z\n# größe\n", encoding="utf-8")
    path = write_report(tmp_path, "a <title>", tmp_path / "config.yaml")
    assert path == tmp_path / "report.html"
    page = parse(path)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>\n<html")
    assert not {"script", "link", "iframe", "object", "base", "a"} & set(page.seen)
    assert all(word not in "".join(page.texts["style"]) for word in ("url(", "@import", "http"))
    assert page.texts["h1"] == page.texts["title"] == ["a <title>"]
    assert "".join(page.texts["pre"]) == "model: x<y & z\n# größe\n"
    assert page.texts["h2"] == ["All systems", result.system, "two", "Configuration"]
    assert tuple(page.cells[1]) == table_rows([result], every_figure=True)[1]
    assert page.cells[2][0] == "two"
    pictures = []
    for source in page.sources:
        kind, data = source.split(",")
        assert kind == "data:image/png;base64"
        pictures.append(base64.b64decode(data, validate=True))
    files = ("one_det.all", "one_det", "one_hist")
    assert pictures == [(tmp_path / f"{name}.png").read_bytes() for name in files]
    assert all(picture.startswith(SIGNATURE) for picture in pictures)


def test_notes_and_what_was_drawn_are_shown_as_text(tmp_path):
    # What names and notes hold is no markup.
    result = make_results(tmp_path)
    write_result(tmp_path / "one.json", replace(result, system="<i>x</i>", notes=("<script>alert(1)</script> & more",)))
    path = write_report(tmp_path, "x")
    page = parse(path)
    assert not {"script", "i"} & set(page.seen)
    assert "<i>x</i>: <script>alert(1)</script> & more" in page.texts["li"]
    assert any(text.endswith("Intervals: 5 bootstrap samples of trials.") for text in page.texts["p"])


def test_uncalibrated_figures_are_marked(tmp_path):
    result = make_results(tmp_path)
    for calibrated, number in ((False, 3), (True, 0)):
        write_result(tmp_path / "one.json", replace(result, calibrated=calibrated))
        page = parse(write_report(tmp_path, "x"))
        assert sum(cell.endswith("*") for cell in page.cells[1]) == number
        assert any(text.startswith("* actDCF and Cllr") for text in page.texts["li"]) != calibrated


def test_list_called_all_is_no_picture_of_all_systems(tmp_path):
    make_results(tmp_path)
    for ending in (".json", "_det.png", "_hist.png"):
        (tmp_path / f"one{ending}").rename(tmp_path / f"one_all{ending}")
    page = parse(write_report(tmp_path, "x"))
    assert "All systems" not in page.texts["h2"]
    assert len(page.sources) == 2


def test_nothing_to_report(tmp_path):
    with pytest.raises(VouchError, match="there are no results"):
        write_report(tmp_path, "x")
    make_results(tmp_path)
    with pytest.raises(VouchError, match=r"nowhere\.yaml: cannot be read"):
        write_report(tmp_path, "x", tmp_path / "nowhere.yaml")
    assert not (tmp_path / "report.html").exists()


def test_what_made_the_model_is_shown(tmp_path):
    (tmp_path / "results").mkdir()
    make_results(tmp_path / "results")
    record = {"epoch": 3, "git": "<i>", "history": [{"epoch": 1, "loss": 2.0}]}
    (tmp_path / "provenance.json").write_text(json.dumps(record))
    page = write_report(tmp_path / "results", "x", None, tmp_path / "provenance.json").read_text()
    assert "What made the model" in page and "&lt;i&gt;" in page and "Training curve" in page
