import errno
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from corpus import write_features

from vouch.base.errors import VouchError
from vouch.kaldi.matrices.writing import COMPRESSION, open_ark, open_entries
from vouch.stores.features import FeatureStore

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
    limit = {"auto": 0.1, "8bit": 0.1, "16bit": 1e-4, "8bit-linear": 0.02}.get(request.param, 0)
    for index, matrix in enumerate(matrices.values()):
        np.testing.assert_allclose(store.matrix(index), matrix, atol=limit)
    return store


def test_shapes(store):
    assert store.utterances == list(FRAMES)
    assert len(store) == 4
    assert store.dim == 5
    assert store.lengths.dtype == np.int64
    assert store.lengths.tolist() == list(FRAMES.values())


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
    assert store.lengths.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 100]
    assert store.dim == 7


def test_problems_name_the_utterance(tmp_path):
    with open_ark(tmp_path / "x.ark", tmp_path / "x.scp") as writer:
        writer.write("a", np.ones((4, 5)))
        writer.write("b", np.ones((4, 6)))
    with pytest.raises(VouchError, match=r"x\.scp: 'b': 6 dimensions; the utterances before it have 5"):
        FeatureStore(tmp_path / "x.scp")
    content = (tmp_path / "x.ark").read_bytes()
    (tmp_path / "x.ark").write_bytes(content[:-1])
    with pytest.raises(VouchError, match=r"x\.scp: 'b': .*x\.ark:99: the archive is truncated"):
        FeatureStore(tmp_path / "x.scp")
    (tmp_path / "x.ark").write_bytes(b"a \0BFM \4\0\0\0\0\4\0\0\0\0")
    (tmp_path / "x.scp").write_text(f"a {tmp_path}/x.ark:2\n")
    with pytest.raises(VouchError, match=r"x\.scp: no matrix in it has a frame, the first is that of 'a'"):
        FeatureStore(tmp_path / "x.scp")
    (tmp_path / "x.ark").unlink()
    with pytest.raises(VouchError, match=r"x\.ark: No such file"):
        FeatureStore(tmp_path / "x.scp")


def write_lines(tmp_path, **rxfilenames):
    (tmp_path / "feats.scp").write_text("".join(f"{key} {rxfilenames[key]}\n" for key in sorted(rxfilenames)))
    return FeatureStore(tmp_path / "feats.scp")


@pytest.fixture
def archive(tmp_path):
    """Where a matrix of 20 x 6 lies in each kind of archive, and what it is read as."""
    matrix = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    found = {}
    for kind in COMPRESSION:
        with open_ark(tmp_path / f"{kind}.ark", tmp_path / "x.scp", kind) as writer:
            writer.write("before", matrix[::-1])
            writer.write("key", matrix)
        found[kind] = (tmp_path / "x.scp").read_text().split()[-1]
    np.save(tmp_path / "x.npy", matrix)
    found["npy"] = f"{tmp_path}/x.npy"
    with open_entries(f"ark,t,scp:{tmp_path}/x.txt,{tmp_path}/x.scp") as writer:
        writer.write("key", matrix)
    found["text"] = (tmp_path / "x.scp").read_text().split()[-1]
    found["pipe"] = f"tail -c +5 {tmp_path}/x.txt |"
    return found


@pytest.mark.parametrize("kind", [*COMPRESSION, "npy", "text", "pipe"])
@pytest.mark.parametrize(("text", "rows", "cols"), [("[3:12]", (3, 13), (0, 6)), ("[:,2:4]", (0, 20), (2, 5))])
def test_ranges_are_slices_of_the_whole(tmp_path, archive, kind, text, rows, cols):
    part = write_lines(tmp_path, key=archive[kind] + text)
    both = write_lines(tmp_path, key=archive[kind] + "[4:21,1:3]")
    whole = write_lines(tmp_path, key=archive[kind]).matrix(0)
    assert part.lengths.tolist() == [rows[1] - rows[0]]
    assert part.dim == cols[1] - cols[0]
    np.testing.assert_array_equal(part.matrix(0), whole[slice(*rows), slice(*cols)])
    np.testing.assert_array_equal(both.matrix(0), whole[4:, 1:4])
    out = np.empty((5, part.dim), np.float32)
    part.crop(0, 2, out)
    np.testing.assert_array_equal(out, whole[slice(*rows), slice(*cols)][2:7])


