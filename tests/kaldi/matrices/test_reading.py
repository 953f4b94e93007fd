"""Tables read and written, against reference files made by running Kaldi's programs."""

import gzip
import io
import json
import os
import sys
from pathlib import Path
from shlex import quote

import numpy as np
import pytest

from vouch.base.errors import VouchError
from vouch.kaldi.matrices.compression import METHODS
from vouch.kaldi.matrices.objects import HOLDS, encode_object
from vouch.kaldi.matrices.reading import read_entries, read_entry
from vouch.kaldi.matrices.writing import open_entries

REFERENCE = Path(__file__).resolve().parents[2] / "golden" / "kaldi_ark"
KINDS = {"len_int32": "int", "dur_float": "float"}


def copy(source, target, holds="any", compression="none", dtype=None):
    with open_entries(target, compression) as writer:
        for key, array in read_entries(source, holds):
            writer.write(key, array if dtype is None else array.astype(dtype))


def holds_of(name):
    return next((holds for start, holds in KINDS.items() if name.startswith(start)), "any")


@pytest.mark.parametrize(
    "name",
    [
        path.name
        for path in REFERENCE.glob("*.ark")
        if not path.name.startswith(("comp", "ints", "u8", "zo", "empty_cm"))
    ]
    + ["ints.comp4.decoded.ark", "comp2.decoded.ark"],
)
def test_binary_archives_are_copied_byte_for_byte(tmp_path, name):
    """Float and double, matrices and vectors, empty ones too, vectors of integers, integers, floats."""
    path = REFERENCE / name
    copy(f"ark:{path}", f"ark:{tmp_path}/x.ark", holds_of(name))
    assert (tmp_path / "x.ark").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("binary", "text", "holds"),
    [
        ("mats.ark", "mats.txt", "matrix"),
        ("vecs.ark", "vecs.txt", "vector"),
        ("intvec.ark", "intvec.txt", "int_vector"),
        ("len_int32.ark", "len_int32.txt", "int"),
    ],
)
def test_text_is_kaldis_and_read_back(tmp_path, binary, text, holds):
    copy(f"ark:{REFERENCE / binary}", f"ark,t:{tmp_path}/x.txt", holds)
    assert (tmp_path / "x.txt").read_bytes() == (REFERENCE / text).read_bytes()
    copy(f"ark:{tmp_path}/x.txt", f"ark,t:{tmp_path}/y.txt", holds)
    assert (tmp_path / "y.txt").read_bytes() == (REFERENCE / text).read_bytes()
    expected = dict(read_entries(f"ark:{REFERENCE / binary}", holds))
    for key, array in read_entries(f"ark,t:{REFERENCE / text}", holds):
        assert array.dtype == expected[key].dtype
        assert array.shape == expected[key].shape
        np.testing.assert_allclose(array, expected[key], rtol=1e-6)


@pytest.mark.parametrize(
    ("source", "method", "result"),
    [
        ("mats.ark", "auto", "comp1"),
        ("mats.ark", "8bit", "comp2"),
        ("mats.ark", "16bit", "comp3"),
        ("ints.in.txt", "16bit-int", "ints.comp4"),
        ("mats.ark", "8bit-linear", "comp5"),
        ("u8.in.txt", "8bit-int", "u8.comp6"),
        ("zo.in.txt", "8bit-unit", "zo.comp7"),
    ],
)
def test_compression_byte_for_byte_and_bit_for_bit_back(tmp_path, source, method, result):
    copy(f"ark:{REFERENCE / source}", f"ark:{tmp_path}/x.ark", "matrix", method)
    assert (tmp_path / "x.ark").read_bytes() == (REFERENCE / f"{result}.ark").read_bytes()
    copy(f"ark:{REFERENCE / result}.ark", f"ark:{tmp_path}/y.ark")
    assert (tmp_path / "y.ark").read_bytes() == (REFERENCE / f"{result}.decoded.ark").read_bytes()


