"""Archives against reference files made by running Kaldi's copy-feats and copy-vector."""

import os
from pathlib import Path

import kaldiio
import numpy as np
import pytest

from vouch.base.errors import VouchError
from vouch.kaldi.datadirs.npytree import read_bins_first
from vouch.kaldi.matrices.layout import HEADER_BYTES, parse_header, read_rows
from vouch.kaldi.matrices.mapped import map_file, read_matrix, read_vectors
from vouch.kaldi.matrices.reading import read_entries
from vouch.kaldi.matrices.writing import COMPRESSION, open_ark, open_entries
from vouch.stores.features import FeatureStore

REFERENCE = Path(__file__).resolve().parents[2] / "golden" / "kaldi_ark"


def entries(name):
    """Key to byte offset of a reference archive, whose scp holds a path of its own."""
    lines = (REFERENCE / f"{name}.scp").read_text().splitlines()
    return {line.split()[0]: int(line.rsplit(":", 1)[1]) for line in lines}


def read_reference(name):
    return {key: read_matrix(f"{REFERENCE / name}.ark:{offset}") for key, offset in entries(name).items()}


def text_table(name):
    """A text archive of Kaldi's as float64: the slow and independent way."""
    table = {}
    for entry in (REFERENCE / name).read_text().split("]"):
        if entry.strip():
            key, numbers = entry.split("[")
            rows = [[float(number) for number in row.split()] for row in numbers.strip().split("\n")]
            table[key.strip()] = np.array(rows)
    return table


def test_float_matrices():
    expected = text_table("mats.txt")
    matrices = read_reference("mats")
    assert matrices.keys() == expected.keys()
    for key, matrix in matrices.items():
        assert matrix.dtype == np.float32
        np.testing.assert_allclose(matrix, expected[key], rtol=1e-6)


def test_double_matrices():
    doubles = dict(kaldiio.load_ark(str(REFERENCE / "double.asfloat.ark")))
    content = (REFERENCE / "double.ark").read_bytes()
    for key, expected in doubles.items():
        offset = content.index(f"{key} \0B".encode()) + len(key) + 1
        np.testing.assert_array_equal(read_matrix(f"{REFERENCE / 'double.ark'}:{offset}"), expected)


@pytest.mark.parametrize("name", ["comp1", "comp2", "comp3", "comp5"])
def test_compressed_matrices(name):
    """Methods automatic, one byte with quartiles, two bytes, one byte: within a rounding of what Kaldi decodes."""
    expected = dict(kaldiio.load_ark(str(REFERENCE / f"{name}.decoded.ark")))
    matrices = read_reference(name)
    assert matrices.keys() == expected.keys()
    for key, matrix in matrices.items():
        np.testing.assert_allclose(matrix, expected[key], rtol=3e-7, atol=1e-7 * np.ptp(expected[key]))


@pytest.mark.parametrize(
    ("compression", "name"), [("auto", "comp1"), ("8bit", "comp2"), ("16bit", "comp3"), ("8bit-linear", "comp5")]
)
def test_written_compressed_archives_equal_kaldis(tmp_path, compression, name):
    """Byte for byte: one to a hundred rows, constants, outliers, ties, a single number."""
    matrices = read_reference("mats")
    with open_ark(tmp_path / "x.ark", tmp_path / "x.scp", compression) as writer:
        for key in entries(name):
            writer.write(key, matrices[key])
    assert (tmp_path / "x.ark").read_bytes() == (REFERENCE / f"{name}.ark").read_bytes()


def test_written_float_archives_equal_kaldis(tmp_path):
    with open_ark(tmp_path / "x.ark", tmp_path / "x.scp") as writer:
        for key, matrix in read_reference("mats").items():
            writer.write(key, matrix)
    assert (tmp_path / "x.ark").read_bytes() == (REFERENCE / "mats.ark").read_bytes()


@pytest.mark.parametrize("compression", COMPRESSION)
@pytest.mark.parametrize(
    "matrix",
    [
        np.full((1, 1), 7.0),
        np.full((6, 3), -15.942385),
        np.random.default_rng(0).normal(size=(1, 80)) * 1e-4,
        np.random.default_rng(1).normal(size=(3, 2)) * 1e-20,
        1e4 + np.random.default_rng(2).normal(size=(50, 3)),
        1e8 + 8.0 * np.random.default_rng(3).integers(0, 2, (20, 3)),
        np.stack([np.full(50, -15.9424), np.random.default_rng(4).normal(size=50)], 1),
    ],
    ids=["1x1", "constant", "1 row", "tiny", "offset", "span of one float step", "constant column"],
)
def test_compression_is_as_fine_as_its_format(tmp_path, compression, matrix):
    matrix = matrix.astype(np.float32)
    with open_ark(tmp_path / "x.ark", tmp_path / "x.scp", compression) as writer:
        writer.write("key", matrix)
    decoded = read_matrix(f"{tmp_path / 'x.ark'}:4")
    steps = {"none": 0, "auto": 1 / 63, "8bit": 1 / 63, "16bit": 1 / 65535, "8bit-linear": 1 / 255}
    step = steps[compression]
    limit = step * np.ptp(matrix) + 2 * np.spacing(np.abs(matrix).max()) * (step > 0)
    assert np.abs(decoded - matrix).max() <= limit