@pytest.mark.parametrize("kind", ["none", "8bit", "npy", "pipe"])
def test_ranges_outside_name_the_utterance(tmp_path, archive, kind):
    with pytest.raises(VouchError, match=r"feats\.scp: 'key': .*range 15:23 is outside of 20 x 6 values"):
        write_lines(tmp_path, key=archive[kind] + "[15:23]")


def test_a_pipe_is_run_once(tmp_path, archive):
    store = write_lines(tmp_path, a=f"echo x >> {tmp_path}/runs; {archive['pipe']}", b=archive["none"])
    for _ in range(3):
        np.testing.assert_allclose(store.matrix(0), store.matrix(1), rtol=1e-6)
    assert (tmp_path / "runs").read_text() == "x\n"


def test_pipes_that_fail_name_the_utterance(tmp_path):
    for command, message in {
        "exit 3 |": "'exit 3 |' failed with status 3",
        "true |": "nothing here",
        "echo hello |": r"'hello' begins no matrix or vector",
        "echo 1 2 3 |": "'1 2 3' begins no matrix",
    }.items():
        with pytest.raises(VouchError, match=rf"feats\.scp: 'key': .*{message}"):
            write_lines(tmp_path, key=command)


def test_a_table_that_has_been_read_is_not_read_again(tmp_path, archive):
    store = FeatureStore(tmp_path / "none", {"key": archive["none"]})
    assert store.utterances == ["key"]
    assert store.matrix(0).shape == (20, 6)


def test_lengths_of_int32_do_not_limit_offsets(tmp_path):
    """A matrix behind four gigabytes of nothing, which a sparse file holds without taking the space."""
    with open(tmp_path / "x.ark", "wb") as file:
        file.seek(5 << 30)
        file.write(b"\0BFM \4\2\0\0\0\4\3\0\0\0" + np.arange(6, dtype="<f4").tobytes())
    store = write_lines(tmp_path, key=f"{tmp_path}/x.ark:{5 << 30}")
    np.testing.assert_array_equal(store.matrix(0), np.arange(6).reshape(2, 3))


@pytest.mark.parametrize("shape", [(0, 0), (0, 6), (6, 0)])
@pytest.mark.parametrize("place", ["a", "m", "z"])
@pytest.mark.parametrize("kind", ["archive", "npy", "text"])
def test_an_empty_matrix_is_an_utterance_of_no_frames(tmp_path, archive, shape, place, kind):
    """Kaldi writes such for recordings that are too short; the dimension is that of the others."""
    if kind == "archive":
        (tmp_path / "empty.ark").write_bytes(b"\0BFM " + struct.pack("<bibi", 4, shape[0], 4, shape[1]))
        if shape[0]:  # Kaldi has no rows without columns
            with pytest.raises(VouchError, match="damaged header: it promises 6 x 0 values"):
                write_lines(tmp_path, k=archive["none"], **{place: f"{tmp_path}/empty.ark"})
            return
    elif kind == "npy":
        np.save(tmp_path / "empty.npy", np.zeros(shape, np.float32))
    else:
        (tmp_path / "empty.ark").write_text(" [ ]\n")
    empty = f"{tmp_path}/empty.{'npy' if kind == 'npy' else 'ark'}"
    store = write_lines(tmp_path, **{"k": archive["none"], "n": archive["8bit"], place: empty})
    assert store.dim == 6
    index = store.utterances.index(place)
    assert store.lengths.tolist() == [0 if row == index else 20 for row in range(3)]
    assert store.matrix(index).shape == (0, 6)
    with pytest.raises(VouchError, match=rf"feats\.scp: '{place}' has 0 frames"):
        store.crop(index, 0, np.empty((3, 6), np.float32))