@pytest.mark.parametrize("name", ["double", "doublevec"])
def test_doubles_become_floats(tmp_path, name):
    copy(f"ark:{REFERENCE / name}.ark", f"ark:{tmp_path}/x.ark", dtype="f4")
    assert (tmp_path / "x.ark").read_bytes() == (REFERENCE / f"{name}.asfloat.ark").read_bytes()


def reference_scp(tmp_path, name):
    """A copy of a reference scp with whole paths."""
    lines = (REFERENCE / f"{name}.scp").read_text()
    (tmp_path / f"{name}.scp").write_text(lines.replace("kaldi_ark/", f"{REFERENCE}/"))
    return f"scp:{tmp_path / name}.scp"


def test_an_empty_compressed_matrix_and_what_follows_it(tmp_path):
    """Kaldi writes four bytes too many behind the first, and cannot read on."""
    expected = dict(read_entries(f"ark:{REFERENCE / 'empty_cm_via_scp.txt'}"))
    for rspecifier in (f"ark:{REFERENCE / 'empty_cm.ark'}", reference_scp(tmp_path, "empty_cm")):
        found = dict(read_entries(rspecifier))
        assert list(found) == ["a", "b", "c"]
        for key, array in found.items():
            assert array.shape == expected[key].shape
            np.testing.assert_allclose(array, expected[key], rtol=1e-6)


def test_single_files_have_no_key():
    np.testing.assert_allclose(
        read_entry(f"{REFERENCE / 'mean_DV.bin'}"), read_entry(f"{REFERENCE / 'mean_text.txt'}"), rtol=1e-6
    )
    matrix = read_entry(f"{REFERENCE / 'single_matrix.bin'}")
    np.testing.assert_array_equal(matrix, read_entry(f"{REFERENCE / 'mats.ark'}:5"))
    assert b"".join(encode_object(matrix, text=True)) == (REFERENCE / "single_matrix.txt").read_bytes()


@pytest.mark.parametrize("case", json.loads((REFERENCE / "ranges.json").read_text()), ids=lambda case: case["case"])
def test_ranges(tmp_path, case):
    name = f"range_{case['case']}"
    rspecifier = reference_scp(tmp_path, name)
    if case["ok"]:
        copy(rspecifier, f"ark:{tmp_path}/x.ark")
        assert (tmp_path / "x.ark").read_bytes() == (REFERENCE / f"{name}.ark").read_bytes()
    else:
        with pytest.raises(VouchError, match=rf"{name}\.scp:1: '{case['case']}': .*range"):
            list(read_entries(rspecifier))


def test_gzip_through_pipes(tmp_path):
    copy(f"ark:gunzip -c {quote(str(REFERENCE / 'mats.ark.gz'))} |", f"ark:| gzip -c > {tmp_path}/x.gz")
    assert gzip.decompress((tmp_path / "x.gz").read_bytes()) == (REFERENCE / "mats.ark").read_bytes()


def test_an_scp_from_a_pipe(tmp_path):
    rspecifier = reference_scp(tmp_path, "mats").replace("scp:", "scp:head -n 2 ") + " |"
    assert [key for key, _ in read_entries(rspecifier)] == ["m001", "m002"]


def test_pipes_longer_than_their_buffers(tmp_path):
    matrix = np.random.default_rng(0).normal(size=(5000, 100)).astype("f4")
    with open_entries(f"ark:| cat > {tmp_path}/x.ark") as writer:
        writer.write("a", matrix)
        writer.write("b", matrix[:3])
    for holds in ("any", "matrix"):
        found = dict(read_entries(f"ark:cat {tmp_path}/x.ark |", holds))
        np.testing.assert_array_equal(found["a"], matrix)
        np.testing.assert_array_equal(found["b"], matrix[:3])


def test_an_ark_and_its_scp(tmp_path):
    """The scp names the archive as it was given, in the order of writing."""
    with open_entries(f"ark,scp:{tmp_path}/x.ark,{tmp_path}/x.scp") as writer:
        for key in ("b", "é", "a"):
            writer.write(key, np.full((2, 2), ord(key), "f4"))
        assert os.listdir(tmp_path) != ["x.ark"]
    lines = (tmp_path / "x.scp").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["b", "é", "a"]
    for line in lines:
        key, rxfilename = line.split(" ")
        assert rxfilename.startswith(f"{tmp_path}/x.ark:")
        assert (read_entry(rxfilename) == ord(key)).all()
    assert [key for key, _ in read_entries(f"scp:{tmp_path}/x.scp")] == ["b", "é", "a"]