@pytest.mark.parametrize("compression", COMPRESSION)
def test_kaldiio_reads_what_is_written(tmp_path, compression):
    rng = np.random.default_rng(5)
    written = {f"utt{rows:02d}": rng.normal(size=(rows, 4)).astype(np.float32) for rows in (1, 2, 5, 40)}
    with open_ark(tmp_path / "x.ark", tmp_path / "x.scp", compression) as writer:
        for key, matrix in written.items():
            writer.write(key, matrix)
        writer.write("vector", np.arange(3.0))
    read = kaldiio.load_scp(str(tmp_path / "x.scp"))
    for key in written:
        np.testing.assert_allclose(read[key], read_matrix(_entry(tmp_path, key)), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(read["vector"], [0, 1, 2])


def _entry(tmp_path, key):
    lines = (tmp_path / "x.scp").read_text().splitlines()
    return next(line.split(" ", 1)[1] for line in lines if line.split()[0] == key)


@pytest.mark.parametrize("name", ["mats", "comp1", "comp2", "comp3", "comp5"])
def test_rows_equal_a_slice_of_the_whole(name):
    buffer = np.frombuffer(map_file(REFERENCE / f"{name}.ark"), np.uint8)
    for key, offset in entries(name).items():
        layout, _ = parse_header(bytes(buffer[offset : offset + HEADER_BYTES]), offset, len(buffer), key)
        whole = read_matrix(f"{REFERENCE / name}.ark:{offset}")
        for first in range(layout.rows):
            out = np.empty((min(3, layout.rows - first), layout.cols), np.float32)
            read_rows(buffer, layout, first, out, key)
            np.testing.assert_array_equal(out, whole[first : first + 3])


@pytest.mark.parametrize("name", ["vecs", "doublevec"])
def test_vectors(tmp_path, name):
    content = (REFERENCE / f"{name}.ark").read_bytes()
    table = text_table("vecs.txt")
    expected = {key: table[key][0] for key in table if table[key].shape == (1, 5) and f"{key} ".encode() in content}
    assert len(expected) >= 2
    lines = [f"{key} {REFERENCE / name}.ark:{content.index(key.encode()) + len(key) + 1}\n" for key in expected]
    (tmp_path / "x.scp").write_text("".join(lines))
    ids, vectors = read_vectors(tmp_path / "x.scp")
    assert ids == list(expected)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, np.stack(list(expected.values())), rtol=1e-6)


def test_many_vectors_of_several_archives(tmp_path):
    rng = np.random.default_rng(0)
    written = rng.normal(size=(20, 7)).astype(np.float32)
    for part in (0, 1):
        with open_ark(tmp_path / f"{part}.ark", tmp_path / f"{part}.scp") as writer:
            for row in range(part, 20, 2):
                writer.write(f"spk-{row:02d}", written[row])
    lines = [line for part in (0, 1) for line in (tmp_path / f"{part}.scp").read_text().splitlines(keepends=True)]
    (tmp_path / "all.scp").write_text("".join(sorted(lines)))
    ids, vectors = read_vectors(tmp_path / "all.scp")
    assert ids == [f"spk-{row:02d}" for row in range(20)]
    np.testing.assert_array_equal(vectors, written)


def _write_raw(tmp_path, **vectors):
    """An archive and scp made by kaldiio, which also writes what we do not."""
    kaldiio.save_ark(str(tmp_path / "x.ark"), vectors, scp=str(tmp_path / "x.scp"))
    return tmp_path / "x.scp"


