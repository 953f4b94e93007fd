"""Draws the speakers of the demo corpus: properties of a voice that are constant, and those that vary by day."""

from dataclasses import dataclass

import numpy as np

from demo.phones import CONSONANTS, PHONES


@dataclass(frozen=True)
class Speaker:
    """Constant properties of a speaker.

    Attributes
    ----------
    f0 : float
        Median fundamental frequency in Hz.
    f0_range, declination : float
        Height of an accent in semitones; fall of the pitch within a phrase in semitones per second.
    formant_scale : (8,) float64
        Factors on the formants of the average male tract, from the length and the shape of the speaker's tract.
    phone_offsets : (phones, 3) float64
        Factors on the first three formants of each phone: the speaker's accent.
    bandwidth_scale : (8,) float64
        Factor on each formant's bandwidth.
    open_quotient, asymmetry : float
        Share of the period in which the glottis is open; share of the open time in which it is opening.
    tilt_hz : float
        Cut-off frequency in Hz of the one-pole low-pass of the voice source: low for a soft voice.
    breath, jitter, shimmer : float
        Aspiration noise, and relative standard deviations of the length and amplitude of the periods.
    nasal_hz, nasal_zero_hz, nasality : float
        Nasal pole and zero in Hz; opening of the nasal tract outside of nasal consonants, 0 to 1.
    sinus_hz, sinus_bandwidth : float
        Zero of the piriform sinus, Hz.
    friction_scale, friction_level : float
        Factors on the spectral peak and on the amplitude of fricatives and bursts.
    consonant_weights : (consonants,) float64
        Relative frequency of each consonant; sums to 1.
    rate, vowel_stretch, glide_ms : float
        Speaking rate, relative length of vowels, and transition time from target to target in ms.
    """

    f0: float
    f0_range: float
    declination: float
    formant_scale: np.ndarray
    phone_offsets: np.ndarray
    bandwidth_scale: np.ndarray
    open_quotient: float
    asymmetry: float
    tilt_hz: float
    breath: float
    jitter: float
    shimmer: float
    nasal_hz: float
    nasal_zero_hz: float
    nasality: float
    sinus_hz: float
    sinus_bandwidth: float
    friction_scale: float
    friction_level: float
    consonant_weights: np.ndarray
    rate: float
    vowel_stretch: float
    glide_ms: float


@dataclass(frozen=True)
class Manner:
    """Properties of a speaker on one day: pitch shift in semitones, vocal effort (octaves of source tilt), rate."""

    pitch_shift: float = 0.0
    effort: float = 0.0
    rate: float = 1.0


def _lognormal(rng: np.random.Generator, median: float, octaves: float) -> float:
    return float(median * 2.0 ** rng.normal(0.0, octaves))


def draw_speaker(rng: np.random.Generator, female: bool) -> Speaker:
    """Draw a speaker; every attribute varies independently within the range of adult voices."""
    length_scale = _lognormal(rng, 1.16 if female else 1.0, 0.09)
    return Speaker(
        f0=_lognormal(rng, 205.0 if female else 118.0, 0.24),
        f0_range=_lognormal(rng, 3.0, 0.6),
        declination=rng.uniform(0.5, 3.0),
        formant_scale=length_scale * 2.0 ** rng.normal(0.0, [0.06, 0.07, 0.09, 0.10, 0.10, 0.08, 0.06, 0.04]),
        phone_offsets=2.0 ** rng.normal(0.0, [0.13, 0.11, 0.07], (len(PHONES), 3)),
        bandwidth_scale=2.0 ** rng.normal(0.0, 0.4, 8),
        open_quotient=rng.uniform(0.45, 0.8),
        asymmetry=rng.uniform(0.6, 0.85),
        tilt_hz=_lognormal(rng, 2200.0, 0.6),
        breath=_lognormal(rng, 0.004, 0.8),
        jitter=_lognormal(rng, 0.004, 0.7),
        shimmer=_lognormal(rng, 0.04, 0.7),
        nasal_hz=rng.uniform(230.0, 330.0),
        nasal_zero_hz=rng.uniform(600.0, 1700.0),
        nasality=rng.uniform(0.0, 0.35),
        sinus_hz=rng.uniform(3600.0, 5400.0) * length_scale**0.5,
        sinus_bandwidth=_lognormal(rng, 250.0, 0.6),
        friction_scale=_lognormal(rng, 1.08 if female else 0.98, 0.14),
        friction_level=_lognormal(rng, 1.0, 0.6),
        consonant_weights=rng.dirichlet(np.full(len(CONSONANTS), 6.0)),
        rate=_lognormal(rng, 1.0, 0.15),
        vowel_stretch=_lognormal(rng, 1.0, 0.15),
        glide_ms=_lognormal(rng, 80.0, 0.3),
    )
