import pytest

from vouch.errors import VouchError, nearest, pick


def test_nearest_names_the_close_one():
    assert nearest("aamsoftmx", ["softmax", "aamsoftmax", "ge2e"]) == " (did you mean 'aamsoftmax'?)"


def test_nearest_lists_all_when_none_is_close():
    assert nearest("x", ["softmax", "ge2e"]) == " (choose from: softmax, ge2e)"


def test_nearest_of_nothing_is_empty():
    assert nearest("x", []) == ""


def test_nearest_takes_any_iterable_once():
    assert nearest("zzz", (name for name in ["a", "b"])) == " (choose from: a, b)"


def test_pick_returns_the_entry():
    assert pick({"a": 1, "b": None}, "b", "letter") is None


def test_pick_names_what_and_the_nearest():
    with pytest.raises(VouchError, match=r"^unknown loss 'ge3e' \(did you mean 'ge2e'\?\)$"):
        pick({"softmax": 1, "ge2e": 2}, "ge3e", "loss")