def test_an_scp_says_where_entries_go(tmp_path):
    (tmp_path / "out.scp").write_text(f"b {tmp_path}/b.mat\na | cat > {tmp_path}/a.mat\n")
    with open_entries(f"scp,t:{tmp_path}/out.scp") as writer:
        writer.write("a", np.ones((1, 2), "f4"))
        writer.write("b", np.ones(3, "f4"))
        with pytest.raises(VouchError, match=r"'c' is not in .*out\.scp"):
            writer.write("c", np.ones(3, "f4"))
    assert (tmp_path / "a.mat").read_text() == " [\n  1 1 ]\n"
    assert (tmp_path / "b.mat").read_text() == " [ 1 1 1 ]\n"
    with open_entries(f"scp,p:{tmp_path}/out.scp") as writer:
        writer.write("c", np.ones(3, "f4"))
    with open_entries("") as writer:
        writer.write("c", np.ones(3, "f4"))


def test_nothing_appears_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), open_entries(f"ark,scp:{tmp_path}/x.ark,{tmp_path}/x.scp") as writer:
        writer.write("a", np.ones((2, 2), "f4"))
        raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_devices_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    reader = os.fdopen(os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK), "rb")
    with open_entries(f"ark:{tmp_path}/fifo") as writer:
        writer.write("a", np.ones(1, "f4"))
    assert reader.read().startswith(b"a \0BFV ")
    reader.close()
    assert os.listdir(tmp_path) == ["fifo"]


def test_standard_input_and_output(monkeypatch):
    content = (REFERENCE / "vecs.ark").read_bytes()
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written))
    copy("ark,s,cs:-", "ark,f:-")
    assert written.getvalue() == content


def write_mixed(tmp_path):
    """An scp of which the second line cannot be read, and its archive."""
    with open_entries(f"ark,scp:{tmp_path}/x.ark,{tmp_path}/x.scp") as writer:
        for key in "abc":
            writer.write(key, np.ones((2, 2), "f4"))
    lines = (tmp_path / "x.scp").read_text().splitlines()
    (tmp_path / "x.scp").write_text("\n".join([lines[0], "b /nowhere/x.ark:3", lines[2]]) + "\n")
    return tmp_path / "x.scp"


def test_permissive_scp(tmp_path):
    scp = write_mixed(tmp_path)
    with pytest.raises(VouchError, match=r"x\.scp:2: 'b': /nowhere/x\.ark: No such file"):
        list(read_entries(f"scp:{scp}"))
    skipped = []
    assert [key for key, _ in read_entries(f"scp,p:{scp}", skipped=skipped)] == ["a", "c"]
    assert len(skipped) == 1
    assert [key for key, _ in read_entries(f"scp,np,p:{scp}")] == ["a", "c"]
    with pytest.raises(VouchError):
        list(read_entries(f"scp,p,np:{scp}"))


def test_permissive_archive_ends_at_the_damage(tmp_path):
    content = (REFERENCE / "mats.ark").read_bytes()
    (tmp_path / "x.ark").write_bytes(content[:-1])
    keys = [key for key, _ in read_entries(f"ark:{REFERENCE / 'mats.ark'}")]
    skipped = []
    assert [key for key, _ in read_entries(f"ark,p:{tmp_path}/x.ark", skipped=skipped)] == keys[:-1]
    assert len(skipped) == 1
    with pytest.raises(VouchError, match=rf"x\.ark: '{keys[-1]}': the archive is truncated"):
        list(read_entries(f"ark:{tmp_path}/x.ark"))


