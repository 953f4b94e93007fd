"""What the doctor says of features, and what is mended."""

import numpy as np
import pytest
from corpus import write_features

from vouch.kaldi.datadirs.featcheck import find_empty, judge_features
from vouch.kaldi.datadirs.findings import Report
from vouch.kaldi.datadirs.repair import repair_data_dir
from vouch.kaldi.matrices.writing import open_ark
from vouch.kaldi.tables import read_table, write_table


@pytest.fixture
def data(tmp_path):
    """Features with one of each fault."""
    write_features(tmp_path / "data")
    with open_ark(tmp_path / "x.ark", tmp_path / "x.scp") as ark:
        ark.write("vector", np.ones(30, np.float32))
        ark.write("wide", np.ones((30, 9), np.float32))
    odd = read_table(tmp_path / "x.scp")
    (tmp_path / "empty.ark").write_bytes(b"\0BFM \4\0\0\0\0\4\x08\0\0\0")
    matrix = np.ones((30, 8), np.float32)
    matrix[7, 3] = np.nan
    np.save(tmp_path / "nan.npy", matrix)
    changed = {"s0-1": odd["vector"], "s1-1": odd["wide"], "s2-1": f"{tmp_path}/empty.ark", "s2-3": "/none.ark:5"}
    changed |= {"s3-1": f"{tmp_path}/nan.npy", "s3-2": "exit 3 |"}
    write_table(tmp_path / "data/feats.scp", read_table(tmp_path / "data/feats.scp") | changed)
    return tmp_path / "data"


def test_headers_tell_what_is_no_feature(data):
    report = Report()
    judge_features(data / "feats.scp", report)
    vector = read_table(data / "feats.scp")["s0-1"]
    assert [str(finding).replace(f"{data}/", "") for finding in report.findings] == [
        f"error: feats.scp:2: 's0-1': {vector}: holds 'vector', where 'matrix' is expected",
        "error: feats.scp:8: 's1-1' has 9 dimensions, those before it 8",
        "error: feats.scp:14: 's2-1' has 0 frames; utils/fix_data_dir.py mends it",
    ]


def test_reading_all_finds_nan_and_what_cannot_be_read(data):
    report = Report()
    judge_features(data / "feats.scp", report, values=True)
    lines = [str(finding).replace(f"{data}/", "") for finding in report.findings]
    assert len(lines) == 6
    assert "error: feats.scp:16: 's2-3': /none.ark: No such file or directory" in lines
    assert "error: feats.scp:20: 's3-1': NaN or infinite values" in lines
    assert any(line.startswith("error: feats.scp:21: 's3-2': 'exit 3 |' failed") for line in lines)


def test_only_what_is_known_to_be_empty_is_removed(data):
    assert find_empty(read_table(data / "feats.scp")) == ["s2-1"]
    done = repair_data_dir(data)
    assert (done.kept, done.before) == (23, 24)
    assert "feats.scp: 1 removed, 0 frames (first: 's2-1')" in done.done
    assert "s2-1" not in read_table(data / "utt2spk")
    assert "s2-3" in read_table(data / "feats.scp")
    assert repair_data_dir(data).done == []
