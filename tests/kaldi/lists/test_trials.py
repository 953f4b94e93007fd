import numpy as np
import pytest

from vouch.base.errors import VouchError
from vouch.kaldi.lists.trials import Trials, list_name, read_trials, trial_lists, write_trials


def test_backup_copies_are_no_lists(tmp_path):
    lists = ["trials", "trials_O-original", "trials_easy", "trials_hard_2"]
    others = ["trials~", "trials.bak", "trials.orig", "trials_easy.txt", "trials_easy~", "trials_", "trials_größe"]
    for name in (*lists, *others, "#trials#", ".trials.swp", "trials2", "trials easy", "my_trials"):
        (tmp_path / name).write_text("a b target\n")
    assert [path.name for path in trial_lists(tmp_path)] == lists


@pytest.mark.parametrize(("stem", "name"), [("O-original", "trials_O-original"), ("größe 1.v2", "trials_gr__e_1_v2")])
def test_names_of_lists_are_those_that_are_found(tmp_path, stem, name):
    assert list_name(stem) == name
    (tmp_path / name).write_text("a b target\n")
    assert trial_lists(tmp_path) == [tmp_path / name]


def test_written_trials_are_read_back(tmp_path):
    trials = Trials(["b", "a", "b"], ["x y".replace(" ", "_"), "話", "x"], np.array([True, False, True]))
    write_trials(tmp_path / "trials", trials)
    assert (tmp_path / "trials").read_text() == "b x_y target\na 話 nontarget\nb x target\n"
    again = read_trials(tmp_path / "trials")
    assert (again.enrol, again.test) == (trials.enrol, trials.test)
    assert again.is_target.dtype == bool
    assert again.is_target.tolist() == [True, False, True]


def test_blanks_may_be_many(tmp_path):
    (tmp_path / "trials").write_text("  a\tb   target \n a c nontarget")
    assert read_trials(tmp_path / "trials").test == ["b", "c"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("a b target\na b\n", 2),
        ("a b target\na b yes\n", 2),
        ("a b Target\n", 1),
        ("1 a b\n", 1),
        ("a b target\n\na c target\n", 2),
        ("a b target c\na c\n", 1),
        ("a b\ntarget c d target\n", 1),
        ("a b target\r\n", 1),
        ("a b nontargntarget\n", 1),
        ("a b nontargxt\n", 1),
        ("a b  target\na  target\n", 2),
        ("a b target\na  target\n", 2),
        ("a b target\n a target\n", 2),
        (" b target\n", 1),
    ],
)
def test_malformed_lines_are_named(tmp_path, content, line):
    path = tmp_path / "trials"
    path.write_bytes(content.encode())
    with pytest.raises(VouchError) as caught:
        read_trials(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert "\n" not in str(caught.value)


def test_an_empty_list_is_an_error(tmp_path):
    (tmp_path / "trials").touch()
    with pytest.raises(VouchError, match="trials: the file is empty"):
        read_trials(tmp_path / "trials")


def test_columns_of_different_length_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="shorter"):
        write_trials(tmp_path / "trials", Trials(["a", "b"], ["c"], np.array([True, False])))
    assert not (tmp_path / "trials").exists()