@pytest.mark.parametrize("keys", ["ba", "aa"])
def test_promised_order(tmp_path, keys):
    with open_entries(f"ark:{tmp_path}/x.ark") as writer:
        for key in keys:
            writer.write(key, np.ones((2, 2), "f4"))
    assert len(list(read_entries(f"ark:{tmp_path}/x.ark"))) == 2
    with pytest.raises(VouchError, match=f"'{keys[1]}' comes after '{keys[0]}': not sorted"):
        list(read_entries(f"ark,s:{tmp_path}/x.ark"))


@pytest.mark.parametrize(
    ("rspecifier", "message"),
    [
        ("x.ark", "is no table"),
        ("arc:x.ark", "is no table"),
        ("ark,scp:x,y", "not both"),
        ("ark,q:x", r"unknown option 'q'"),
        ("ark:x ", "ends in a blank"),
        ("ark:/nowhere/x", "/nowhere/x: No such file"),
        ("ark:|cat", "ends in '|'"),
        ("scp:/nowhere/x", "/nowhere/x: No such file"),
        ("scp:exit 3 |", "file is empty"),
        ("ark:exit 3 |", "'exit 3 |' failed with status 3"),
    ],
)
def test_names_that_cannot_be_read(rspecifier, message):
    with pytest.raises(VouchError, match=message):
        list(read_entries(rspecifier))


@pytest.mark.parametrize(
    ("wspecifier", "message"),
    [
        ("x.ark", "is no table"),
        ("scp,ark:x,y", "in this order"),
        ("ark,scp:x", "needs two files"),
        ("ark,scp:-,x", "needs two files"),
        ("ark,z:x", "unknown option 'z'"),
        ("ark:x|", "not a name to write to"),
        ("ark:x:3", "not a name to write to"),
        ("ark:| exit 4", "failed with status 4|ended with status 4"),
    ],
)
def test_names_that_cannot_be_written(wspecifier, message):
    with pytest.raises(VouchError, match=message), open_entries(wspecifier) as writer:
        for _ in range(100):
            writer.write("a", np.ones(10000, "f4"))


