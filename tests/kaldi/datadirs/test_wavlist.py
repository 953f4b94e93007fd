"""Lists of recordings without speakers."""

import pytest

from vouch.base.errors import VouchError
from vouch.kaldi.datadirs.datadir import Segment
from vouch.kaldi.datadirs.wavlist import read_wav_list


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Two recordings, and one with a blank in its name, in the current directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for name in ("b.wav", "sub/ä.wav", "with blank.wav"):
        (tmp_path / name).write_bytes(b"audio")
    return tmp_path


def read(text):
    with open("list", "w", encoding="utf-8") as file:
        file.write(text)
    return read_wav_list("list")


def test_files_are_their_own_ids(folder):
    data = read(f"sub/ä.wav\nb.wav\n./b.wav  \n{folder}/b.wav")
    names = sorted(["sub/ä.wav", "b.wav", "./b.wav", f"{folder}/b.wav"])
    assert list(data.wav_scp.items()) == [(name, name) for name in names]
    assert data.segments == {name: Segment(name) for name in names}
    assert list(data.segments) == names
    assert (data.utt2spk, data.feats_scp) == ({}, {})


def test_ids_as_in_wav_scp():
    data = read("two with blank.wav\none cat b.wav | \nzero b.wav:44\n")
    assert list(data.wav_scp.items()) == [("one", "cat b.wav |"), ("two", "with blank.wav"), ("zero", "b.wav:44")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "list: the file is empty"),
        ("\n\n", "list: the file is empty"),
        ("b.wav\n\nsub/ä.wav\n", "list:2: blank line"),
        ("b.wav\na b.wav\n", "list:2: 'a b.wav' is an id and a file, the first line a file alone"),
        ("a b.wav\nb.wav\n", "list:2: 'b.wav' is a file alone, the first line an id and a file"),
        ("b.wav\nsub/ä.wav\nb.wav\n", "list:3: 'b.wav' is repeated, it is on line 1 too"),
        ("a b.wav\na sub/ä.wav\n", "list:2: 'a' is repeated"),
        ("b.wav\nc.wav\n", "list:2: 'c.wav': no such file; relative names are relative to the current"),
        ("with blank.wav\n", "list:1: 'blank.wav': no such file; .* a name with blanks needs an id"),
        ("sub\n", "list:1: 'sub': no such file"),
        ("b.wav|\n", r"list:1: 'b.wav\|': a command needs an id"),
        ("a |b.wav\n", "list:1: '|b.wav': neither a file nor a command"),
        ("b.wav\r\n", "list:1: carriage return"),
    ],
)
def test_what_is_wrong_with_a_list_is_said(text, message):
    with pytest.raises(VouchError, match=message):
        read(text)
