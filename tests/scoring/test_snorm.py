"""Normalised scores against reference vectors and against one loop per trial."""

import json
import statistics
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from vouch.errors import VouchError
from vouch.scoring.cosine import normalize_length, score_trials
from vouch.scoring.snorm import NORMALIZATIONS, cohort_statistics, trial_statistics

GOLDEN = Path(__file__).parents[1] / "golden"


def unit_rows(rng: np.random.Generator, rows: int, dim: int, dtype: type = np.float64) -> np.ndarray:
    return normalize_length(rng.standard_normal((rows, dim)).astype(dtype), [str(row) for row in range(rows)])


def test_equals_reference_vectors():
    arrays = np.load(GOLDEN / "pyannote_snorm.npz")
    top_n = json.loads((GOLDEN / "pyannote_snorm.json").read_text())["top_n"]
    first, second, cohort = (normalize_length(arrays[name], range(99)) for name in ("emb1", "emb2", "cohort"))
    names = [str(row) for row in range(len(first) + len(second))]
    enrol, test = (side.ravel() for side in np.indices((len(first), len(second))))
    unit = np.concatenate([first, second])
    scores = score_trials(unit, enrol, test + len(first))
    sides = trial_statistics(unit, names, enrol, test + len(first), cohort, top_n)
    # The reference holds distances 1 - cosine, whose smallest are our highest scores.
    assert 1 - scores == pytest.approx(arrays["distance"].ravel(), abs=1e-9)
    assert 1 - sides[0].mean == pytest.approx(arrays["mz"][enrol], abs=1e-9)
    assert sides[0].std == pytest.approx(arrays["sz"][enrol], abs=1e-9)
    assert 1 - sides[1].mean == pytest.approx(arrays["mt"][test], abs=1e-9)
    assert sides[1].std == pytest.approx(arrays["st"][test], abs=1e-9)
    for method, name in (("znorm", "distance_z"), ("tnorm", "distance_t"), ("asnorm", "distance_s")):
        normalized = NORMALIZATIONS[method].formula(scores, *sides)
        assert -normalized == pytest.approx(arrays[name].ravel(), abs=1e-9)


def one_trial(method: str, a: np.ndarray, b: np.ndarray, cohort: np.ndarray, top_n: int) -> float:
    """Normalise one score as the definitions say."""

    def side(embedding: np.ndarray) -> float:
        highest = sorted((float(embedding @ member) for member in cohort), reverse=True)[:top_n]
        return (float(a @ b) - statistics.fmean(highest)) / statistics.pstdev(highest)

    return {"znorm": side(a), "tnorm": side(b)}.get(method, (side(a) + side(b)) / 2)


@pytest.mark.parametrize("method", NORMALIZATIONS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 2e-5)])
def test_equals_a_loop_over_trials(method, dtype, tolerance):
    rng = np.random.default_rng(4)
    unit, cohort = unit_rows(rng, 20, 8, dtype), unit_rows(rng, 30, 8, dtype)
    cohort[5] = cohort[6]  # a tie at any rank
    enrol, test = rng.integers(20, size=(2, 40))
    top_n = 7 if NORMALIZATIONS[method].adaptive else None
    sides = trial_statistics(unit, [str(row) for row in range(20)], enrol, test, cohort, top_n)
    found = NORMALIZATIONS[method].formula(score_trials(unit, enrol, test), *sides)
    expected = [one_trial(method, unit[a], unit[b], cohort, top_n or 30) for a, b in zip(enrol, test, strict=True)]
    assert found == pytest.approx(expected, abs=tolerance)


def test_blocks_do_not_matter():
    rng = np.random.default_rng(5)
    unit, cohort = unit_rows(rng, 1100, 6), unit_rows(rng, 40, 6)
    names = [str(row) for row in range(1100)]
    together = cohort_statistics(unit, names, cohort, 10)
    for row in (0, 511, 512, 1024, 1099):
        alone = cohort_statistics(unit[row : row + 1], names[row : row + 1], cohort, 10)
        assert (together.mean[row], together.std[row]) == pytest.approx((alone.mean[0], alone.std[0]), abs=1e-12)


def test_whole_cohort_as_top_n_is_no_selection():
    rng = np.random.default_rng(6)
    unit, cohort = unit_rows(rng, 5, 6), unit_rows(rng, 12, 6)
    for found, expected in zip(
        cohort_statistics(unit, "abcde", cohort, 12), cohort_statistics(unit, "abcde", cohort), strict=True
    ):
        assert found.tolist() == expected.tolist()


def test_snorm_treats_both_sides_alike():
    rng = np.random.default_rng(7)
    unit, cohort = unit_rows(rng, 6, 5), unit_rows(rng, 9, 5)
    enrol, test = rng.integers(6, size=(2, 10))
    scores = score_trials(unit, enrol, test)
    forth = NORMALIZATIONS["asnorm"].formula(scores, *trial_statistics(unit, "abcdef", enrol, test, cohort, 4))
    back = NORMALIZATIONS["asnorm"].formula(scores, *trial_statistics(unit, "abcdef", test, enrol, cohort, 4))
    assert forth == pytest.approx(back, abs=1e-12)


def test_memory_stays_below_the_whole_score_matrix():
    rng = np.random.default_rng(8)
    unit, cohort = unit_rows(rng, 4000, 4, np.float32), unit_rows(rng, 3000, 4, np.float32)
    tracemalloc.start()
    try:
        cohort_statistics(unit, range(4000), cohort, 300)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4000 * 3000 * 4 / 2


@pytest.mark.parametrize(
    ("size", "dim", "top_n", "message"),
    [
        (5, 3, 6, "top-n is 6, but must be between 2 and the size of the cohort, 5"),
        (5, 3, 1, "top-n is 1"),
        (1, 3, None, "at least 2 embeddings to have a spread, this one has 1"),
        (5, 4, None, "4 dimensions and those of the trials 3"),
    ],
)
def test_unusable_cohorts_are_refused(size, dim, top_n, message):
    rng = np.random.default_rng(9)
    with pytest.raises(VouchError, match=message):
        cohort_statistics(unit_rows(rng, 2, 3), "ab", unit_rows(rng, size, dim), top_n)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cohort_without_spread_names_the_utterance(dtype):
    rng = np.random.default_rng(10)
    cohort = np.repeat(unit_rows(rng, 1, 64, dtype), 17, axis=0)
    with pytest.raises(VouchError, match=r"'first': the 17 cohort scores are all -?0\.\d+ and have no spread"):
        cohort_statistics(unit_rows(rng, 3, 64, dtype), ["first", "second", "third"], cohort)