def test_a_reader_that_stops_early_does_not_wait():
    for key, _ in read_entries(f"ark:cat {quote(str(REFERENCE / 'vecs.ark'))}; sleep 100 |"):
        assert key == "v00"
        break


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a", "ends within a key"),
        (b"a ", "'a': nothing here"),
        (b"\xff\xfe \0BFV \4\0\0\0\0", "is not a key"),
        (b"a \0CFV \4\0\0\0\0", "no matrix, vector or number"),
        (b"a \0BXX \4\0\0\0\0", r"type b'XX'"),
        (b"a \0BFM \4\2\0\0\0\4\2\0\0\0" + bytes(15), "truncated"),
        (b"a \0BFM \4\2\0\0\0\4\0\0\0\0", "damaged header: it promises 2 x 0"),
        (b"a \0BFM \4\xff\xff\xff\xff\4\1\0\0\0", "damaged header: it promises -1 x 1"),
        (b"a \0BFM \x08\1\0\0\0\4\1\0\0\0", "damaged header"),
        (b"a \0BDV \4\xff\xff\xff\x7f", "truncated, or its header damaged"),
        (b"a \0BCM " + bytes.fromhex("0000c07f0000803f0100000001000000") + bytes(9), "damaged header"),
        (b"a \0BCM " + bytes.fromhex("000000000000803fffffff7fffffff7f"), "truncated"),
        (b"a \0B\4\xff\xff\xff\xff", "promises -1 integers"),
        (b"a \0B\4\1\0\0\0\5\1\0\0\0", "not a vector of integers"),
        (b"a \0B\4\1\0\0\0b \0B\4\2\0\0\0", "not a vector of integers"),
        (b"a [ 1 2", "ends before ']'"),
        (b"a [ 1 2 ] 3\n", "after ']'"),
        (b"a  [\n 1 2\n 3 ]\n", "rows of different length"),
        (b"a [ 1_0 ]\n", "'1_0' is not a number"),
        (b"a 1.5\n", "begins no matrix or vector"),
        (b"a 99999999999\n", "too large for 32 bits"),
        (b"a RIFF\x24\0\0\0WAVE", "belongs into wav.scp"),
        (b"a" * 5000, "is not a key"),
    ],
)
def test_damaged_archives(tmp_path, content, message):
    (tmp_path / "x.ark").write_bytes(content)
    with pytest.raises(VouchError, match=message) as caught:
        list(read_entries(f"ark:{tmp_path}/x.ark"))
    assert str(caught.value).startswith(f"{tmp_path}/x.ark: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("holds", [holds for holds in HOLDS if holds != "any"])
def test_what_is_expected_is_asked_for(tmp_path, holds):
    arrays = {
        "matrix": np.ones((2, 2), "f4"),
        "vector": np.ones(2, "f8"),
        "int_vector": np.array([1, 2], "i4"),
        "int": np.array(1, "i4"),
        "float": np.array(1.5, "f4"),
    }
    # The bytes of an integer and a float are alike, and so are these as text.
    alike = {False: {("int", "float"), ("float", "int")}}
    alike[True] = {("vector", "matrix"), ("int", "int_vector"), ("int", "float")}
    for text in (False, True):
        for name, array in arrays.items():
            with open_entries(f"ark:{tmp_path}/x.ark", text=text) as writer:
                writer.write("a", array)
            if name == holds:
                [(_, read)] = read_entries(f"ark:{tmp_path}/x.ark", holds)
                np.testing.assert_array_equal(read, array)
            elif (name, holds) not in alike[text]:
                with pytest.raises(VouchError, match=r"x\.ark: "):
                    list(read_entries(f"ark:{tmp_path}/x.ark", holds))
    with pytest.raises(VouchError, match=r"unknown kind of entries 'matrx' \(did you mean 'matrix'\?\)"):
        list(read_entries("ark:x", "matrx"))


def test_text_in_the_forms_that_kaldi_reads(tmp_path):
    (tmp_path / "x.txt").write_text(
        "a  [ 1 2 ; 3 4 ]\nb [ 1e2 -Inf NaN\t+.5 ]\n\nc [\n\n 1 2\n 3 4]\nd 1 -2 \ne\nf  [ ]\ng [\n 7 ]\n"
    )
    found = dict(read_entries(f"ark:{tmp_path}/x.txt"))
    np.testing.assert_array_equal(found["a"], [[1, 2], [3, 4]])
    np.testing.assert_array_equal(found["b"], np.array([100, -np.inf, np.nan, 0.5], "f4"))
    np.testing.assert_array_equal(found["c"], [[1, 2], [3, 4]])
    np.testing.assert_array_equal(found["d"], np.array([1, -2], "i4"))
    assert found["e"].shape == (0,)
    assert found["f"].shape == (0, 0)
    assert found["g"].shape == (1, 1)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((2, 2), "i4"), "no place in Kaldi's formats"),
        (np.ones(2, "i8"), "no place"),
        (np.ones((1, 1, 1), "f4"), "no place"),
        (np.array([[np.nan, 1]], "f4"), "'key': NaN"),
        (np.array([[-3e38, 3e38]], "f4"), "'key': values as far apart"),
    ],
)
def test_what_cannot_be_written(array, message):
    with pytest.raises(VouchError, match=message), open_entries("ark:/dev/null", "auto") as writer:
        writer.write("key", array)


def test_fixed_ranges_clip(tmp_path):
    for name, method in METHODS.items():
        if method.low is not None:
            with open_entries(f"ark:{tmp_path}/x.ark", name) as writer:
                writer.write("key", np.array([[-1e9, 1e9]], "f4"))
            [(_, array)] = read_entries(f"ark:{tmp_path}/x.ark")
            np.testing.assert_array_equal(array, [[method.low, method.low + method.span]])


@pytest.mark.parametrize("name", ["x.ark:²", "x.ark:٣"])
def test_what_is_no_offset_to_readers_is_none_to_writers(tmp_path, name):
    with open_entries(f"ark:{tmp_path}/{name}") as writer:
        writer.write("key", np.ones((2, 2), np.float32))
    assert [key for key, _ in read_entries(f"ark:{tmp_path}/{name}")] == ["key"]
