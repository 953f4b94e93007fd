"""Speakers, durations and conditions of trials, and figures for parts of a list."""

import numpy as np
import pytest

from vouch.base.errors import VouchError
from vouch.evaluation.breakdown import by_condition, by_duration, evaluate_groups, scored_trials, speakers_of
from vouch.evaluation.result import Settings, evaluate
from vouch.kaldi.lists.scores import Scores
from vouch.kaldi.lists.trials import Trials

TRIALS = Trials(["a", "a", "b", "c"], ["b", "c", "c", "d"], np.array([True, False, True, False]))
UTT2DUR = {"a": "1.0", "b": "2.0", "c": "3.5", "d": "8"}


def rows(groups):
    return {name: np.flatnonzero(chosen).tolist() for name, chosen in groups.items()}


def test_trials_with_a_score_keep_their_order():
    some = scored_trials(TRIALS, Scores(["c", "a"], ["d", "c"], np.zeros(2)))
    assert (some.enrol, some.test, some.is_target.tolist()) == (["a", "c"], ["c", "d"], [False, False])


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_speakers_of_utterances_and_enrolments(tmp_path):
    utt2spk = write(tmp_path / "utt2spk", "a x", "b x", "c y", "d z")
    trials = Trials(["a", "x", "m", "m"], ["b", "c", "c", "d"], np.array([True, False, True, False]))
    with pytest.raises(VouchError, match=f"'m' of the trial list is neither an utterance nor a speaker of {utt2spk}"):
        speakers_of(trials, utt2spk)
    enrol, test = speakers_of(trials, utt2spk, write(tmp_path / "enrol_map", "m c c"))
    names = np.array(["x", "y", "z"])
    assert (names[enrol].tolist(), names[test].tolist()) == (["x", "x", "y", "y"], ["x", "y", "y", "z"])
    for line, reason in (("m a c", "utterances of 'm' are of 2 speakers in"), ("m c q", "'q' of 'm' is not in")):
        with pytest.raises(VouchError, match=reason):
            speakers_of(trials, utt2spk, write(tmp_path / "enrol_map", line))


@pytest.mark.parametrize(
    ("is_target", "message"),
    [
        ([True, True, True], "the trial 'a c' is target, but of two speakers in .*utt2spk \\(1 such\\)"),
        ([False, False, False], "the trial 'a b' is nontarget, but of one speaker in .*utt2spk \\(2 such\\)"),
    ],
)
def test_labels_that_contradict_the_speakers(tmp_path, is_target, message):
    utt2spk = write(tmp_path / "utt2spk", "a x", "b x", "c y", "d y")
    with pytest.raises(VouchError, match=message):
        speakers_of(Trials(["a", "a", "c"], ["b", "c", "d"], np.array(is_target)), utt2spk)


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        ("shorter", {"shorter < 2 s": [0, 1], "2 s <= shorter < 4 s": [2, 3]}),
        ("longer", {"2 s <= longer < 4 s": [0, 1, 2], "4 s <= longer": [3]}),
        ("enrol", {"enrol < 2 s": [0, 1], "2 s <= enrol < 4 s": [2, 3]}),
        ("test", {"2 s <= test < 4 s": [0, 1, 2], "4 s <= test": [3]}),
    ],
)
def test_ranges_of_durations(side, expected):
    assert rows(by_duration(TRIALS, UTT2DUR, (2, 4), side)) == expected


def test_only_sides_that_count_need_a_duration():
    assert rows(by_duration(TRIALS, {"a": "1", "b": "3", "c": "3"}, (2,), "enrol")) == {
        **{"enrol < 2 s": [0, 1], "2 s <= enrol": [2, 3]}
    }
    for side in ("shorter", "test"):
        with pytest.raises(VouchError, match="'d' has no duration"):
            by_duration(TRIALS, {"a": "1", "b": "3", "c": "3"}, (2,), side)
    for bad in ("long", "nan", "-1", "inf"):
        with pytest.raises(VouchError, match=f"duration of 'd' is not a number of seconds: '{bad}'"):
            by_duration(TRIALS, {**UTT2DUR, "d": bad}, (2,))


@pytest.mark.parametrize("edges", [(), (0.0, 1.0), (2, 2), (3, 2), (np.nan,), (2, np.nan), (np.inf,), (2, np.inf)])
def test_impossible_ranges_are_refused(edges):
    with pytest.raises(VouchError, match="finite, positive ascending edges"):
        by_duration(TRIALS, UTT2DUR, edges)


def test_conditions(tmp_path):
    path = tmp_path / "conditions"
    path.write_text("c d mic=far\na b mic=near sex=f\na c mic=far sex=f\nb c mic=near\ne f mic=near\n")
    expected = by_condition(TRIALS, path)
    path.write_text(path.read_text() + "a b mic=near sex=f\na b sex=f mic=near\n")
    assert rows(by_condition(TRIALS, path)) == rows(expected)
    assert rows(expected) == {"mic=far": [1, 3], "mic=near": [0, 2], "sex=f": [0, 1]}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a b\n", r"conditions:1: 'a b' is not '<enrol-id> <test-id> <name>=<value> \.\.\.'"),
        ("a b near\n", "conditions:1: 'a b near' is not"),
        ("a b mic=\n", "conditions:1: 'a b mic=' is not"),
        ("a b mic=x\na b mic=y\n", "conditions:2: the trial 'a b' is there twice, with other conditions"),
        ("a b mic=x\n", "no line for the trial 'a c'"),
        ("", "the file is empty"),
    ],
)
def test_bad_conditions_are_refused(tmp_path, lines, message):
    (tmp_path / "conditions").write_text(lines)
    with pytest.raises(VouchError, match=message):
        by_condition(TRIALS, tmp_path / "conditions")


def test_figures_of_parts_are_those_of_their_trials():
    rng = np.random.default_rng(0)
    is_target = np.arange(200) % 2 == 0
    scores, speakers = rng.standard_normal(200) + is_target, rng.choice(list("abcdef"), size=(2, 200))
    few = Settings(draws=10)
    groups = {"early": np.arange(200) < 80, "targets": is_target}
    whole = evaluate("x", scores, is_target, few, tuple(speakers))
    found = evaluate_groups(whole, scores, is_target, groups, few, tuple(speakers))
    early = evaluate("x: early", scores[:80], is_target[:80], few, tuple(speakers[:, :80]))
    assert found.groups == (early,)
    assert found.notes == (*whole.notes, "no figures for targets: 100 target and 0 non-target trials")
    assert found.eer == whole.eer


def test_a_definition_that_a_part_is_too_small_for_is_left_out():
    scores, is_target = np.array([0.3, 0.1, 0.9, 0.8, 0.2, 0.7]), np.array([True, False, False, True, False, True])
    settings = Settings(draws=5, definitions=("feerci", "kaldi"))
    whole = evaluate("x", scores, is_target, settings)
    groups = {"mic=far": np.arange(6) < 3, "mic=near": np.arange(6) < 5}
    found = evaluate_groups(whole, scores, is_target, groups, settings)
    assert [list(group.other_eers) for group in found.groups] == [["kaldi"], ["feerci", "kaldi"]]
    reason = "feerci's EER needs two target and two non-target trials"
    assert found.notes == (*whole.notes, f"no EER of feerci for mic=far: {reason}")
    # The whole list is judged as asked for, or not at all.
    with pytest.raises(VouchError, match=reason):
        evaluate("x", scores[:3], is_target[:3], settings)
