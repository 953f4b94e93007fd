"""Lines of three fields read in bulk, against Python's own splitting of each line."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vouch.base.errors import VouchError
from vouch.kaldi.lists.triples import Form, iterate_triples, parse_triples
from vouch.kaldi.tables import iterate_blocks

FORM = Form("<a> <b> <c>", lambda word: word != "bad")
BLANKS = [" ", "\t", "  ", "\x0b", "\x1c", "\x85", "\u00a0", "\u2003", "\u3000"]
NO_BLANKS = ["\x01", "\x1b", "\x7f", "\u200b", "é", "話", "\U0001f600", "a", "#"]


def columns(path: Path) -> list[list[str]]:
    found: list[list[str]] = [[], [], []]
    for triples in iterate_triples(path, FORM):
        for column, words in zip(found, triples.words(), strict=True):
            column += words
        starts, ends = triples.starts(), triples.ends
        for row in range(len(ends)):
            fields = [triples.text[a:b].tobytes().decode() for a, b in zip(starts[row], ends[row], strict=True)]
            assert fields == [triples.word(row, column) for column in range(3)]
    return found


@pytest.mark.parametrize("size", [1, 30, 1 << 20])
@pytest.mark.parametrize("final", ["\n", ""])
def test_blocks_hold_whole_lines(tmp_path, monkeypatch, size, final):
    lines = [f"s{i} {'x' * (i % 11 + 1)} {i * 7}" for i in range(50)]
    path = tmp_path / "t"
    path.write_text("\n".join(lines) + final)
    blocks = list(iterate_blocks(path, size))
    assert b"".join(block for _, block in blocks) == path.read_bytes()
    assert [before for before, _ in blocks] == [
        sum(block.count(b"\n") for _, block in blocks[:number]) for number in range(len(blocks))
    ]
    rows = [parse_triples(block, before, path, FORM).words() for before, block in blocks]
    assert [row for words in rows for row in zip(*words, strict=True)] == [tuple(line.split()) for line in lines]


word = st.text(st.sampled_from([*NO_BLANKS, "b", "z"]), min_size=1, max_size=20)
blank = st.sampled_from(BLANKS)
line = st.tuples(st.sampled_from(["", " ", "\t"]), word, blank, word, blank, word, st.sampled_from(["", " ", "\u2003"]))


@given(lines=st.lists(line, min_size=1, max_size=8), final=st.booleans())
def test_fields_are_what_split_finds(tmp_path_factory, lines, final):
    path = tmp_path_factory.mktemp("t") / "t"
    path.write_bytes(("\n".join(map("".join, lines)) + "\n" * final).encode())
    expected = [list(column) for column in zip(*("".join(each).split() for each in lines), strict=True)]
    assert columns(path) == expected


@given(content=st.text(st.sampled_from([*"".join(BLANKS), *NO_BLANKS, "\n", "\n", "a"]), max_size=40))
def test_lines_are_refused_as_split_refuses_them(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("t") / "t"
    path.write_bytes(content.encode())
    lines = content.removesuffix("\n").split("\n")
    wrong = [number for number, each in enumerate(lines, start=1) if len(each.split()) != 3]
    if not content.encode().strip():
        with pytest.raises(VouchError, match="the file is empty"):
            columns(path)
    elif wrong:
        with pytest.raises(VouchError, match=f"t:{wrong[0]}: .* is not '<a> <b> <c>'"):
            columns(path)
    else:
        assert columns(path) == [list(column) for column in zip(*map(str.split, lines), strict=True)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a b c\na b c\r\n", "t:2: carriage return"),
        (b"a b c\na \0 c\n", "t:2: a zero byte"),
        (b"a b c\nx \xff c\n", "t:2: not UTF-8"),
        (b"a b c\na\tb bad\n", r"t:2: 'a\\tb bad' is not"),
    ],
)
def test_what_is_no_text_is_named(tmp_path, content, message):
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(VouchError, match=message):
        columns(tmp_path / "t")


@pytest.mark.parametrize(
    "content", [b"a  b\n", b" a b\n", b"a b \n", b"a b c\n\nd e f\n", b"a b c d\ne f\n", b"a\nb c d e\n"]
)
def test_blanks_alone_do_not_make_fields(tmp_path, content):
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(VouchError, match="is not '<a> <b> <c>'"):
        columns(tmp_path / "t")


def test_regular_lines_are_not_looked_at_one_by_one(monkeypatch):
    monkeypatch.setattr("vouch.kaldi.lists.triples._single_blanks", None)
    assert parse_triples(b"a b c\nd e f", 0, "t", FORM).ends.tolist() == [[1, 3, 5], [7, 9, 11]]
    assert np.array_equal(parse_triples(b"a b c\n", 9, "t", FORM).starts(), [[0, 2, 4]])
