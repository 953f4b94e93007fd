"""Normalised scores against reference vectors and against one loop per trial."""

import json
import statistics
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from vouch.base.errors import VouchError
from vouch.scoring.backends import CosineBackend, cohort_scores
from vouch.scoring.cosine import normalize_length, score_trials
from vouch.scoring.distance import CropDistances
from vouch.scoring.plda import Plda, likelihood_ratios
from vouch.scoring.sides import Cohort, Sides
from vouch.scoring.snorm import SCORE_NORMALIZATIONS, CohortScores, cohort_statistics, trial_statistics

GOLDEN = Path(__file__).parents[1] / "golden"


def unit_rows(rng: np.random.Generator, rows: int, dim: int, dtype: type = np.float64) -> np.ndarray:
    return normalize_length(rng.standard_normal((rows, dim)).astype(dtype), [str(row) for row in range(rows)])


def cosines(unit: np.ndarray, cohort: np.ndarray) -> CohortScores:
    sides = Sides(unit, [], np.ones(len(unit), int), {}, {})
    return cohort_scores(CosineBackend(), sides, Cohort(cohort, np.ones(len(cohort), int)))


def statistics_of(unit: np.ndarray, names: Sequence[str], cohort: np.ndarray, top_n: int | None = None):
    return cohort_statistics(cosines(unit, cohort).of_enrol, len(cohort), np.arange(len(unit)), names, top_n)


def test_equals_reference_vectors():
    arrays = np.load(GOLDEN / "pyannote_snorm.npz")
    top_n = json.loads((GOLDEN / "pyannote_snorm.json").read_text())["top_n"]
    first, second, cohort = (normalize_length(arrays[name], range(99)) for name in ("emb1", "emb2", "cohort"))
    names = [str(row) for row in range(len(first) + len(second))]
    enrol, test = (side.ravel() for side in np.indices((len(first), len(second))))
    unit = np.concatenate([first, second])
    scores = score_trials(unit, enrol, test + len(first))
    sides = trial_statistics(cosines(unit, cohort), names, enrol, test + len(first), top_n)
    # The reference holds distances 1 - cosine, whose smallest are our highest scores.
    assert 1 - scores == pytest.approx(arrays["distance"].ravel(), abs=1e-9)
    assert 1 - sides[0].mean == pytest.approx(arrays["mz"][enrol], abs=1e-9)
    assert sides[0].std == pytest.approx(arrays["sz"][enrol], abs=1e-9)
    assert 1 - sides[1].mean == pytest.approx(arrays["mt"][test], abs=1e-9)
    assert sides[1].std == pytest.approx(arrays["st"][test], abs=1e-9)
    for method, name in (("znorm", "distance_z"), ("tnorm", "distance_t"), ("asnorm", "distance_s")):
        normalized = SCORE_NORMALIZATIONS[method].formula(scores, *sides)
        assert -normalized == pytest.approx(arrays[name].ravel(), abs=1e-9)


def one_trial(method: str, a: np.ndarray, b: np.ndarray, cohort: np.ndarray, top_n: int) -> float:
    """Normalise one score as the definitions say."""

    def side(embedding: np.ndarray) -> float:
        highest = sorted((float(embedding @ member) for member in cohort), reverse=True)[:top_n]
        return (float(a @ b) - statistics.fmean(highest)) / statistics.pstdev(highest)

    return {"znorm": side(a), "tnorm": side(b)}.get(method, (side(a) + side(b)) / 2)


@pytest.mark.parametrize("method", SCORE_NORMALIZATIONS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 2e-5)])
def test_equals_a_loop_over_trials(method, dtype, tolerance):
    rng = np.random.default_rng(4)
    unit, cohort = unit_rows(rng, 20, 8, dtype), unit_rows(rng, 30, 8, dtype)
    cohort[5] = cohort[6]  # a tie at any rank
    enrol, test = rng.integers(20, size=(2, 40))
    top_n = 7 if SCORE_NORMALIZATIONS[method].adaptive else None
    sides = trial_statistics(cosines(unit, cohort), [str(row) for row in range(20)], enrol, test, top_n)
    found = SCORE_NORMALIZATIONS[method].formula(score_trials(unit, enrol, test), *sides)
    expected = [one_trial(method, unit[a], unit[b], cohort, top_n or 30) for a, b in zip(enrol, test, strict=True)]
    assert found == pytest.approx(expected, abs=tolerance)


