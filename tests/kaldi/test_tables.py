import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vouch.base.errors import VouchError
from vouch.kaldi.tables import read_lines, read_table, write_table


def table_file(tmp_path, content):
    path = tmp_path / "table"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_values_are_the_rest_of_the_line(tmp_path):
    path = table_file(tmp_path, "a x.wav\nb  ffmpeg -i 'b  c.m4a' - | \nc\tx y\n")
    assert read_table(path) == {"a": "x.wav", "b": "ffmpeg -i 'b  c.m4a' - |", "c": "x y"}


@pytest.mark.parametrize("others", ["abcde", "bd", "ac", "z", "", "aé"])
def test_equal_keys_can_be_shared(tmp_path, others):
    path = tmp_path / "table"
    path.write_text("".join(f"key-{name} 1\n" for name in "abdeé"))
    shared = [f"key-{name}" for name in others]
    table = read_table(path, same_keys=shared)
    assert table == read_table(path)
    for key in table:
        assert any(key is each for each in shared) == (key in shared)


def test_the_last_line_may_lack_its_end(tmp_path):
    assert read_table(table_file(tmp_path, "a 1\nb 2")) == {"a": "1", "b": "2"}


def test_unicode_line_separators_do_not_end_lines(tmp_path):
    path = table_file(tmp_path, "a x\u2028y\x0bz.wav\nb 2\n")
    assert read_table(path) == {"a": "x\u2028y\x0bz.wav", "b": "2"}


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("a 1\n\nb 2\n", 2, "blank line"),
        ("a 1\n  \nb 2\n", 2, "blank line"),
        ("a 1\nb 2\n\n", 3, "blank line"),
        ("a 1\nb\n", 2, "'b' has no value"),
        ("a 1\nb \n", 2, "'b' has no value"),
        ("b 1\na 2\n", 2, "'a' comes after 'b': not sorted"),
        ("a 1\nb 2\nb 3\n", 3, "'b' is repeated"),
        ("a 1\nc 2\na 3\n", 3, "'a' is repeated"),
        ("a 1\nB 2\n", 2, "'B' comes after 'a'"),
        ("s1_a 1\ns10_a 1\n", 2, "not sorted"),
        ("a 1\r\nb 2\r\n", 1, "carriage return"),
        ("a 1\nb 2\r\n", 2, "carriage return"),
        (b"\xef\xbb\xbfa 1\nb 2\n", 1, "byte order mark before the line; remove it with: sed -i 's/^\\xEF"),
        (b"a 1\n\xef\xbb\xbfb 2\n", 2, "byte order mark"),
        (b"a 1\nb 2\nc \xff\n", 3, "not UTF-8"),
        (b"a 1\nb \0\n", 2, "a zero byte"),
    ],
)
def test_malformed_lines_are_named(tmp_path, content, line, message):
    path = table_file(tmp_path, content)
    with pytest.raises(VouchError) as caught:
        read_table(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "\n", " \n\n"])
def test_empty_files(tmp_path, content):
    path = table_file(tmp_path, content)
    with pytest.raises(VouchError, match=r"table: the file is empty"):
        read_table(path)


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(VouchError, match=r"none: no such file"):
        read_lines(tmp_path / "none")
    with pytest.raises(VouchError, match="Is a directory"):
        read_lines(tmp_path)


keys = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Z"]), min_size=1, max_size=6).filter(
    lambda key: key.split() == [key] and key[0] != "\ufeff"
)
values = st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r"), min_size=1).filter(
    lambda value: value.strip() == value
)


@given(table=st.dictionaries(keys, values, min_size=1, max_size=8))
def test_what_is_written_is_read_back_in_c_order(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("tables") / "table"
    write_table(path, table)
    assert read_table(path) == table
    written = [line.split(b" ")[0] for line in path.read_bytes().removesuffix(b"\n").split(b"\n")]
    assert written == sorted(key.encode() for key in table)


def test_the_order_is_that_of_sort(tmp_path):
    names = ["a", "B", "é", "z", "Z", "a-b", "a_b", "a1", "a10", "話", "\U0001f399", "\uffee"]
    write_table(tmp_path / "table", dict.fromkeys(names, "x"))
    done = subprocess.run(["sort", "-c", "-k1,1", tmp_path / "table"], env={**os.environ, "LC_ALL": "C"}, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("a b", "x"), ("", "x"), ("a", ""), ("a", " "), ("a", "x\ny"), ("a\n", "x")),
        *(("a", "x\r"), ("a", "x\0"), ("\0", "x"), ("\ufeffa", "x")),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path, key, value):
    with pytest.raises(VouchError, match="cannot be a line '<key> <value>'"):
        write_table(tmp_path / "table", {"good": "x", key: value})
    assert os.listdir(tmp_path) == []


def test_the_advice_about_byte_order_marks_removes_them(tmp_path):
    path = table_file(tmp_path, b"\xef\xbb\xbfa 1\nb 2\n\xef\xbb\xbfc 3\n")
    with pytest.raises(VouchError) as caught:
        read_table(path)
    subprocess.run(str(caught.value).partition("with: ")[2], shell=True, check=True)
    assert path.read_bytes() == b"a 1\nb 2\nc 3\n"


def test_invisible_characters_within_a_line_are_kept(tmp_path):
    assert read_table(table_file(tmp_path, "a\ufeffb x\ufeffy\n".encode())) == {"a\ufeffb": "x\ufeffy"}
