"""Rooms that pyroomacoustics simulates."""

import sys

import numpy as np
import pytest

from vouch.augment.simulation import FROM_WALL, HEIGHTS, LENGTHS, simulate
from vouch.base.errors import VouchError

RATE = 16000


def test_without_the_package_it_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    with pytest.raises(VouchError, match="needs pyroomacoustics: pip install pyroomacoustics"):
        next(simulate(1, RATE, 0))


def test_rooms_follow_from_seed_and_number():
    pytest.importorskip("pyroomacoustics")
    rooms = dict(simulate(3, RATE, 0))
    again = dict(simulate(2, RATE, 0))
    assert len(rooms) == 3
    for name, response in again.items():
        np.testing.assert_array_equal(rooms[name], response)
    other = dict(simulate(1, RATE, 1))
    assert not other.keys() & rooms.keys()
    diagonal = np.sqrt(2 * LENGTHS[1] ** 2 + HEIGHTS[1] ** 2)
    for response in rooms.values():
        assert response.dtype == np.float32 and np.isfinite(response).all()
        # The direct sound comes first, after the way through the room; the filter of the package adds 40 samples.
        assert np.abs(response).argmax() <= (diagonal - 2 * FROM_WALL) / 343 * RATE + 45
        # And it dies away: the last tenth has less than a thousandth of the energy.
        energy = response.astype(float) ** 2
        assert energy[-len(energy) // 10 :].sum() < 1e-3 * energy.sum()
