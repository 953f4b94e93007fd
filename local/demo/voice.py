"""Synthesises the voices of the demo corpus with a source-filter model whose parameters differ between speakers.

A glottal pulse train (Rosenberg, "Effect of glottal pulse shape on the quality of natural vowels", JASA 49 (1971),
with jitter, shimmer and breath noise) excites a cascade of formant resonators with a nasal pole-zero pair; noise made
at the constriction takes a parallel branch (Klatt, "Software for a cascade/parallel formant synthesizer", JASA 67
(1980)). The filters change every 5 ms and are applied frame by frame in the frequency domain.
"""

import numpy as np
from scipy import fft
from scipy.signal import lfilter

from demo.score import HOP, SAMPLE_RATE, Score, write_score
from demo.speaker import Manner, Speaker

_FFT = 512  # a windowed frame of 10 ms, and 22 ms for the decay of the resonators
_BANDWIDTHS = np.array([60.0, 80.0, 120.0, 170.0, 230.0, 300.0, 380.0, 460.0])


def _voice_source(
    score: Score, speaker: Speaker, manner: Manner, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return differentiated glottal flow with breath noise, and glottal opening 0 to 1; both (samples,) float64."""
    samples = len(score.pitch) * HOP
    pitch = np.interp(np.arange(samples) / HOP, np.arange(len(score.pitch)), score.pitch)
    cycles = np.cumsum(pitch) / SAMPLE_RATE
    periods = int(cycles[-1]) + 2
    jitter = np.clip(1.0 + speaker.jitter * rng.normal(size=periods), 0.8, 1.2)
    cycles = np.cumsum(pitch * jitter[cycles.astype(int)]) / SAMPLE_RATE
    index = np.minimum(cycles.astype(int), periods - 1)
    phase = (cycles - index) / np.clip(speaker.open_quotient * 2.0 ** (-0.15 * manner.effort), 0.35, 0.9)
    opening = 0.5 - 0.5 * np.cos(np.pi * phase / speaker.asymmetry)
    closing = np.cos(0.5 * np.pi * (phase - speaker.asymmetry) / (1.0 - speaker.asymmetry))
    flow = np.where(phase < speaker.asymmetry, opening, np.where(phase < 1.0, closing, 0.0))
    shimmer = np.clip(1.0 + speaker.shimmer * rng.normal(size=periods), 0.5, 1.5)
    # Differencing averages the slope of the flow over a sample, which reduces aliasing of the sharp closure.
    pulses = np.diff(flow, prepend=flow[0]) * shimmer[index]
    corner = np.exp(-2.0 * np.pi * speaker.tilt_hz * 2.0**manner.effort / SAMPLE_RATE)
    pulses = lfilter([1.0 - corner], [1.0, -corner], pulses)
    noise = lfilter([1.0, -0.7], [1.0], rng.normal(size=samples))
    voice, breath = (np.repeat(track, HOP) for track in (score.voice, score.breath))
    # Breath noise is modulated by the opening of the glottis.
    puffs = speaker.breath * 2.0 ** (-0.5 * manner.effort) * voice * (0.3 + flow)
    return pulses * voice + noise * (puffs + 0.05 * breath), flow


def _section(frequency: np.ndarray, bandwidth: np.ndarray) -> np.ndarray:
    """Return (..., 3) second-order polynomials in z^-1 with a zero pair at (...,) Hz and unit gain at 0 Hz."""
    radius = np.exp(-np.pi * np.asarray(bandwidth) / SAMPLE_RATE)
    cosine = np.cos(2.0 * np.pi * np.asarray(frequency) / SAMPLE_RATE)
    section = np.stack(np.broadcast_arrays(1.0, -2.0 * radius * cosine, radius**2), axis=-1)
    return section / section.sum(axis=-1, keepdims=True)


def _response(sections: list[np.ndarray]) -> np.ndarray:
    """Return the (frames, bins) frequency response of the product of (frames or 1, 3) polynomials."""
    product = np.ones((1, 1))
    for section in sections:
        longer = np.zeros((max(len(product), len(section)), product.shape[1] + 2))
        for tap in range(3):
            longer[:, tap : tap + product.shape[1]] += product * section[:, tap : tap + 1]
        product = longer
    return fft.rfft(product, _FFT)


def _tract(score: Score, speaker: Speaker) -> np.ndarray:
    """Return the response of the formant cascade with the nasal and the sinus branch: (frames, bins) complex128."""
    bandwidths = _BANDWIDTHS * speaker.bandwidth_scale * np.ones_like(score.formants)
    # Short tracts have fewer formants below the Nyquist frequency; formants close to it are damped.
    bandwidths += 5.0 * np.maximum(score.formants - 6800.0, 0.0)
    # An open nasal tract damps the first formant.
    bandwidths[:, 0] *= 1.0 + 2.0 * score.nasal
    poles = [_section(score.formants[:, k], bandwidths[:, k]) for k in range(score.formants.shape[1])]
    poles.append(_section(np.array([speaker.nasal_hz]), np.array([80.0])))
    # With a closed velum, the nasal zero and pole coincide and cancel.
    zero_hz = speaker.nasal_hz + score.nasal * (speaker.nasal_zero_hz - speaker.nasal_hz)
    zeros = [_section(zero_hz, np.full(len(zero_hz), 80.0) + 100.0 * score.nasal)]
    zeros.append(_section(np.array([speaker.sinus_hz]), np.array([speaker.sinus_bandwidth])))
    return _response(zeros) / _response(poles)


def _constriction(score: Score) -> np.ndarray:
    """Return the response of the front cavity, of unit power for white noise: (frames, bins) complex128."""
    peak = _section(score.friction_hz, score.friction_bandwidth)
    ripple = _section(np.minimum(1.45 * score.friction_hz, 7800.0), 1.5 * score.friction_bandwidth)
    highpass = fft.rfft(np.array([[1.0, -0.9]]), _FFT)
    response = highpass / _response([peak, ripple])
    return response / np.sqrt(np.mean(np.abs(response) ** 2, axis=1, keepdims=True))


def _spectra(signal: np.ndarray) -> np.ndarray:
    """Return the (frames, bins) spectra of (samples,): 10 ms Hann frames every 5 ms, which add up to the signal."""
    padded = np.concatenate([signal, np.zeros(HOP)])
    frames = np.lib.stride_tricks.sliding_window_view(padded, 2 * HOP)[::HOP]
    return fft.rfft(frames * np.hanning(2 * HOP + 1)[:-1], _FFT)


def _overlap_add(spectra: np.ndarray) -> np.ndarray:
    """Invert `_spectra`, including the decay of the filters: (frames, bins) -> (frames * HOP,) float64."""
    pieces = -(-_FFT // HOP)
    frames = fft.irfft(spectra, _FFT)
    frames = np.pad(frames, ((0, 0), (0, pieces * HOP - _FFT))).reshape(len(frames), pieces, HOP)
    output = np.zeros((len(frames) + pieces, HOP))
    for piece in range(pieces):
        output[piece : piece + len(frames)] += frames[:, piece]
    return output[: len(frames)].ravel()


def synthesise(speaker: Speaker, manner: Manner, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Synthesise an utterance of random phrases by a speaker.

    Parameters
    ----------
    speaker : Speaker
    manner : Manner
    seconds : float
        Target length; the actual one differs by up to about half a second, since the utterance ends with a phrase.
    rng : numpy.random.Generator

    Returns
    -------
    (samples,) float64
        Dry speech at 16 kHz with a root mean square of 1.
    """
    score = write_score(speaker, manner, seconds, rng)
    source, flow = _voice_source(score, speaker, manner, rng)
    voiced = _spectra(source) * _tract(score, speaker)
    speech = _overlap_add(voiced)
    loudness = np.sqrt(np.mean(speech**2)) / np.sqrt(np.mean(score.voice**2))
    # The noise of voiced fricatives is modulated by the glottis.
    gain = np.repeat(score.friction, HOP) * (1.0 - np.repeat(np.minimum(score.voice, 1.0), HOP) * (1.0 - flow))
    speech += loudness * _overlap_add(_spectra(gain * rng.normal(size=len(gain))) * _constriction(score))
    return speech / np.sqrt(np.mean(speech**2))
