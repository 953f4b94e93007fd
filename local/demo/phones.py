"""Defines articulatory targets for the phones of the demo corpus, and draws random phrases of syllables.

A phone is one or more states held one after the other; a plosive, say, is a closure, a burst and an aspiration.
Formant targets are those of an average adult male tract and lie near the measurements of Peterson and Barney,
"Control methods used in a study of the vowels", JASA 24 (1952), and the loci of Klatt, "Software for a
cascade/parallel formant synthesizer", JASA 67 (1980), table III.
"""

from typing import NamedTuple

import numpy as np


class State(NamedTuple):
    """Targets of the vocal tract during one part of a phone.

    Durations are milliseconds at a speaking rate of 1, frequencies hertz, `voice`, `breath` and `friction` the
    amplitudes of voicing, of noise made at the glottis and of noise made at the constriction, relative to a vowel.
    """

    ms: float
    formants: tuple[float, float, float]
    voice: float = 0.0
    breath: float = 0.0
    friction: float = 0.0
    friction_hz: float = 4000.0
    friction_bandwidth: float = 1500.0
    nasal: float = 0.0


def _vowel(f1: float, f2: float, f3: float, ms: float = 130.0) -> tuple[State, ...]:
    return (State(ms, (f1, f2, f3), voice=1.0),)


def _sonorant(f1: float, f2: float, f3: float, voice: float = 0.55) -> tuple[State, ...]:
    return (State(65.0, (f1, f2, f3), voice=voice),)


def _nasal(f2: float, f3: float) -> tuple[State, ...]:
    return (State(75.0, (260.0, f2, f3), voice=0.5, nasal=1.0),)


def _plosive(f2: float, f3: float, burst_hz: float, bandwidth: float, voiced: bool) -> tuple[State, ...]:
    place = (220.0, f2, f3)
    closure = State(55.0 if voiced else 75.0, place, voice=0.12 if voiced else 0.0)
    burst = State(10.0, place, friction=0.7, friction_hz=burst_hz, friction_bandwidth=bandwidth)
    if voiced:
        return (closure, burst)
    return (closure, burst, State(35.0, (380.0, f2, f3), breath=0.5))


def _fricative(
    place: tuple[float, float, float], level: float, hz: float, bandwidth: float, voiced: bool
) -> tuple[State, ...]:
    scale, voice, ms = (0.6, 0.3, 70.0) if voiced else (1.0, 0.0, 105.0)
    return (State(ms, place, voice, friction=scale * level, friction_hz=hz, friction_bandwidth=bandwidth),)


VOWELS = {
    "i": _vowel(280, 2250, 2950),
    "e": _vowel(400, 2050, 2600),
    "E": _vowel(550, 1770, 2490),
    "a": _vowel(730, 1250, 2550, 150),
    "O": _vowel(570, 850, 2410),
    "o": _vowel(420, 800, 2400),
    "u": _vowel(310, 870, 2250),
    "y": _vowel(290, 1780, 2200),
    "@": _vowel(500, 1450, 2500, 85),
}

CONSONANTS = {
    "m": _nasal(1050, 2200),
    "n": _nasal(1650, 2650),
    "N": _nasal(2050, 2500),
    "l": _sonorant(360, 1100, 2750),
    "r": _sonorant(380, 1250, 1650),
    "j": _sonorant(270, 2200, 3000, 0.6),
    "w": _sonorant(300, 650, 2200, 0.6),
    "b": _plosive(900, 2200, 800, 1200, True),
    "d": _plosive(1750, 2650, 3900, 2000, True),
    "g": _plosive(2000, 2300, 2000, 900, True),
    "p": _plosive(900, 2200, 900, 1400, False),
    "t": _plosive(1750, 2650, 4200, 2000, False),
    "k": _plosive(2000, 2300, 1900, 900, False),
    "f": _fricative((300, 1100, 2200), 0.12, 6800, 4000, False),
    "v": _fricative((280, 1100, 2200), 0.10, 6500, 4000, True),
    "s": _fricative((300, 1700, 2600), 0.40, 5700, 1100, False),
    "z": _fricative((280, 1700, 2600), 0.40, 5600, 1100, True),
    "S": _fricative((300, 1850, 2500), 0.45, 3300, 1000, False),
    "h": (State(60.0, (500, 1450, 2500), breath=0.55),),
}

PHONES = {**VOWELS, **CONSONANTS}
PHONE_INDEX = {name: index for index, name in enumerate(PHONES)}


class Syllable(NamedTuple):
    """One syllable: the names of its phones and whether it is accented."""

    phones: tuple[str, ...]
    accented: bool


def draw_phrase(rng: np.random.Generator, consonant_weights: np.ndarray, syllables: int) -> list[Syllable]:
    """Draw a phrase of random syllables (C)V(C).

    Parameters
    ----------
    rng : numpy.random.Generator
    consonant_weights : (consonants,) float64
        Probability of each consonant, in the order of ``CONSONANTS``.
    syllables : int
        Number of syllables.
    """
    consonants, vowels = list(CONSONANTS), list(VOWELS)
    phrase = []
    for position in range(syllables):
        onset = [rng.choice(consonants, p=consonant_weights)] if rng.random() < 0.9 else []
        coda = [rng.choice(consonants, p=consonant_weights)] if rng.random() < 0.3 else []
        accented = bool(position == 0 or rng.random() < 0.4)
        # A reduced vowel is never accented.
        nucleus = vowels[rng.integers(len(vowels) - 1 if accented else len(vowels))]
        phrase.append(Syllable((*onset, nucleus, *coda), accented))
    return phrase
