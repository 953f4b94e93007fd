"""Score files: digits survive, bad lines are named, labels find their scores."""

import numpy as np
import pytest

from vouch.base.errors import VouchError
from vouch.kaldi.lists.scores import Scores, join_scores, read_scores, write_scores
from vouch.kaldi.lists.trials import Trials

TRIALS = Trials(["a", "a", "b"], ["x", "y", "x"], np.array([True, False, False]))
SCORES = Scores(["a", "a", "b"], ["x", "y", "x"], np.array([0.5, -0.25, 1e-9]))


def join(trials: Trials, scores: Scores, **options: bool) -> tuple[list[float], list[bool]]:
    score, is_target = join_scores(trials, scores, "trials", "scores", **options)
    return score.tolist(), is_target.tolist()


def reordered(scores: Scores, order: list[int]) -> Scores:
    return Scores([scores.enrol[i] for i in order], [scores.test[i] for i in order], scores.score[order])


def test_float32_scores_survive_the_file(tmp_path):
    rng = np.random.default_rng(0)
    score = (rng.standard_normal(2000) * 10.0 ** rng.integers(-12, 12, 2000)).astype(np.float32)
    names = [f"sprecher-ü{i % 7}" for i in range(2000)]
    write_scores(tmp_path / "s", Scores(names, names[::-1], score))
    read = read_scores(tmp_path / "s")
    assert read.enrol == names
    assert read.test == names[::-1]
    assert read.score.dtype == np.float64
    assert read.score.astype(np.float32).tolist() == score.tolist()


def test_lines_are_plain_text(tmp_path):
    write_scores(tmp_path / "s", SCORES)
    assert (tmp_path / "s").read_text() == "a x 0.5\na y -0.25\nb x 1e-09\n"


# Python's float takes the last three.
@pytest.mark.parametrize("bad", ["a x", "a x 1 2", "a x one", "", "a x 0,5", "a x 1_000", "a x ０.５", "a_b x 0.٣"])
def test_malformed_line_is_named(tmp_path, bad):
    # The next line has the fields that this one lacks or has too many.
    (tmp_path / "s").write_text(f"a w 1\n{bad}\n3 c d e 4\n")
    with pytest.raises(VouchError, match=r"s:2: .* is not '<enrol-id> <test-id> <score>'"):
        read_scores(tmp_path / "s")


@pytest.mark.parametrize("bad", ["nan", "inf", "-Infinity", "1e999"])
def test_score_that_is_not_finite_is_named(tmp_path, bad):
    (tmp_path / "s").write_text(f"a x 1\na y {bad}\n")
    with pytest.raises(VouchError, match=r"s:2: the score is not a finite number"):
        read_scores(tmp_path / "s")


def test_ids_are_no_numbers_with_lines_under_them(tmp_path):
    (tmp_path / "s").write_text("a_1 x_1 1\n")
    assert read_scores(tmp_path / "s").score.tolist() == [1]


def test_missing_and_empty_files_are_named(tmp_path):
    with pytest.raises(VouchError, match="no such file"):
        read_scores(tmp_path / "s")
    (tmp_path / "s").write_text("\n")
    with pytest.raises(VouchError, match="empty"):
        read_scores(tmp_path / "s")


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_scores_are_joined_in_any_order(order):
    assert join(TRIALS, reordered(SCORES, order)) == ([0.5, -0.25, 1e-9], [True, False, False])


def test_sides_are_not_interchangeable():
    swapped = Scores(SCORES.test, SCORES.enrol, SCORES.score)
    with pytest.raises(VouchError, match="scores:1: 'x a' is not a trial of trials"):
        join(TRIALS, swapped)


def test_trial_without_score_is_named_or_left_out():
    with pytest.raises(VouchError, match=r"trials:2: 'a y' has no score in scores \(1 such\)"):
        join(TRIALS, reordered(SCORES, [2, 0]))
    assert join(TRIALS, reordered(SCORES, [2, 0]), allow_missing=True) == ([0.5, 1e-9], [True, False])


@pytest.mark.parametrize("allow_missing", [False, True])
def test_score_without_trial_is_named(allow_missing):
    more = Scores([*SCORES.enrol, "b"], [*SCORES.test, "z"], np.append(SCORES.score, 1))
    with pytest.raises(VouchError, match="scores:4: 'b z' is not a trial of trials"):
        join(TRIALS, more, allow_missing=allow_missing)


def test_repeated_trials_need_one_score():
    twice = Trials(["a", "b", "a"], ["x", "x", "x"], np.array([True, False, True]))
    scores = Scores(["a", "b"], ["x", "x"], np.array([1.0, 2.0]))
    assert join(twice, scores) == ([1, 2, 1], [True, False, True])
    doubled = Scores(["b", "a", "a"], ["x", "x", "x"], np.array([2.0, 1.0, 1.5]))
    with pytest.raises(VouchError, match=r"scores:3: 'a x' has score 1\.5 here and 1 further up"):
        join(twice, doubled)
    with pytest.raises(VouchError, match=r"scores:3: 'a x' has score 3 here and 1 further up"):
        join(twice, Scores(twice.enrol, twice.test, np.array([1.0, 2.0, 3.0])))
    contradicting = twice._replace(is_target=np.array([True, False, False]))
    with pytest.raises(VouchError, match="trials:3: 'a x' is a target trial and a non-target trial"):
        join(contradicting, scores)