def test_vectors_that_do_not_fit_are_named(tmp_path):
    scp = _write_raw(tmp_path, a=np.ones(3, "f4"), b=np.ones(4, "f4"))
    with pytest.raises(VouchError, match=r"x\.scp: 'b' has shape 1 x 4, not one vector of 3"):
        read_vectors(scp)
    scp = _write_raw(tmp_path, a=np.ones(3, "f4"), b=np.ones((2, 3), "f4"))
    with pytest.raises(VouchError, match=r"x\.scp: 'b' has shape 2 x 3"):
        read_vectors(scp)
    scp = _write_raw(tmp_path, a=np.ones(3, "f4"), b=np.array([1, np.nan, 0], "f4"), c=np.array([np.inf, 0, 0], "f4"))
    with pytest.raises(VouchError, match=r"x\.scp: 'b' holds NaN or infinity \(2 such vectors\)"):
        read_vectors(scp)


@pytest.mark.parametrize("name", ["mats", "comp2", "comp3", "comp5"])
def test_every_truncation_is_noticed(tmp_path, name):
    content = (REFERENCE / f"{name}.ark").read_bytes()
    offset = entries(name)["m003"]
    end = entries(name)["m004"] - len("m004 ")
    for size in range(offset + 1, end):
        (tmp_path / "x.ark").write_bytes(content[:size])
        with pytest.raises(VouchError, match=f"x.ark:{offset}: "):
            read_matrix(f"{tmp_path / 'x.ark'}:{offset}")
    (tmp_path / "x.ark").write_bytes(content[:end])
    read_matrix(f"{tmp_path / 'x.ark'}:{offset}")


@pytest.mark.parametrize("offset", [0, 4, 6, 9999999])
def test_wrong_offsets(offset):
    with pytest.raises(VouchError, match=f":{offset}: .*; wrong offset or (damaged|truncated) file"):
        read_matrix(f"{REFERENCE / 'mats.ark'}:{offset}")


@pytest.mark.parametrize("digits", [16, 18, 19, 20])
def test_offsets_that_no_file_has(tmp_path, digits):
    """Some file systems refuse those of 16 digits, where others find nothing there; those above 2^63 none takes."""
    name = f"{REFERENCE / 'mats.ark'}:{'9' * digits}"
    (tmp_path / "feats.scp").write_text(f"a {name}\n")
    for read in (
        lambda: FeatureStore(tmp_path / "feats.scp", {"a": name}),
        lambda: list(read_entries(f"scp:{tmp_path}/feats.scp")),
    ):
        with pytest.raises(VouchError, match=r"feats\.scp(:1)?: 'a': .*mats\.ark.*(larger than any file|nothing here)"):
            read()


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(VouchError, match=r"none\.ark: No such file"):
        read_matrix(f"{tmp_path / 'none.ark'}:5")
    (tmp_path / "x.ark").touch()
    with pytest.raises(VouchError, match=r"x\.ark:5: nothing here"):
        read_matrix(f"{tmp_path / 'x.ark'}:5")


def test_negative_sizes_of_a_damaged_header(tmp_path):
    (tmp_path / "x.ark").write_bytes(b"k \0BFM \4\xff\xff\xff\xff\4\1\0\0\0" + bytes(100))
    with pytest.raises(VouchError, match="promises -1 x 1"):
        read_matrix(f"{tmp_path / 'x.ark'}:2")


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_npy(tmp_path, dtype):
    expected = np.random.default_rng(0).normal(size=(5, 3)).astype(dtype)
    np.save(tmp_path / "x.npy", expected)
    np.testing.assert_array_equal(read_matrix(str(tmp_path / "x.npy")), expected.astype(np.float32))


@pytest.mark.parametrize(
    "array", [np.ones(3, "f4"), np.ones((2, 3), "i4"), np.asfortranarray(np.ones((2, 3), "f4")), np.ones((2, 3), ">f4")]
)
def test_npy_of_another_layout_is_refused(tmp_path, array):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(VouchError, match=r"x\.npy: needs a C-ordered float32 or float64 matrix"):
        read_matrix(str(tmp_path / "x.npy"))


def test_npy_of_the_second_version(tmp_path):
    expected = np.random.default_rng(0).normal(size=(5, 3))
    with open(tmp_path / "x.npy", "wb") as file:
        np.lib.format.write_array(file, expected, version=(2, 0))
    np.testing.assert_array_equal(read_matrix(str(tmp_path / "x.npy")), expected.astype(np.float32))


@pytest.mark.parametrize("entry", ["(" * 9000 + ")" * 9000, f"({'9' * 5000}, 3)"])
def test_npy_headers_that_are_too_much_are_one_short_line(tmp_path, entry):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {entry}, }}\n".encode()
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header)
    for read in (read_matrix, read_bins_first):
        with pytest.raises(VouchError, match=r"x\.npy: not a readable \.npy file") as raised:
            read(str(tmp_path / "x.npy"))
        assert len(str(raised.value)) < 300 and "\n" not in str(raised.value)
        assert "allow_pickle" not in str(raised.value)