def plda_scores(rng: np.random.Generator) -> tuple[CohortScores, Callable, Callable]:
    """Return scores against a cohort, and those of one enrolment or test vector with it, member by member."""
    plda = Plda(rng.standard_normal(4), rng.standard_normal((4, 4)), np.array([3.0, 1.0, 0.2, 0.0]))
    sides, cohort = rng.standard_normal((2, 12, 4))
    counts, members = rng.integers(1, 4, 12), rng.integers(1, 3, 12)
    models, tests = plda.project(sides, counts), plda.project(sides)
    cohort_models, cohort_tests = plda.project(cohort, members), plda.project(cohort)
    forth = likelihood_ratios(plda, models, counts, cohort_tests)
    back = likelihood_ratios(plda, cohort_models, members, tests)

    def ratio(model: np.ndarray, count: int, test: np.ndarray) -> float:
        known = np.column_stack([plda.psi + 1 / count, plda.psi, plda.psi, plda.psi + 1]).reshape(-1, 2, 2)
        total = 0.0
        for both, x, y in zip(known, model, test, strict=True):
            pair = np.array([x, y])
            joint = pair @ np.linalg.inv(both) @ pair + np.log(np.linalg.det(both))
            total -= 0.5 * (joint - x**2 / both[0, 0] - np.log(both[0, 0]) - y**2 / both[1, 1] - np.log(both[1, 1]))
        return total

    scores = CohortScores(
        12, lambda rows: forth.matrix(rows, slice(None)), lambda rows: back.matrix(slice(None), rows).T
    )
    of_enrol = lambda row: [ratio(models[row], counts[row], test) for test in cohort_tests]  # noqa: E731
    of_test = lambda row: [ratio(m, n, tests[row]) for m, n in zip(cohort_models, members, strict=True)]  # noqa: E731
    return scores, of_enrol, of_test


def distance_scores(rng: np.random.Generator) -> tuple[CohortScores, Callable, Callable]:
    sides, cohort = rng.standard_normal((2, 12, 3, 4))
    scorer = CropDistances(sides, cohort)
    scores = CohortScores(12, *[lambda rows: scorer.matrix(rows, slice(None))] * 2)

    def one(row: int) -> list[float]:
        return [-np.mean([[np.linalg.norm(a - b) for a in sides[row]] for b in other]) for other in cohort]

    return scores, one, one


@pytest.mark.parametrize("method", SCORE_NORMALIZATIONS)
@pytest.mark.parametrize("backend", [plda_scores, distance_scores])
def test_other_backends_equal_a_loop_over_trials(method, backend):
    rng = np.random.default_rng(11)
    against, of_enrol, of_test = backend(rng)
    enrol, test = rng.integers(12, size=(2, 30))
    scores = rng.standard_normal(30)
    top_n = 5 if SCORE_NORMALIZATIONS[method].adaptive else None
    found = SCORE_NORMALIZATIONS[method].formula(
        scores, *trial_statistics(against, [str(row) for row in range(12)], enrol, test, top_n)
    )
    for value, score, a, b in zip(found, scores, enrol, test, strict=True):
        sides = [sorted(cohort, reverse=True)[:top_n] for cohort in (of_enrol(a), of_test(b))]
        z, t = ((score - statistics.fmean(side)) / statistics.pstdev(side) for side in sides)
        assert value == pytest.approx({"znorm": z, "tnorm": t}.get(method, (z + t) / 2), abs=1e-7)


def test_blocks_do_not_matter():
    rng = np.random.default_rng(5)
    unit, cohort = unit_rows(rng, 1100, 6), unit_rows(rng, 40, 6)
    names = [str(row) for row in range(1100)]
    together = statistics_of(unit, names, cohort, 10)
    for row in (0, 511, 512, 1024, 1099):
        alone = statistics_of(unit[row : row + 1], names[row : row + 1], cohort, 10)
        assert (together.mean[row], together.std[row]) == pytest.approx((alone.mean[0], alone.std[0]), abs=1e-12)


def test_whole_cohort_as_top_n_is_no_selection():
    rng = np.random.default_rng(6)
    unit, cohort = unit_rows(rng, 5, 6), unit_rows(rng, 12, 6)
    for found, expected in zip(
        statistics_of(unit, "abcde", cohort, 12), statistics_of(unit, "abcde", cohort), strict=True
    ):
        assert found.tolist() == expected.tolist()


def test_snorm_treats_both_sides_alike():
    rng = np.random.default_rng(7)
    unit, cohort = unit_rows(rng, 6, 5), unit_rows(rng, 9, 5)
    enrol, test = rng.integers(6, size=(2, 10))
    scores = score_trials(unit, enrol, test)
    scores_against = cosines(unit, cohort)
    forth = SCORE_NORMALIZATIONS["asnorm"].formula(scores, *trial_statistics(scores_against, "abcdef", enrol, test, 4))
    back = SCORE_NORMALIZATIONS["asnorm"].formula(scores, *trial_statistics(scores_against, "abcdef", test, enrol, 4))
    assert forth == pytest.approx(back, abs=1e-12)


def test_memory_stays_below_the_whole_score_matrix():
    rng = np.random.default_rng(8)
    unit, cohort = unit_rows(rng, 4000, 4, np.float32), unit_rows(rng, 3000, 4, np.float32)
    tracemalloc.start()
    try:
        statistics_of(unit, range(4000), cohort, 300)
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
        statistics_of(unit_rows(rng, 2, 3), "ab", unit_rows(rng, size, dim), top_n)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cohort_without_spread_names_the_utterance(dtype):
    rng = np.random.default_rng(10)
    cohort = np.repeat(unit_rows(rng, 1, 64, dtype), 17, axis=0)
    with pytest.raises(VouchError, match=r"'first': the 17 cohort scores are all -?0\.\d+ and have no spread"):
        statistics_of(unit_rows(rng, 3, 64, dtype), ["first", "second", "third"], cohort)
