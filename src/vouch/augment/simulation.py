"""Simulates responses of rooms with pyroomacoustics, an optional package, by the image-source method.

Source: Allen and Berkley, JASA 1979; sizes and absorption of rooms are in the range of Ko et al., ICASSP 2017.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vouch.base.errors import VouchError

# Limits of length and width, of height, and of the distance between the mouth, or the microphone, and the walls, in m.
LENGTHS, HEIGHTS, FROM_WALL = (3.0, 10.0), (2.4, 4.0), 0.3
# Share of the energy that walls absorb.
ABSORPTION = (0.1, 0.8)
# Reflections by the walls of which a sound is followed.
MOST_REFLECTIONS = 40


def simulate(count: int, sample_rate: int, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Simulate rooms, each with one talker and one microphone at random places.

    Parameters
    ----------
    count : int
    sample_rate : int
        In Hz.
    seed : int
        Room k of the same seed is the same, however many there are.

    Yields
    ------
    name : str
    response : (samples,) float32

    Raises
    ------
    VouchError
        pyroomacoustics is not installed.
    """
    try:
        import pyroomacoustics
    except ImportError:
        raise VouchError("simulating rooms needs pyroomacoustics: pip install pyroomacoustics") from None
    # The sums of several threads would differ in their last digits from machine to machine.
    pyroomacoustics.constants.set("num_threads", 1)
    for number in range(1, count + 1):
        rng = np.random.default_rng((seed, number))
        size = np.array([*rng.uniform(*LENGTHS, 2), rng.uniform(*HEIGHTS)])
        walls = pyroomacoustics.Material(rng.uniform(*ABSORPTION))
        room = pyroomacoustics.ShoeBox(
            size, fs=sample_rate, materials=walls, max_order=MOST_REFLECTIONS, air_absorption=True
        )
        room.add_source(rng.uniform(FROM_WALL, size - FROM_WALL))
        room.add_microphone(rng.uniform(FROM_WALL, size - FROM_WALL))
        room.compute_rir()
        yield f"simulated-{seed}-{number}", np.asarray(room.rir[0][0], np.float32)
