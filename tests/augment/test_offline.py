"""Which copies stage 2 makes."""

from collections import Counter
from pathlib import Path

import pytest

from vouch.augment.config import AugmentConfig
from vouch.augment.offline import Copy, draw_copies
from vouch.base.errors import VouchError

ROOT = Path(__file__).resolve().parents[2]
KALDI = AugmentConfig.read(ROOT / "conf/augment/kaldi.yaml")
NAMES = ("reverb", "noise", "music", "babble")
MANY = [f"s{number % 97}-{number}" for number in range(10_000)]


def weighted(**weights):
    nodes = [{"gain": {}, "name": name, "weight": weight} for name, weight in weights.items()]
    return AugmentConfig.from_dict({"when": "offline", "waveform": {"one_of": nodes}})


def test_each_change_is_as_often_as_its_weight_says():
    """Over 10,000 utterances a share has a standard deviation below 0.005."""
    found = Counter(copy.name for copy in draw_copies(MANY, KALDI, 1, 0).values())
    assert found.keys() == {*NAMES}
    assert all(abs(count / len(MANY) - 0.25) < 0.02 for count in found.values())
    found = Counter(copy.name for copy in draw_copies(MANY, weighted(a=3, b=1, never=0), 1, 0).values())
    assert found.keys() == {"a", "b"}
    assert abs(found["a"] / len(MANY) - 0.75) < 0.02


def test_ids_are_those_of_kaldi_and_sorted():
    copies = draw_copies(["b-1", "a-1"], KALDI, 4, 0)
    assert list(copies) == [f"{utterance}-{name}" for utterance in ("a-1", "b-1") for name in sorted(NAMES)]
    assert copies["b-1-reverb"] == Copy("b-1", "reverb")


@pytest.mark.parametrize("copies", [1, 2, 4])
def test_a_copy_does_not_depend_on_others(copies):
    whole = draw_copies(MANY[:200], KALDI, copies, 7)
    part = draw_copies(MANY[199:100:-1], KALDI, copies, 7)
    assert part == {each: copy for each, copy in whole.items() if copy.utterance in MANY[101:200]}
    assert copies == 4 or draw_copies(MANY[:200], KALDI, copies, 8) != whole


@pytest.mark.parametrize("subset", [1, 150, 300, 450, 1200])
def test_a_subset_reaches_all_utterances_alike(subset):
    """In rounds: nobody has two copies more than somebody else; and all changes are among them."""
    utterances = MANY[:300]
    copies = draw_copies(utterances, KALDI, 4, 0, subset)
    assert len(copies) == subset and list(copies) == sorted(copies)
    counts = Counter(copy.utterance for copy in copies.values())
    assert {counts[utterance] for utterance in utterances} <= {subset // 300, -(-subset // 300)}
    names = Counter(copy.name for copy in copies.values())
    assert subset < 100 or all(abs(names[name] / subset - 0.25) < 0.1 for name in NAMES)
    assert draw_copies(utterances[::-1], KALDI, 4, 0, subset) == copies
    assert copies.items() <= draw_copies(utterances, KALDI, 4, 0).items()


def test_more_than_there_are():
    with pytest.raises(VouchError, match="5 copies of each utterance need as many names, there are 4: reverb, noise"):
        draw_copies(["a"], KALDI, 5, 0)
    with pytest.raises(VouchError, match="2 copies of each utterance need as many names, there are 1: a"):
        draw_copies(["a"], weighted(a=1, never=0), 2, 0)
    with pytest.raises(VouchError, match="a subset of 5 copies cannot be taken of 4"):
        draw_copies(["a"], KALDI, 4, 0, 5)
    with pytest.raises(VouchError, match="drawn anew in stage 3"):
        draw_copies(["a"], AugmentConfig(), 1, 0)


def test_speeds_stand_beside_the_changes():
    speeds = {"factors": [1.0, 0.9, 1.1], "as_speakers": True}
    config = AugmentConfig.from_dict({**KALDI.as_dict(), "speed": speeds})
    copies = draw_copies(["b-1", "a-1"], config, 1, 0, 1)
    played = {f"sp{factor}-{utterance}" for factor in ("0.9", "1.1") for utterance in ("a-1", "b-1")}
    assert len(copies) == 5 and played < copies.keys() and list(copies) == sorted(copies)
    assert copies["sp0.9-b-1"].speaker("b") == "sp0.9-b" and float(copies["sp0.9-b-1"].speed) == 0.9
    same = AugmentConfig.from_dict({"when": "offline", "speed": {**speeds, "as_speakers": False}})
    assert list(draw_copies(["a-1"], same, 1, 0)) == ["a-1-sp0.9", "a-1-sp1.1"]
    assert draw_copies(["a-1"], same, 1, 0)["a-1-sp0.9"].speaker("a") == "a"


def test_a_name_that_is_a_speed():
    config = {**weighted(**{"sp0.9": 1}).as_dict(), "speed": {"factors": [1.0, 0.9]}}
    with pytest.raises(VouchError, match=r"the name 'sp0\.9' is that of a speed"):
        draw_copies(["a-1"], AugmentConfig.from_dict(config), 1, 0)