def test_vectors_are_no_features(tmp_path, archive):
    with open_ark(tmp_path / "vad.ark", tmp_path / "vad.scp") as writer:
        writer.write("v", np.ones(20, np.float32))
    vector = (tmp_path / "vad.scp").read_text().split()[1]
    message = r"feats\.scp: 'v': .*: holds 'vector', where 'matrix' is expected"
    for name in (vector, f"{vector}[0:5]"):
        with pytest.raises(VouchError, match=message):
            write_lines(tmp_path, v=name)
        with pytest.raises(VouchError, match=message):
            write_lines(tmp_path, k=archive["none"], v=name)
    # Embeddings may be crops, matrices, or vectors: that is for the reader to say.
    assert FeatureStore(tmp_path / "vad.scp", vectors=True).lengths.tolist() == [1]


def test_an_archive_that_is_cut_short_while_it_is_in_use_is_named(tmp_path, start_python):
    """In a process of its own: one that reads beyond the end of a mapped file is killed by a signal."""
    with open_ark(tmp_path / "x.ark", tmp_path / "feats.scp") as writer:
        for name in "abc":
            writer.write(name, np.ones((5000, 20), np.float32))
    code = """
import os, sys
import numpy as np
from vouch.base.errors import VouchError
from vouch.stores.features import FeatureStore
folder = sys.argv[1]
store = FeatureStore(folder + "/feats.scp")
assert store.matrix(2).all()
os.truncate(folder + "/x.ark", 500000)
assert store.matrix(0).all(), "what is still there can be read"
for read in (lambda: store.matrix(2), lambda: store.crop(1, 4000, np.empty((200, 20), np.float32))):
    try:
        read()
    except VouchError as error:
        print(error, flush=True)
"""
    done = start_python(code, tmp_path)
    output = done.communicate(timeout=60)[0]
    assert done.returncode == 0
    assert output.splitlines() == [f"{tmp_path}/x.ark: it has become shorter since it was opened"] * 2


@pytest.mark.parametrize("kind", ["none", "npy"])
def test_an_archive_that_has_become_shorter_is_named(tmp_path, archive, kind):
    store = write_lines(tmp_path, key=archive[kind])
    name = archive[kind].partition(":")[0]
    Path(name).write_bytes(Path(name).read_bytes()[:-4])
    with pytest.raises(VouchError, match=f"{name}: it has become shorter"):
        store.matrix(0)


def test_more_archives_than_files_may_be_open(tmp_path, start_python):
    """The shards of a large corpus exceed the usual limit of 1024."""
    lines = []
    for number in range(400):
        with open(tmp_path / f"{number:03d}.ark", "wb") as file:
            file.write(b"\0BFM \4\1\0\0\0\4\1\0\0\0" + np.float32(number).tobytes())
        lines.append(f"{number:03d} {tmp_path}/{number:03d}.ark\n")
    (tmp_path / "feats.scp").write_text("".join(lines))
    code = """
import resource, sys
from vouch.stores.features import FeatureStore
resource.setrlimit(resource.RLIMIT_NOFILE, (300, int(sys.argv[2])))
store = FeatureStore(sys.argv[1])
try:
    print(sum(store.matrix(index)[0, 0] for index in range(400)))
except Exception as error:
    print(type(error).__name__, error)
"""
    outputs = [start_python(code, tmp_path / "feats.scp", hard).communicate()[0].strip() for hard in (1000, 320)]
    assert outputs[0] == str(float(sum(range(400))))
    assert outputs[1].startswith(f"VouchError {tmp_path}/")
    assert "Too many open files; allow more" in outputs[1]


def test_a_disk_that_fails_while_headers_are_read_is_named(tmp_path, monkeypatch):
    write_features(tmp_path)

    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("os.pread", broken)
    with pytest.raises(VouchError, match=rf"'s0-0': {tmp_path}/feats\.ark: Input/output error$"):
        FeatureStore(tmp_path / "feats.scp")
