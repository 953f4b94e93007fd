"""utils/copy_feats.py as a user runs it."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from processes import fails, succeeds

from vouch.kaldi.matrices.reading import read_entries
from vouch.stores.features import FeatureStore

COPY = "utils/copy_feats.py"
REFERENCE = Path(__file__).resolve().parents[1] / "golden" / "kaldi_ark"


@pytest.mark.parametrize(
    ("words", "result"),
    [
        (("ark:double.ark", "ark:x"), "double.asfloat.ark"),
        (("--double", "ark:double.ark", "ark:x"), "double.ark"),
        (("--text", "ark:mats.ark", "ark:x"), "mats.txt"),
        (("ark:gunzip -c mats.ark.gz |", "ark,t:| cat > x"), "mats.txt"),
        (("--compress", "8bit", "ark:mats.ark", "ark:x"), "comp2.ark"),
        (("--holds", "int", "--text", "ark:len_int32.ark", "ark:x"), "len_int32.txt"),
        (("--holds=matrix", "ark:empty.in.txt", "ark:x"), "empty_fm.ark"),
        (("mats.ark:5", "x"), "single_matrix.bin"),
        (("--text", "single_matrix.bin", "x"), "single_matrix.txt"),
        (("--double", "--text", "mean_DV.bin", "x"), "mean_text.txt"),
    ],
)
def test_copies_are_kaldis(scripts, tmp_path, words, result):
    for path in REFERENCE.iterdir():
        (tmp_path / path.name).symlink_to(path)
    succeeds(scripts.run(COPY, *words, cwd=tmp_path))
    assert (tmp_path / "x").read_bytes() == (REFERENCE / result).read_bytes()


def test_pipes_and_ranges_become_plain_archives(scripts, tmp_path, monkeypatch):
    """What the features of an scp are, they are in its copy, of any dimension."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "b.npy", rng.normal(size=(30, 256)).astype("f4"))
    np.save(tmp_path / "c.npy", rng.normal(size=(40, 256)))
    (tmp_path / "feats.scp").write_text(
        f'a python3 -c \'print("[ " + "1 2 " * 128 + "; " + "3 4 " * 128 + "]")\' |\nb {tmp_path}/b.npy[5:9]\nc c.npy\n'
    )
    done = succeeds(scripts.run(COPY, "scp:feats.scp", f"ark,scp:{tmp_path}/x.ark,x.scp", cwd=tmp_path))
    assert done.stderr == "copied 3 entries\n"
    monkeypatch.chdir(tmp_path)
    store, copied = FeatureStore("feats.scp"), FeatureStore(tmp_path / "x.scp")
    assert copied.dim == 256
    assert copied.lengths.tolist() == [2, 5, 40]
    for index in range(3):
        np.testing.assert_array_equal(store.matrix(index), copied.matrix(index))


def test_standard_output(scripts, tmp_path):
    done = succeeds(scripts.run(COPY, "--text", f"ark:{REFERENCE}/vecs.ark", "ark:-", cwd=tmp_path))
    assert done.stdout == (REFERENCE / "vecs.txt").read_text()


def test_what_is_left_out_is_said(scripts, tmp_path):
    (tmp_path / "x.scp").write_text(f"a {REFERENCE}/mats.ark:5\nb /nowhere:7\n")
    done = succeeds(scripts.run(COPY, "scp,p:x.scp", "ark:| gzip -c > x.gz", cwd=tmp_path))
    assert "copied 1 entries; 1 left out, the first: x.scp:2: 'b': /nowhere: No such file" in done.stderr
    (tmp_path / "x").write_bytes(gzip.decompress((tmp_path / "x.gz").read_bytes()))
    assert len(list(read_entries(f"ark:{tmp_path}/x"))) == 1
    fails(scripts.run(COPY, "scp:x.scp", "ark:y", cwd=tmp_path), "x.scp:2: 'b': /nowhere: No such file")
    assert not (tmp_path / "y").exists()


@pytest.mark.parametrize(
    ("words", "message", "status"),
    [
        (("ark:x.ark", "y"), "are both tables", 1),
        (("ark:empty", "ark:y"), "ark:empty: no entries", 1),
        (("ark:none", "ark:y"), "none: No such file", 1),
        (("--compress", "8bits", "ark:x", "ark:y"), "unknown value '8bits' (did you mean '8bit'?)", 2),
    ],
)
def test_errors_are_one_line(scripts, tmp_path, words, message, status):
    (tmp_path / "empty").touch()
    fails(scripts.run(COPY, *words, cwd=tmp_path), message, status)
    assert not (tmp_path / "y").exists()
