"""Kaldi's rules: verdicts of its own script on mutated directories, and file, line and reason of each finding."""

import pytest
from kaldi_cases import VALIDATE, contents, make_dir, small_dir

from vouch.base.errors import VouchError
from vouch.kaldi.datadirs.findings import Report
from vouch.kaldi.datadirs.validate import Needs, validate_data_dir, waive

NEEDS = Needs(text=False)
# Where this is stricter than Kaldi's script on purpose: what it finds there.
STRICTER = {
    # Kaldi's script says so as well, and then exits with 0.
    "utt2spk_3cols": "utt2spk:1: 's1-u00 s1 x' has 3 fields",
    # No reader takes an empty file name.
    "wav_one_field": "wav.scp:1: 's1-u00' has no value",
    # Kaldi's script compares these only where there is a text.
    "seg_missing_utt_no_text": "utt2spk:1: utterance 's1-u00' is not in segments",
}


def findings(path, needs=NEEDS):
    return [str(finding).replace(f"{path}/", "") for finding in validate_data_dir(path, needs).findings]


@pytest.mark.parametrize("name", VALIDATE)
def test_verdicts_are_those_of_kaldi(tmp_path, name):
    case = VALIDATE[name]
    path = make_dir(tmp_path / "set", contents(case["files"]))
    found = findings(path, waive(word.removeprefix("--") for word in case["options"].split()))
    errors = [line for line in found if line.startswith("error: ")]
    assert bool(errors) == (case["exit_status"] != 0 or name in STRICTER), found
    if name in STRICTER:
        assert any(STRICTER[name] in line for line in errors), errors


def test_a_sound_directory_has_no_findings(tmp_path):
    assert findings(small_dir(tmp_path / "set")) == []


