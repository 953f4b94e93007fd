"""Distances between crops against loops over their pairs."""

import numpy as np
import pytest

from vouch.base.errors import VouchError
from vouch.kaldi.matrices.writing import open_ark
from vouch.scoring.distance import CropDistances, load_crops


def write(folder, matrices):
    with open_ark(folder / "e.ark", folder / "e.scp") as ark:
        for name, matrix in matrices.items():
            ark.write(name, np.asarray(matrix))
    return folder / "e.scp"


@pytest.mark.parametrize("crops", [1, 10])
def test_score_is_minus_the_mean_distance_of_all_pairs(tmp_path, crops):
    rng = np.random.default_rng(crops)
    matrices = {f"u{row}": rng.uniform(0.1, 9) * rng.standard_normal((crops, 5)) for row in range(6)}
    matrices["u9"] = matrices["u0"] * (1 + 1e-6)  # nearly the same: a distance that rounding must not swallow
    names, unit = load_crops(write(tmp_path, matrices))
    assert names == list(matrices)
    assert unit.shape == (7, crops, 5)
    enrol, test = rng.integers(7, size=(2, 3000))
    enrol[0], test[0] = 0, 6

    def expected(a, b):
        return -np.mean([[np.linalg.norm(x / np.linalg.norm(x) - y / np.linalg.norm(y)) for y in b] for x in a])

    table = np.array([[expected(a, b) for b in matrices.values()] for a in matrices.values()])
    np.testing.assert_allclose(CropDistances(unit, unit).pairs(enrol, test), table[enrol, test], atol=1e-6)


def test_a_vector_is_one_crop(tmp_path):
    _, unit = load_crops(write(tmp_path, {"a": [3.0, 0.0], "b": [0.0, 4.0]}))
    assert unit.tolist() == [[[1, 0]], [[0, 1]]]
    assert CropDistances(unit, unit).pairs(np.array([0]), np.array([1])) == pytest.approx([-np.sqrt(2)])
    _, kept = load_crops(tmp_path / "e.scp", normalize=False)
    assert CropDistances(kept, kept).pairs(np.array([0]), np.array([1])) == pytest.approx([-5])


def test_crops_that_cannot_be_compared_are_named(tmp_path):
    with pytest.raises(VouchError, match="'b' has 3 crops, the utterances before it have 2"):
        load_crops(write(tmp_path, {"a": np.ones((2, 4)), "b": np.ones((3, 4))}))
    with pytest.raises(VouchError, match="'b': the embedding is zero"):
        load_crops(write(tmp_path, {"a": np.ones((2, 4)), "b": [[1, 0, 0, 0], [0, 0, 0, 0]]}))
    with pytest.raises(VouchError, match="'b': 3 dimensions"):
        load_crops(write(tmp_path, {"a": np.ones((2, 4)), "b": np.ones((2, 3))}))
    scp = write(tmp_path, {"a": np.ones((2, 4))})
    ark = tmp_path / "e.ark"
    ark.write_bytes(ark.read_bytes()[:-4] + np.float32(np.nan).tobytes())
    with pytest.raises(VouchError, match="'a' holds NaN or infinity"):
        load_crops(scp)


@pytest.mark.parametrize("block", [1, 7 * 3 * 2 * 4, 1 << 22])
def test_matrix_holds_the_scores_of_all_pairs(monkeypatch, block):
    monkeypatch.setattr("vouch.scoring.distance._BLOCK_DISTANCES", block)
    rng = np.random.default_rng(0)
    scorer = CropDistances(rng.standard_normal((9, 3, 5)), rng.standard_normal((11, 2, 5)))
    rows = np.array([8, 0, 3, 3, 1, 7, 2])
    mesh = (side.ravel() for side in np.meshgrid(rows, np.arange(11), indexing="ij"))
    np.testing.assert_allclose(scorer.matrix(rows, slice(None)).ravel(), scorer.pairs(*mesh), atol=1e-12)
    assert scorer.matrix(slice(None), np.array([4, 4])).shape == (9, 2)
