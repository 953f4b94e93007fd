"""Damaged archives and tables: one `VouchError` each, and never more memory than the file is large."""

import contextlib
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vouch.base.errors import VouchError
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.kaldi.matrices import reading as archives
from vouch.kaldi.matrices.mapped import read_matrix, read_vectors
from vouch.kaldi.matrices.objects import HOLDS
from vouch.kaldi.matrices.reading import read_entries
from vouch.kaldi.matrices.writing import open_entries
from vouch.stores.features import FeatureStore
from vouch.stores.reader import WaveReader

REFERENCE = Path(__file__).resolve().parents[1] / "golden" / "kaldi_ark"
# Decoding makes four bytes of one, and one copy or two; tables become objects. The rest is what is read at once.
MOST_MEMORY = 6 << 20
bounded = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# Bytes that mean something in one of the formats.
PIECES = [
    *(b"\0", b"\0B", b"\4", b" ", b"\n", b"\r\n", b"\t", b"]", b"[", b";", b":", b"|", b",", b"-", b"-1"),
    *(b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\0\0\0\0", b"\xff\xfe", b"1e999", b"nan"),
    *(b"99999999999999999999", b"[0:1]", b"[:,1:2]", b"[5:1]", b".npy", b"/", b"RIFF"),
    *(b"CM ", b"CM2 ", b"CM3 ", b"FM ", b"DV "),
]
mutations = st.lists(
    st.tuples(
        st.sampled_from(["replace", "insert", "delete", "cut", "repeat"]),
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(PIECES) | st.binary(min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=4,
)


def mutate(content, changes):
    for operation, place, piece in changes:
        at = int(place * (len(content) + 1))
        if operation == "replace":
            content = content[:at] + piece + content[at + len(piece) :]
        elif operation == "insert":
            content = content[:at] + piece + content[at:]
        elif operation == "delete":
            content = content[:at] + content[at + 3 * len(piece) :]
        elif operation == "cut":
            content = content[:at]
        else:
            content = content[: at + 40] + content[at:]
    return content


@contextlib.contextmanager
def only_one_kind_of_error():
    tracemalloc.start()
    try:
        yield
    except VouchError as error:
        assert str(error)
        assert "\n" not in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MOST_MEMORY


@pytest.fixture(autouse=True)
def no_commands(monkeypatch):
    """What a damaged line makes of a command is not run; its output is a matrix."""
    monkeypatch.setattr(archives, "read_pipe", lambda command: (REFERENCE / "single_matrix.txt").read_bytes())
    monkeypatch.setattr("vouch.audio.reading.read_pipe", lambda command: b"")


@pytest.mark.parametrize(
    "name",
    [
        *("mats.txt", "double.ark", "doublevec.ark", "vecs.txt", "intvec.ark", "intvec.txt", "len_int32.ark"),
        *("comp1.ark", "comp5.ark", "ints.comp4.ark", "empty_cm.ark"),
    ],
)
@settings(bounded, max_examples=40)
@given(changes=mutations, holds=st.sampled_from(HOLDS))
def test_archives(tmp_path, name, changes, holds):
    content = (REFERENCE / name).read_bytes()[:3000]
    (tmp_path / "x.ark").write_bytes(mutate(content, changes))
    with only_one_kind_of_error():
        for _, array in read_entries(f"ark:{tmp_path}/x.ark", holds):
            assert array.nbytes <= 4 * len(content) + 4096
    with only_one_kind_of_error():
        read_matrix(f"{tmp_path}/x.ark:5")


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Archives of every kind, .npy files, text, a pipe and ranges, in one scp."""
    folder = tmp_path_factory.mktemp("features")
    rng = np.random.default_rng(0)
    lines = []
    for kind in ("none", "8bit", "16bit", "8bit-linear"):
        with open_entries(f"ark,scp:{folder}/{kind}.ark,{folder}/{kind}.scp", kind) as writer:
            writer.write(f"a-{kind}", rng.normal(size=(9, 7)).astype("f4"))
            writer.write(f"b-{kind}", rng.normal(size=(12, 7)).astype("f8" if kind == "none" else "f4"))
        lines += (folder / f"{kind}.scp").read_text().splitlines()
    lines = [f"{line}[1:4]" if line.startswith("b-8bit ") else line for line in lines]
    np.save(folder / "x.npy", np.ones((5, 7), "f4"))
    lines += [f"c-npy {folder}/x.npy", f"d-text {REFERENCE}/mats.txt:5", "e-pipe echo |"]
    (folder / "feats.scp").write_text("".join(f"{line}\n" for line in sorted(lines)))
    return folder


def read_all(scp):
    store = FeatureStore(scp)
    for index, frames in enumerate(store.lengths.tolist()):
        whole = store.matrix(index)
        out = np.empty((3, store.dim), np.float32)
        store.crop(index, frames // 2, out)
        np.testing.assert_array_equal(out, np.take(whole, range(frames // 2, frames // 2 + 3), axis=0, mode="wrap"))


def test_the_undamaged_features_are_read(features):
    read_all(features / "feats.scp")
    assert len(list(read_entries(f"scp:{features}/feats.scp"))) == 11


@bounded
@given(changes=mutations)
def test_scps(features, changes):
    (features / "x.scp").write_bytes(mutate((features / "feats.scp").read_bytes(), changes))
    with only_one_kind_of_error():
        read_all(features / "x.scp")
    with only_one_kind_of_error():
        read_vectors(features / "x.scp")
    with only_one_kind_of_error():
        list(read_entries(f"scp:{features}/x.scp"))


@bounded
@given(changes=mutations, name=st.sampled_from(["none.ark", "8bit.ark", "16bit.ark", "8bit-linear.ark", "x.npy"]))
def test_archives_that_an_scp_points_into(features, changes, name):
    content = (features / name).read_bytes()
    (features / name).write_bytes(mutate(content, changes))
    try:
        with only_one_kind_of_error():
            read_all(features / "feats.scp")
    finally:
        (features / name).write_bytes(content)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A data directory with a file, a wav in an archive, and segments."""
    folder = tmp_path_factory.mktemp("recordings")
    samples = 0.1 * np.sin(np.arange(3200))
    soundfile.write(folder / "x.wav", samples, 16000, "PCM_16")
    soundfile.write(folder / "x.flac", samples, 16000)
    wav = (folder / "x.wav").read_bytes()
    (folder / "x.ark").write_bytes(b"r1 " + wav + b"r2 " + wav)
    (folder / "wav.scp").write_text(
        f"r0 {folder}/x.wav\nr1 {folder}/x.ark:3\nr2 {folder}/x.ark:{len(wav) + 6}\nr3 cat x |\nr4 {folder}/x.flac\n"
    )
    (folder / "segments").write_text("a-1 r0 0 0.15\na-2 r1 0.02 -1\nb-1 r2 0.01 0.19\nb-2 r4 0.05 0.2\n")
    (folder / "utt2spk").write_text("a-1 a\na-2 a\nb-1 b\nb-2 b\n")
    return folder


def read_recordings(folder):
    data = DataDir.load(folder, need=["wav.scp"])
    reader = WaveReader(data, 16000)
    for utterance in data.segments:
        samples = reader.read(utterance)
        assert samples.dtype == np.float32
        assert 0 < len(samples) <= 3200


def test_the_undamaged_recordings_are_read(recordings):
    read_recordings(recordings)


@bounded
@given(changes=mutations, name=st.sampled_from(["wav.scp", "segments", "utt2spk", "x.ark", "x.wav"]))
def test_data_directories(recordings, changes, name):
    content = (recordings / name).read_bytes()
    (recordings / name).write_bytes(mutate(content, changes))
    try:
        with only_one_kind_of_error():
            read_recordings(recordings)
    finally:
        (recordings / name).write_bytes(content)
