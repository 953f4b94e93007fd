"""The section of the report that says what made a model."""

import base64
import io
import json
from html.parser import HTMLParser

import matplotlib.image
import pytest

from vouch.base.errors import VouchError
from vouch.evaluation.provenance import provenance_section

RECORD = {
    "date": "2024-05-06 07:08:09 +0000",
    "command": ["train.py", "a <folder>", "exp"],
    "versions": {"torch": "2.5"},
    "git": "abc<1>, changed",
    "data": {"train": {"utterances": 24, "speakers": 4, "hours": 1.5, "digest": "f00"}},
    "epoch": 2,
    "validation_eer": 0.125,
    "history": [{"epoch": 1, "loss": 3.0, "eer": 0.25}, {"epoch": 2, "loss": 1.0, "eer": 0.125}],
}


def write(path, record):
    path.write_text(json.dumps(record))
    return path


def text_of(section):
    texts = []
    parser = HTMLParser()
    parser.handle_data = lambda data: texts.append(data.strip())
    parser.feed(section)
    return [text for text in texts if text]


def test_everything_is_told_and_escaped(tmp_path):
    section = provenance_section(write(tmp_path / "provenance.json", RECORD))
    assert "<folder>" not in section and "<1>" not in section
    texts = text_of(section)
    for text in (
        *("2024-05-06 07:08:09 +0000", "train.py 'a <folder>' exp", "torch 2.5", "abc<1>, changed"),
        *("2, validation EER 12.50 %", "utterances 24, speakers 4, hours 1.5, digest f00"),
    ):
        assert text in texts, text


def test_the_training_is_shown_if_it_is_known(tmp_path):
    section = provenance_section(write(tmp_path / "provenance.json", RECORD))
    png = base64.b64decode(section.split('<img alt="Training curve" src="data:image/png;base64,')[1].split('"')[0])
    assert min(matplotlib.image.imread(io.BytesIO(png)).shape[:2]) > 500
    assert "<img" not in provenance_section(write(tmp_path / "provenance.json", {**RECORD, "history": []}))


@pytest.mark.parametrize(
    "record", [[], {}, 5, {**RECORD, "history": 3}, {**RECORD, "history": [{"epoch": "x"}]}, {**RECORD, "epoch": "$x"}]
)
def test_something_else_is_one_line(tmp_path, record):
    with pytest.raises(VouchError, match=r"p\.json: not the record of a training"):
        provenance_section(write(tmp_path / "p.json", record))
