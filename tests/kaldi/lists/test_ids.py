"""Rows of ids in text, against a dictionary."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vouch.kaldi.lists import ids
from vouch.kaldi.lists.ids import IdTable


def look_up(table: IdTable, wanted: list[str]) -> list[int]:
    encoded = [name.encode() for name in wanted]
    ends = np.cumsum([0, *map(len, encoded)])
    # What lies around an id must not matter: here it is the next id, or zero bytes.
    return table.rows(np.frombuffer(b"".join(encoded) + bytes(8), np.uint8), ends[:-1], ends[1:]).tolist()


names = st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), min_size=1, max_size=30)


@given(known=st.sets(names, min_size=1, max_size=20), others=st.lists(names, max_size=10))
def test_rows_are_those_of_a_dictionary(known, others):
    rows = {name: 3 * number for number, name in enumerate(known)}
    wanted = [*others, *known, *(name[:-1] for name in known if len(name) > 1), *(name + "x" for name in known)]
    assert look_up(IdTable(rows), wanted) == [rows.get(name, -1) for name in wanted]


@pytest.mark.parametrize("shared", [False, True])
def test_ids_with_one_hash_are_told_apart(monkeypatch, shared):
    if shared:
        monkeypatch.setattr(ids._OfWidth, "_places", lambda self, words: np.full(len(words), 3))
    rng = np.random.default_rng(0)
    known = list(
        dict.fromkeys(f"id{number:05d}-{number * 7919 % 100000:05d}" for number in rng.integers(10**5, size=300))
    )
    rows = {name: number for number, name in enumerate(known)}
    wanted = [f"id{number:05d}-{number * 7919 % 100000:05d}" for number in rng.integers(10**5, size=300)]
    wanted += known[::-1]
    assert look_up(IdTable(rows), wanted) == [rows.get(name, -1) for name in wanted]


def test_long_and_short_ids_stand_side_by_side():
    known = ["a", "話" * 5000, "b" * 8, "b" * 16, "b" * 17, "話" * 5000 + "x"]
    rows = {name: number for number, name in enumerate(known)}
    wanted = [*known, "話" * 4999, "b" * 7, "b" * 9, "c", "d" * 100]
    assert look_up(IdTable(rows), wanted) == [0, 1, 2, 3, 4, 5, -1, -1, -1, -1, -1]
