"""Cosine scores against sums written out."""

import math

import numpy as np
import pytest

from vouch.base.errors import VouchError
from vouch.scoring.cosine import mean_directions, normalize_length, score_trials


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    dot = math.fsum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))
    return dot / math.sqrt(math.fsum(x * x for x in a.tolist()) * math.fsum(y * y for y in b.tolist()))


@pytest.mark.parametrize("trials", [0, 1, 2048, 5001])
def test_scores_are_cosines_in_every_block(trials):
    rng = np.random.default_rng(trials)
    embeddings = (rng.standard_normal((9, 13)) * 10.0 ** rng.integers(-3, 4, (9, 1))).astype(np.float32)
    enrol, test = rng.integers(9, size=(2, trials))
    scores = score_trials(normalize_length(embeddings, list("abcdefghi")), enrol, test)
    assert scores.dtype == np.float32
    table = np.array([[cosine(a, b) for b in embeddings] for a in embeddings])
    assert scores == pytest.approx(table[enrol, test], abs=3e-7)


def test_an_utterance_is_its_own_best_match():
    unit = normalize_length(np.array([[3.0, 4.0], [-6.0, -8.0], [4.0, -3.0]]), "abc")
    scores = score_trials(unit, np.array([0, 0, 0]), np.array([0, 1, 2]))
    assert scores == pytest.approx([1, -1, 0], abs=1e-15)


def test_zero_embedding_is_named():
    embeddings = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    with pytest.raises(VouchError, match=r"'b': the embedding is zero.*\(2 such\)"):
        normalize_length(embeddings, ["a", "b", "c"])


@pytest.mark.parametrize("scale", [1e20, 1e-25, 1e-40])
def test_length_of_very_large_and_very_small_embeddings(scale):
    """Their squares are beyond single precision."""
    embeddings = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    expected = embeddings / np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    extreme = embeddings.copy()
    extreme[1] = (extreme[1].astype(np.float64) * scale).astype(np.float32)
    before = extreme.copy()
    np.testing.assert_allclose(
        normalize_length(extreme, ["a", "b", "c"]), expected, atol=1e-4 if scale < 1e-38 else 1e-6
    )
    np.testing.assert_array_equal(extreme, before)


def test_means_weigh_utterances_alike():
    embeddings = np.array([[100.0, 0.0], [0.0, 1.0], [0.0, 7.0]])
    means = mean_directions(normalize_length(embeddings, "abc"), [[0, 1], [1, 2], [0]], ["x", "y", "z"])
    assert means == pytest.approx(np.array([[math.sqrt(0.5), math.sqrt(0.5)], [0, 1], [1, 0]]))


def test_group_that_cancels_out_is_named():
    unit = np.array([[1.0, 0.0], [-1.0, 0.0]])
    with pytest.raises(VouchError, match="'both': the embedding is zero"):
        mean_directions(unit, [[0], [0, 1]], ["one", "both"])