def test_damaged_npy(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((20, 3), "f4"))
    content = (tmp_path / "x.npy").read_bytes()
    for damaged in (content[:5], content[:70], content[:-4], b"not numpy" * 10):
        (tmp_path / "x.npy").write_bytes(damaged)
        with pytest.raises(VouchError, match=r"x\.npy: not a readable \.npy file"):
            read_matrix(str(tmp_path / "x.npy"))


@pytest.mark.parametrize("shape", [(1 << 31, 0), (0, 1 << 40)])
def test_npy_of_sizes_that_no_archive_has(tmp_path, shape):
    np.save(tmp_path / "x.npy", np.empty(shape, "f4"))
    (tmp_path / "x.scp").write_text(f"a {tmp_path}/x.npy\n")
    for read in (FeatureStore, read_vectors):
        with pytest.raises(VouchError, match=rf"x\.scp: 'a': .*x\.npy: .*promises {shape[0]} x {shape[1]} values"):
            read(tmp_path / "x.scp")


def test_the_scp_is_sorted_and_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_ark("a b.ark", "x.scp") as writer:
        for key in ("b", "é", "B", "a"):
            writer.write(key, np.ones((2, 2)))
    assert [line.split()[0] for line in Path("x.scp").read_text().splitlines()] == ["B", "a", "b", "é"]
    assert f" {tmp_path}/a b.ark:" in Path("x.scp").read_text()


def test_an_error_leaves_neither_archive_nor_scp(tmp_path):
    with pytest.raises(RuntimeError), open_ark(tmp_path / "x.ark", tmp_path / "x.scp") as writer:
        writer.write("a", np.ones((2, 2)))
        raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_a_matrix_that_cannot_be_written_leaves_no_trace(tmp_path):
    """Its key alone would be taken for that of the next entry, which has one already."""
    far_apart = np.array([[-3e38, 3e38]], np.float32)
    with open_ark(tmp_path / "x.ark", tmp_path / "x.scp", "8bit") as writer:
        writer.write("a", np.ones((2, 2)))
        for array in (far_apart, np.full((1, 1), np.nan), np.empty((0, 3))):
            with pytest.raises(VouchError, match="'b'"):
                writer.write("b", array)
        writer.write("c", np.ones((3, 2)))
    assert [key for key, _ in read_entries(f"ark:{tmp_path}/x.ark")] == ["a", "c"]
    assert [line.split()[0] for line in (tmp_path / "x.scp").read_text().splitlines()] == ["a", "c"]
    with open_entries(f"ark,scp:{tmp_path}/y.ark,{tmp_path}/y.scp", "8bit") as table:
        with pytest.raises(VouchError, match="'b'"):
            table.write("b", far_apart)
        table.write("c", np.ones((3, 2), np.float32))
    assert [key for key, _ in read_entries(f"ark:{tmp_path}/y.ark")] == ["c"]


def test_integers_are_written_as_others_write_them(tmp_path):
    numbers = np.array([3, -1, 2**31 - 1, -(2**31)], np.int32)
    with open_entries(f"ark:{tmp_path}/x.ark") as table:
        table.write("key", numbers)
    kaldiio.save_ark(str(tmp_path / "y.ark"), {"key": numbers})
    assert (tmp_path / "x.ark").read_bytes() == (tmp_path / "y.ark").read_bytes()


@pytest.mark.parametrize("key", ["", "a b", " a", "a\n", "a\u3000b"])
def test_keys_that_no_reader_finds_again(tmp_path, key):
    with (
        pytest.raises(VouchError, match="cannot be an archive key"),
        open_ark(tmp_path / "x", tmp_path / "y") as writer,
    ):
        writer.write(key, np.ones((2, 2)))


@pytest.mark.parametrize("compression", COMPRESSION)
@pytest.mark.parametrize(
    ("array", "message"),
    [(np.ones((0, 3)), "empty"), (np.ones(0), "empty"), (np.array([[0, np.nan]]), "NaN"), (np.array([np.inf]), "NaN")],
)
def test_values_that_are_not_written(tmp_path, compression, array, message):
    with (
        pytest.raises(VouchError, match=f"'utt': .*{message}"),
        open_ark(tmp_path / "x", tmp_path / "y", compression) as writer,
    ):
        writer.write("utt", array)


def test_an_unknown_compression(tmp_path):
    with pytest.raises(VouchError, match=r"unknown compression '8bits' \(did you mean '8bit'\?\)"):
        open_ark(tmp_path / "x", tmp_path / "y", "8bits").__enter__()
    assert os.listdir(tmp_path) == []
