"""Synthesises the noises and the music of the demo corpus, in the classes of MUSAN."""

import numpy as np
from scipy.fft import next_fast_len
from scipy.signal import fftconvolve

from demo.score import SAMPLE_RATE


def _unit(signal: np.ndarray) -> np.ndarray:
    return signal / np.sqrt(np.mean(signal**2) + 1e-20)


def coloured(samples: int, exponent: float, rng: np.random.Generator) -> np.ndarray:
    """Return noise with power spectrum 1/f**exponent above 40 Hz: (samples,) float64 of unit power."""
    size = next_fast_len(samples, real=True)
    spectrum = np.fft.rfft(rng.normal(size=size))
    frequency = np.maximum(np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE), 40.0)
    return _unit(np.fft.irfft(spectrum * frequency ** (-0.5 * exponent), size)[:samples])


def machine(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Return the sound of a motor: a beating, unsteady hum over coloured noise; (samples,) float64 of unit power."""
    seconds = np.arange(samples) / SAMPLE_RATE
    hum = rng.uniform(45.0, 160.0)
    drift = 0.01 * np.sin(2.0 * np.pi * rng.uniform(0.1, 0.6) * seconds)
    phase = 2.0 * np.pi * hum * np.cumsum(1.0 + drift) / SAMPLE_RATE
    tone = np.zeros(samples)
    for harmonic in range(1, 16):
        level = harmonic ** -rng.uniform(0.3, 1.2) * rng.uniform(0.2, 1.0)
        tone += level * np.sin(harmonic * phase + rng.uniform(0.0, 2.0 * np.pi))
    beat = 1.0 + rng.uniform(0.1, 0.6) * np.sin(2.0 * np.pi * rng.uniform(2.0, 14.0) * seconds)
    return _unit(_unit(tone) * beat + rng.uniform(0.2, 0.7) * coloured(samples, 1.0, rng))


def impulsive(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Return knocks and clatter: resonances excited at random times; (samples,) float64 of unit power."""
    decay = np.arange(SAMPLE_RATE // 5) / SAMPLE_RATE
    sound = 0.02 * coloured(samples, 1.0, rng)
    for _ in range(3):
        strikes = np.zeros(samples)
        times = rng.integers(samples, size=1 + rng.poisson(rng.uniform(1.0, 4.0) * samples / SAMPLE_RATE))
        strikes[times] = rng.lognormal(0.0, 0.7, len(times))
        partials = np.sin(2.0 * np.pi * rng.uniform(300.0, 5000.0, (4, 1)) * decay) * rng.uniform(0.2, 1.0, (4, 1))
        thud = partials.sum(0) + 0.5 * rng.normal(size=len(decay))
        sound += fftconvolve(strikes, thud * np.exp(-decay / rng.uniform(0.004, 0.05)))[:samples]
    return _unit(sound)


NOISES = {
    "coloured": lambda samples, rng: coloured(samples, rng.uniform(0.9, 2.2), rng),
    "machine": machine,
    "impulsive": impulsive,
}


def music(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Return a melody over chords on a pentatonic scale, with decaying harmonics; (samples,) float64, unit power."""
    scale = np.array([0, 2, 4, 7, 9, 12, 14, 16, 19, 21, 24])
    tonic, beat = rng.uniform(100.0, 180.0), rng.uniform(0.2, 0.5)
    brightness, decay = rng.uniform(0.7, 1.8), rng.uniform(0.25, 1.2)
    song, step = np.zeros(samples), int(beat * SAMPLE_RATE)
    for position, start in enumerate(range(0, samples, step)):
        melody = [int(rng.integers(3, len(scale)))] if rng.random() < 0.8 else []
        chord = [0, 2, 3] if position % 4 == 0 else []
        for degree in melody + [(note + int(rng.integers(3))) for note in chord]:
            length = min(samples - start, int(rng.choice([1, 2, 4]) * step))
            seconds = np.arange(length) / SAMPLE_RATE
            pitch = tonic * 2.0 ** (scale[degree] / 12.0)
            envelope = np.minimum(seconds / 0.01, 1.0) * np.exp(-seconds / decay)
            envelope *= np.minimum((length - np.arange(length)) / (0.02 * SAMPLE_RATE), 1.0)
            harmonics = np.arange(1, min(13, int(7500.0 / pitch)))
            waves = np.sin(2.0 * np.pi * pitch * harmonics[:, None] * seconds + rng.uniform(0.0, 6.28))
            song[start : start + length] += envelope * (harmonics**-brightness @ waves)
    return _unit(song + 1e-3 * rng.normal(size=samples))
