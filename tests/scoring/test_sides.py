"""Embeddings of enrolments, test utterances and cohorts, read from files."""

import numpy as np
import pytest

from vouch.base.errors import VouchError
from vouch.kaldi.matrices.writing import open_ark
from vouch.scoring.preparation import Preparation
from vouch.scoring.sides import check_rows, load_cohort, load_sides, rows_of, score_sides

EMBEDDINGS = {"a-1": [2.0, 0.0], "a-2": [0.0, 0.5], "b-1": [-3.0, 0.0]}


@pytest.fixture
def scp(tmp_path):
    with open_ark(tmp_path / "e.ark", tmp_path / "e.scp") as ark:
        for key, embedding in EMBEDDINGS.items():
            ark.write(key, np.array(embedding))
    return tmp_path / "e.scp"


def test_without_a_map_both_sides_are_utterances(scp):
    sides = load_sides(scp)
    assert sides.enrol == sides.test == {"a-1": 0, "a-2": 1, "b-1": 2}
    assert sides.names == list(EMBEDDINGS)
    assert sides.unit.tolist() == [[1, 0], [0, 1], [-1, 0]]


def test_map_gives_means_and_keeps_the_sides_apart(scp, tmp_path):
    # An enrolment may be called like an utterance and still be something else.
    (tmp_path / "map").write_text("a a-1 a-2\nb-1 a-2\n")
    sides = load_sides(scp, tmp_path / "map")
    assert sides.unit[sides.enrol["a"]] == pytest.approx(np.sqrt([0.5, 0.5]))
    assert sides.unit[sides.enrol["b-1"]].tolist() == [0, 1]
    assert sides.unit[sides.test["b-1"]].tolist() == [-1, 0]
    assert "a" not in sides.test
    assert [sides.names[row] for row in sides.enrol.values()] == ["a", "b-1"]


def test_map_with_an_unknown_utterance_is_refused(scp, tmp_path):
    (tmp_path / "map").write_text("a a-1\nb b-1 b-9\n")
    with pytest.raises(VouchError, match=r"map:2: 'b-9' of 'b' is not in .*e\.scp"):
        load_sides(scp, tmp_path / "map")


def test_cohort_by_utterance_and_by_speaker(scp, tmp_path):
    assert load_cohort(scp).unit.tolist() == [[1, 0], [0, 1], [-1, 0]]
    (tmp_path / "utt2spk").write_text("a-1 a\na-2 a\na-3 a\nb-1 b\n")
    cohort = load_cohort(scp, tmp_path / "utt2spk")
    assert cohort.utterances.tolist() == [2, 1]
    assert cohort.unit == pytest.approx(np.array([np.sqrt([0.5, 0.5]), [-1, 0]]))


def test_cohort_utterance_without_speaker_is_refused(scp, tmp_path):
    (tmp_path / "utt2spk").write_text("a-1 a\nb-1 b\n")
    with pytest.raises(VouchError, match=r"e\.scp:2: 'a-2' has no speaker"):
        load_cohort(scp, tmp_path / "utt2spk")


def test_unknown_ids_are_found_by_line():
    index = rows_of(["x", "y", "z", "y"], {"x": 7, "z": 2})
    assert index.tolist() == [7, -1, 2, -1]
    with pytest.raises(VouchError, match=r"trials:2: 'y' is not in e\.scp \(2 such\)"):
        check_rows(index, ["x", "y", "z", "y"], "trials", "e.scp")
    check_rows(index[[0, 2]], ["x", "z"], "trials", "e.scp")


def test_averages_are_taken_before_or_after_the_preparation(scp, tmp_path):
    (tmp_path / "map").write_text("a a-1 a-2\nb b-1\n")
    prepare = Preparation(np.array([1.0, 1.0]), np.array([[2.0, 0.0, 0.0], [0.0, 1.0, 3.0]]))

    def unit(x, y):
        return np.array([x, y]) / np.hypot(x, y)

    ready = {"a-1": unit(2, 2), "a-2": unit(-2, 2.5), "b-1": unit(-8, 2)}
    expected = {"mean": unit(0, 2.25), "unit-mean": unit(*(ready["a-1"] + ready["a-2"]))}
    for average, model in expected.items():
        sides = load_sides(scp, tmp_path / "map", average, prepare)
        assert sides.unit[sides.enrol["a"]] == pytest.approx(model, abs=1e-6)
        assert sides.unit[sides.enrol["b"]] == pytest.approx(ready["b-1"], abs=1e-6)
        assert sides.utterances[[sides.enrol["a"], sides.enrol["b"], sides.test["a-1"]]].tolist() == [2, 1, 1]
        (tmp_path / "utt2spk").write_text("a-1 a\na-2 a\nb-1 b\n")
        cohort = load_cohort(scp, tmp_path / "utt2spk", average, prepare)
        assert cohort.unit == pytest.approx(np.stack([model, ready["b-1"]]), abs=1e-6)


def test_scores_are_averaged_over_the_utterances_of_an_enrolment(scp, tmp_path, monkeypatch):
    (tmp_path / "map").write_text("a a-1 a-2\nall a-1 a-2 b-1\nb b-1\n")
    sides = load_sides(scp, tmp_path / "map", "scores")
    table = np.random.default_rng(0).standard_normal((3, 3))
    enrol = rows_of(["all", "b", "a", "all", "a"], sides.enrol)
    test = rows_of(["a-1", "b-1", "b-1", "a-2", "a-1"], sides.test)
    means = {"a": table[:2].mean(axis=0), "all": table.mean(axis=0), "b": table[2]}
    expected = [means["all"][0], means["b"][2], means["a"][2], means["all"][1], means["a"][0]]
    for pairs in (1, 4, 5, 1 << 20):
        monkeypatch.setattr("vouch.scoring.sides._PAIRS", pairs)
        assert score_sides(sides.members, enrol, test, lambda rows, others: table[rows, others]) == pytest.approx(
            expected
        )


def test_an_utterance_twice_in_an_enrolment_is_refused(scp, tmp_path):
    (tmp_path / "map").write_text("a a-1 a-2 a-1\n")
    with pytest.raises(VouchError, match="map:1: 'a-1' is listed twice for 'a'"):
        load_sides(scp, tmp_path / "map")


def test_preparation_of_another_dimension_is_refused(scp):
    with pytest.raises(VouchError, match="the mean has 3 dimensions, the embeddings 2"):
        load_sides(scp, prepare=Preparation(np.zeros(3)))
    with pytest.raises(VouchError, match="takes embeddings of 3 dimensions, these have 2"):
        load_sides(scp, prepare=Preparation(None, np.zeros((2, 4))))
    with pytest.raises(VouchError, match="'a-1': the embedding is zero"):
        load_sides(scp, prepare=Preparation(np.array([2.0, 0.0])))
