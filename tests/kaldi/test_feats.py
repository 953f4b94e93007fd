import shutil
from pathlib import Path

import numpy as np
import pytest

from vouch.errors import VouchError
from vouch.kaldi.ark import COMPRESSION, open_ark
from vouch.kaldi.feats import FeatureStore

REFERENCE = Path(__file__).resolve().parents[1] / "golden" / "kaldi_ark"
FRAMES = {"a-short": 1, "b-few": 4, "c-some": 9, "d-many": 120}


@pytest.fixture(params=[*COMPRESSION, "npy", "npy64"])
def store(request, tmp_path):
    """The same matrices in every kind of file."""
    rng = np.random.default_rng(0)
    matrices = {key: rng.normal(size=(frames, 5)).astype(np.float32) for key, frames in FRAMES.items()}
    scp = tmp_path / "feats.scp"
    if request.param in COMPRESSION:
        with open_ark(tmp_path / "feats.ark", scp, request.param) as writer:
            for key, matrix in matrices.items():
                writer.write(key, matrix)
    else:
        for key, matrix in matrices.items():
            np.save(tmp_path / f"{key} 1.npy", matrix.astype("f8") if request.param == "npy64" else matrix)
        scp.write_text("".join(f"{key} {tmp_path}/{key} 1.npy\n" for key in matrices))
    store = FeatureStore(scp)
    limit = {"8bit": 0.1, "16bit": 1e-4}.get(request.param, 0)
    for index, matrix in enumerate(matrices.values()):
        np.testing.assert_allclose(store.matrix(index), matrix, atol=limit)
    return store


def test_shapes(store):
    assert store.utterances == list(FRAMES)
    assert len(store) == 4
    assert store.dim == 5
    assert store.num_frames.dtype == np.int64
    assert store.num_frames.tolist() == list(FRAMES.values())


def test_crops_are_slices_of_the_whole(store):
    for index, frames in enumerate(FRAMES.values()):
        whole = store.matrix(index)
        for length in {1, 2, 3, 7, frames} - set(range(frames + 1, 200)):
            for first in {0, 1, frames // 2, frames - length} - set(range(frames - length + 1, 200)):
                out = np.full((length, 5), np.nan, np.float32)
                store.crop(index, first, out)
                np.testing.assert_array_equal(out, whole[first : first + length])


@pytest.mark.parametrize("first", [0, 1, 3, 100])
@pytest.mark.parametrize("length", [5, 8, 50, 121])
def test_crops_longer_than_the_utterance_begin_again(store, first, length):
    for index, frames in enumerate(FRAMES.values()):
        out = np.full((length, 5), np.nan, np.float32)
        store.crop(index, first, out)
        if first + length > frames:
            whole = store.matrix(index)
            np.testing.assert_array_equal(out, [whole[(first + row) % frames] for row in range(length)])


def test_crops_may_be_written_into_a_part_of_a_batch(store):
    batch = np.zeros((3, 6, 5), np.float32)
    store.crop(3, 17, batch[1])
    np.testing.assert_array_equal(batch[1], store.matrix(3)[17:23])
    assert not batch[0].any()
    assert not batch[2].any()


def test_an_archive_of_kaldi(tmp_path):
    """One file with plain floats of one dimension and several lengths, at odd byte offsets."""
    shutil.copy(REFERENCE / "mats.ark", tmp_path / "mats.ark")
    lines = [line for line in (REFERENCE / "mats.scp").read_text().splitlines() if line.startswith("m")]
    scp = [f"{line.split()[0]} {tmp_path}/mats.ark:{line.rsplit(':', 1)[1]}\n" for line in lines]
    (tmp_path / "feats.scp").write_text("".join(scp))
    store = FeatureStore(tmp_path / "feats.scp")
    assert store.num_frames.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 100]
    assert store.dim == 7


def test_problems_name_the_utterance(tmp_path):
    with open_ark(tmp_path / "x.ark", tmp_path / "x.scp") as writer:
        writer.write("a", np.ones((4, 5)))
        writer.write("b", np.ones((4, 6)))
    with pytest.raises(VouchError, match=r"x\.scp: 'b': 6 dimensions; the utterances before it have 5"):
        FeatureStore(tmp_path / "x.scp")
    content = (tmp_path / "x.ark").read_bytes()
    (tmp_path / "x.ark").write_bytes(content[:-1])
    with pytest.raises(VouchError, match=r"x\.scp: 'b': the archive is truncated"):
        FeatureStore(tmp_path / "x.scp")
    (tmp_path / "x.ark").write_bytes(b"a \0BFM \4\0\0\0\0\4\0\0\0\0")
    (tmp_path / "x.scp").write_text(f"a {tmp_path}/x.ark:2\n")
    with pytest.raises(VouchError, match=r"x\.scp: 'a': the matrix is empty"):
        FeatureStore(tmp_path / "x.scp")
    (tmp_path / "x.ark").unlink()
    with pytest.raises(VouchError, match=r"x\.ark: No such file"):
        FeatureStore(tmp_path / "x.scp")
