"""Scores as text, against Python's own formatting of each."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vouch.kaldi.lists.scoretext import format_scores, score_lines


def texts(scores: np.ndarray) -> list[str]:
    rows, first, widths = format_scores(scores)
    return [row[a : a + n].tobytes().decode() for row, a, n in zip(rows, first, widths, strict=True)]


def expected(scores: np.ndarray) -> list[str]:
    return [f"{score:.9g}\n" for score in scores.tolist()]


def test_random_float32_of_all_sizes():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal(50_000) * 10.0 ** rng.integers(-12, 12, 50_000)
    for dtype in (np.float32, np.float64):
        assert texts(scores.astype(dtype)) == expected(scores.astype(dtype))
    cosines = np.tanh(rng.standard_normal(50_000)).astype(np.float32)
    assert texts(cosines) == expected(cosines)
    assert [np.float32(text) for text in texts(cosines)] == cosines.tolist()


@given(st.lists(st.floats(), min_size=1, max_size=20))
def test_any_number(scores):
    # Python writes no sign of NaN; nor is one asked for.
    scores = np.abs(scores) if np.isnan(scores).any() else np.array(scores)
    assert texts(scores) == expected(scores)


@pytest.mark.parametrize("exponent", range(-6, 12))
def test_powers_of_ten_their_neighbours_and_ties(exponent):
    power = 10.0**exponent
    # 9 digits and one half: the last digit is rounded by what the float is exactly, which is seldom the half.
    ties = (np.array([100000000.5, 123456788.5, 123456789.5, 999999999.5, 999999998.5]) * 1e-8) * power
    scores = np.concatenate([power * np.array([1, 5, 1.5, 9.99999999]), ties, np.nextafter(power, [0, np.inf])])
    scores = np.concatenate([scores, -scores, np.nextafter(ties, 0), np.nextafter(ties, np.inf)])
    assert texts(scores) == expected(scores)
    assert texts(scores.astype(np.float32)) == expected(scores.astype(np.float32))


def test_zeros_whole_numbers_and_shortened_fractions():
    scores = np.array([0.0, -0.0, 1, -1, 10, 100000000, 123456789, 0.5, -0.25, 0.125, 1e-9, 20.5, 1000.25, -3e-4])
    assert texts(scores) == expected(scores)


def test_lines_are_pieces_and_scores():
    text = np.frombuffer("xxa b|話 ccc|".encode(), np.uint8)
    starts, ends = np.array([2, 2, 6, 8]), np.array([5, 6, 13, 8])
    lines = score_lines(text, starts, ends, np.array([1, -0.5, 1e-20, 7]))
    assert lines.tobytes().decode() == "a b1\na b|-0.5\n話 ccc1e-20\n7\n"
    assert score_lines(text, starts[:0], ends[:0], np.empty(0)).size == 0
