"""utils/npy_to_data_dir.py as a user runs it."""

import numpy as np
import pytest
from processes import fails, succeeds

from vouch.kaldi.datadirs.datadir import DataDir
from vouch.kaldi.tables import read_table
from vouch.stores.features import FeatureStore

SCRIPT = "utils/npy_to_data_dir.py"


def write_tree(root, form, dim=256):
    """Two speakers with files of different length, numbered as GE2E's extraction does; what the frames are."""
    rng = np.random.default_rng(0)
    features = {}
    for speaker in ("p9", "p10"):
        for number in (1, 2):
            matrix = rng.normal(size=(10 * number + 3, dim)).astype("f4")
            path = root / speaker / f"{number:05d}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, form(matrix))
            features[f"{speaker}-{number:05d}"] = matrix
    (root / "p9/.hidden.npy").touch()
    (root / "p9/notes.txt").touch()
    return features


@pytest.mark.parametrize(
    ("words", "form"),
    [
        ((), lambda matrix: matrix),
        ((), lambda matrix: matrix.astype("f8")),
        (("--bins-first",), lambda matrix: matrix.T),
        (("--bins-first",), lambda matrix: np.ascontiguousarray(matrix.T)[None]),
    ],
)
def test_features_of_other_toolkits(scripts, tmp_path, words, form):
    features = write_tree(tmp_path / "pase", form)
    done = succeeds(scripts.run(SCRIPT, *words, "pase", "data", cwd=tmp_path))
    assert done.stdout == "data: 4 utterances of 2 speakers, 256 dimensions\n"
    data = DataDir.load(tmp_path / "data", need=["feats.scp"])
    assert data.utt2spk == {"p10-00001": "p10", "p10-00002": "p10", "p9-00001": "p9", "p9-00002": "p9"}
    store = FeatureStore(tmp_path / "data/feats.scp")
    assert store.utterances == sorted(features)
    for index, (utterance, frames) in enumerate(read_table(tmp_path / "data/utt2num_frames").items()):
        np.testing.assert_array_equal(store.matrix(index), features[utterance])
        assert int(frames) == len(features[utterance])


def test_the_other_orientation_is_suspected(scripts, tmp_path):
    write_tree(tmp_path / "pase", lambda matrix: np.ascontiguousarray(matrix.T))
    done = scripts.run(SCRIPT, "pase", "data", cwd=tmp_path)
    fails(done, "dimensions; are they stored the other way round (--bins-first)?")
    assert not (tmp_path / "data").exists()


def test_trees_that_do_not_fit(scripts, tmp_path):
    root = tmp_path / "root"
    (root / "s").mkdir(parents=True)
    fails(scripts.run(SCRIPT, "root", "data", cwd=tmp_path), "no .npy files in folders of speakers")
    fails(scripts.run(SCRIPT, "none", "data", cwd=tmp_path), "none: no .npy files in folders of speakers")
    np.save(root / "s/a b.npy", np.ones((3, 2), "f4"))
    fails(scripts.run(SCRIPT, "root", "data", cwd=tmp_path), "a b.npy: blanks cannot be part of")
    (root / "s/a b.npy").rename(root / "x.npy")
    fails(scripts.run(SCRIPT, "root", "data", cwd=tmp_path), "x.npy: not in a speaker's folder")
    (root / "x.npy").rename(root / "s/x.npy")
    (root / "s/y.npy").write_bytes(b"no numpy")
    fails(scripts.run(SCRIPT, "root", "data", cwd=tmp_path), "y.npy: not a readable .npy file")
    (root / "s/y.npy").unlink()
    (root / "s/z").mkdir()
    np.save(root / "s/z/x.npy", np.ones((3, 2), "f4"))
    np.save(root / "s/z-x.npy", np.ones((3, 2), "f4"))
    fails(scripts.run(SCRIPT, "root", "data", cwd=tmp_path), "both would be utterance 's-z-x'")
    (root / "s/z-x.npy").unlink()
    succeeds(scripts.run(SCRIPT, "root", "data", cwd=tmp_path))
    fails(scripts.run(SCRIPT, "root", "data", cwd=tmp_path), "data: there is a data directory already")