TWO = "a-1 1\na-2 1\nb-1 1\n"


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("wav.scp", "", "error: wav.scp: the file is empty"),
        ("wav.scp", " \n\n", "error: wav.scp: the file is empty"),
        ("wav.scp", b"a-1 x\na-2 \xff\n", "error: wav.scp:2: not UTF-8 text"),
        ("wav.scp", "a-1 x\na-2 \0\n", "error: wav.scp:2: a zero byte"),
        ("utt2dur", "a-1 1\r\na-2 1\r\nb-1 1\nb-2 1\n", "error: utt2dur:1: carriage return, on 2 lines in all"),
        ("utt2dur", TWO + "\nb-2 1\n", "error: utt2dur:4: blank line"),
        ("utt2dur", TWO + "b-2 1", "error: utt2dur:4: the last line has no end"),
        ("utt2dur", TWO + "b-2\n", "error: utt2dur:4: 'b-2' has no value"),
        ("utt2dur", TWO + "b-2 1 \n", "warning: utt2dur:4: blank at the end of the line, on 1 lines"),
        ("utt2dur", TWO + " b-2 1\n", "error: utt2dur:4: blank before the key"),
        ("utt2dur", TWO + "b-1 2\nb-2 1\n", "error: utt2dur:4: 'b-1' is repeated"),
        ("utt2dur", "a-2 1\na-1 1\nb-2 1\nb-1 1\n", "error: utt2dur:2: 'a-1' comes after 'a-2': not sorted (and so on"),
        ("utt2dur", TWO + "b-2 nan\n", "error: utt2dur:4: 'b-2 nan': the value is not one number of seconds"),
        ("utt2dur", TWO + "b-2 inf\n", "error: utt2dur:4: "),
        ("utt2dur", TWO + "b-2 1 2\n", "error: utt2dur:4: "),
        ("utt2num_frames", TWO + "b-2 ²\n", "error: utt2num_frames:4: "),
        ("utt2spk", "a-1 a \na-2 a\nb-1 b\nb-2 b\n", "error: utt2spk:1: blank at the end of the line"),
        ("utt2spk", "a-1 a\na-2 a\nb-1 b b\nb-2 b\n", "error: utt2spk:3: 'b-1 b b' has 3 fields"),
        ("utt2spk", "a-1 a\na-2 b\nb-1 a\nb-2 b\n", "error: utt2spk:3: speaker 'a' comes after 'b'"),
        ("spk2utt", "a a-1 a-2\nb b-1\n", "error: spk2utt:2: 'b' has 1 utterances, 2 in utt2spk; 'b-2' is in one"),
        ("spk2utt", "a a-1 a-2\nb b-2 b-1\n", "error: spk2utt:2: 'b' has 2 utterances, 2 in utt2spk: they are rep"),
        ("spk2utt", "a a-1 a-2\nb b-1 b-2\nc c-1\n", "error: spk2utt:3: speaker 'c' is not in utt2spk"),
        ("wav.scp", "a-1 x\na-2 ~/x\nb-1 x\nb-2 x\n", "error: wav.scp:2: '~/x': ~ is not expanded"),
        ("wav.scp", "a-1 x\na-2 | cat x\nb-1 x\nb-2 x\n", "error: wav.scp:2: '| cat x': a command ends in |"),
        ("wav.scp", "a-1 x\nb-1 x\nb-2 x\nc-1 x\n", "error: wav.scp:4: utterance 'c-1' is not in utt2spk"),
        ("wav.scp", "a-1 x\nb-1 x\nb-2 x\n", "error: utt2spk:2: utterance 'a-2' is not in wav.scp"),
        ("reco2file_and_channel", "a-1 f A\na-2 f B\nb-1 f C\nb-2 f A\n", "error: reco2file_and_channel:3: 'b-1 f C'"),
        ("segments", "a-1 x 0 1\n", "error: segments:1: recording 'x' is not in wav.scp"),
        ("segments", "a-1 a-1 1 0\n", "error: segments:1: 'a-1 a-1 1 0': needs 0 <= start < end"),
        ("segments", "a-1 a-1 zero 1\n", "error: segments:1: 'a-1 a-1 zero 1': needs"),
        ("utt2warp", TWO + "b-2 1.5\n", "error: utt2warp:4: 'b-2 1.5': the value is not one number between"),
        ("frame_shift", "ten\n", "warning: frame_shift:1: 'ten' is not one number"),
    ],
)
def test_each_malformed_line_is_named(tmp_path, name, content, wanted):
    found = findings(small_dir(tmp_path / "set", **{name: content}))
    assert any(line.startswith(wanted) for line in found), found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a-1 x\na-2 x\u2028y\nb-1\nb-2 x\n", "error: text:2: character U+2028"),
        ("a-1 x\na-2 x\nb-1 \x07\nb-2 x\n", "error: text:3: character U+0007"),
        ("a-1 x\na-2 x\nb-1 </s> x\nb-2 x\n", "error: text:3: '</s>' cannot be a word"),
        ("a-1 x\nb-1 x\nb-2 x\n", "error: utt2spk:2: utterance 'a-2' is not in text"),
    ],
)
def test_text(tmp_path, text, wanted):
    path = small_dir(tmp_path / "set", text=text)
    found = findings(path, Needs())
    assert [line for line in found if line.startswith(wanted)], found
    assert not findings(path), "without the need it is not looked at"


def test_utterances_without_words_are_in_order(tmp_path):
    path = small_dir(tmp_path / "set", text="a-1 x\na-2\nb-1 \x07\nb-2 x\n")
    assert findings(path, Needs(printable=False)) == []


def test_all_that_fails_is_found(tmp_path):
    path = small_dir(tmp_path / "set", spk2gender="a x\nb y\n", utt2dur="a-1 0\na-2 1\nb-1 1\nc 1\n")
    assert len(findings(path)) == 5


def test_unknown_directories_and_options(tmp_path):
    with pytest.raises(VouchError, match="no such data directory"):
        validate_data_dir(tmp_path / "none")
    with pytest.raises(VouchError, match=r"unknown option 'no-feat' .did you mean 'no-feats'"):
        waive(["no-feat"])


def test_reports_are_shortened_and_counted(tmp_path):
    report = Report()
    for line in range(1, 6):
        report.error("order", tmp_path / "x", line, "why")
    report.warning("rate", tmp_path / "x", 0, "why")
    x = tmp_path / "x"
    shown = [f"error: {x}:1: why", f"error: {x}:2: why", f"error: {x}: order: 3 more of 5", f"warning: {x}: why"]
    assert list(report.shorten(2)) == shown
    assert [line.split() for line in report.summarize()][1:] == [
        ["order", "5", "0"],
        ["rate", "0", "1"],
        ["all", "5", "1"],
    ]
