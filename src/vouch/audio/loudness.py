"""Measures level, length, clipping and bandwidth of a recording, which show whether it is fit for verification."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.fft import rfft, rfftfreq

# A sample counts as clipped from this magnitude on; the highest 16-bit value is 32767 / 32768.
FULL_SCALE = 0.9999
# Length in seconds of the blocks whose level is measured: about one syllable.
BLOCK = 0.1
# Level of the loudest block in dB of full scale. 16-bit rounding noise alone has -101 dB, speech -40 to -5 dB.
SILENCE_LEVEL = -75.0
QUIET_LEVEL = -50.0
# A recording counts as clipped from this share of clipped samples on.
CLIPPED_SHARE = 0.001
# A comparison of recordings with less speech than this, in seconds, is unreliable.
SHORT_SECONDS = 1.0
# Power of 5 to 7.8 kHz relative to 0.3 to 3.4 kHz in dB. Speech sampled at 16 kHz has -35 to 5 dB; speech that was
# upsampled from 8 kHz has only rounding noise and the resampler's stop band up there: -60 dB and less.
NARROW_BAND = -50.0
LOW_BAND, HIGH_BAND = (300.0, 3400.0), (5000.0, 7800.0)
# The findings of `judge_loudness`, worded for many recordings.
FAULTS = {
    "silence": f"are silent (below {SILENCE_LEVEL:g} dB of full scale)",
    "short": f"are shorter than {SHORT_SECONDS:g} s",
    "quiet": f"are quiet (below {QUIET_LEVEL:g} dB of full scale)",
    "clipping": f"are clipped (more than {CLIPPED_SHARE:.1%} of the samples at full scale)",
    "narrow band": "have nothing above 4 kHz, as telephone speech",
}
# Samples of a spectrum, and number of spectra, spread evenly over the recording.
SPECTRUM = 512
MAX_SPECTRA = 4000


class Loudness(NamedTuple):
    """Result of `measure_loudness`.

    Attributes
    ----------
    seconds : float
        Length.
    peak : float
        Largest magnitude, 1 at full scale.
    level : float
        Root mean square of the loudest 0.1 s, after subtracting the recording's mean, in dB of full scale (a sine of
        full scale has -3 dB); -inf if all samples are equal.
    clipped : float
        Share of the samples at full scale.
    high_band : float
        Mean power density in 5 to 7.8 kHz relative to 0.3 to 3.4 kHz, in dB; NaN for sampling rates below 15.6 kHz
        and for silence.
    """

    seconds: float
    peak: float
    level: float
    clipped: float
    high_band: float


def measure_loudness(samples: np.ndarray, rate: int, bands: bool = True) -> Loudness:
    """Measure one recording or utterance; ten seconds take two milliseconds.

    Parameters
    ----------
    samples : (samples,) float32 in [-1, 1]
        One channel with finite samples: the channel that is used, see `vouch.audio.reading.mix_channels`.
    rate : int
        Sampling rate in Hz.
    bands : bool
        Whether to compare frequency bands, which takes most of the time; otherwise `high_band` is NaN.

    Returns
    -------
    Loudness
    """
    if not len(samples):
        return Loudness(0.0, 0.0, -math.inf, 0.0, math.nan)
    highest, lowest = float(samples.max()), float(samples.min())
    peak = max(highest, -lowest)
    clipped = float(np.mean(np.abs(samples) >= FULL_SCALE)) if peak >= FULL_SCALE else 0.0
    level, high_band = -math.inf, math.nan
    # The mean of equal samples may differ from them by rounding, which would show up as a level.
    if highest > lowest:
        level = _loudest_block(samples, max(1, round(BLOCK * rate)))
        high_band = _compare_bands(samples, rate) if bands else math.nan
    return Loudness(len(samples) / rate, peak, level, clipped, high_band)


def _loudest_block(samples: np.ndarray, size: int) -> float:
    """Return the level of the loudest block of `size` samples in dB; the samples left at the end are one more block."""
    mean = np.float32(samples.mean(dtype=np.float64))
    whole = len(samples) // size * size
    power = 0.0
    for blocks in (samples[:whole].reshape(-1, size), samples[whole:].reshape(1, -1)):
        # Skip a last block of a few samples: their level would be that of a click.
        if blocks.size and (blocks.shape[1] == size or not whole):
            centred = blocks - mean
            power = max(power, float(np.einsum("bt,bt->b", centred, centred).max()) / blocks.shape[1])
    return 10 * math.log10(power) if power > 0 else -math.inf


def _compare_bands(samples: np.ndarray, rate: int) -> float:
    if rate / 2 < HIGH_BAND[1] or len(samples) < SPECTRUM:
        return math.nan
    frames = np.lib.stride_tricks.sliding_window_view(samples, SPECTRUM)[:: SPECTRUM // 2]
    frames = frames[:: -(-len(frames) // MAX_SPECTRA)]
    density = (np.abs(rfft(frames * np.hanning(SPECTRUM).astype(np.float32))) ** 2).mean(axis=0)
    frequencies = rfftfreq(SPECTRUM, 1 / rate)
    low, high = (
        float(density[(frequencies >= first) & (frequencies <= last)].mean()) for first, last in (LOW_BAND, HIGH_BAND)
    )
    return 10 * math.log10(max(high, 1e-30) / low) if low > 0 else math.nan


def judge_loudness(loudness: Loudness, min_seconds: float = SHORT_SECONDS) -> dict[str, str]:
    """Name the faults of a recording.

    Parameters
    ----------
    loudness : Loudness
        From `measure_loudness`.
    min_seconds : float
        Shortest acceptable length in seconds.

    Returns
    -------
    dict
        A sentence without the recording's name for each fault, by the fault's name:

        - "silence": all samples are equal, or the loudest 0.1 s is below -75 dB; apart from "short", no other fault is
          named then
        - "short": shorter than `min_seconds`
        - "quiet": the loudest 0.1 s is below -50 dB
        - "clipping": more than 0.1 % of the samples are at full scale
        - "narrow band": no energy above 4 kHz, as in telephone speech that was sampled at 8 kHz
    """
    faults: dict[str, str] = {}
    if loudness.level < SILENCE_LEVEL:
        faults["silence"] = (
            f"silence, its loudest {BLOCK:g} s is at {loudness.level:.0f} dB of full scale"
            if loudness.level > -math.inf
            else f"silence, all samples are {'0' if loudness.peak == 0 else 'equal'}"
        )
    if loudness.seconds < min_seconds:
        faults["short"] = f"{loudness.seconds:.2f} s long, shorter than {min_seconds:g} s"
    if "silence" in faults:
        return faults
    if loudness.level < QUIET_LEVEL:
        faults["quiet"] = f"quiet, its loudest {BLOCK:g} s is at {loudness.level:.0f} dB of full scale"
    if loudness.clipped > CLIPPED_SHARE:
        faults["clipping"] = f"clipped, {loudness.clipped:.1%} of its samples are at full scale"
    if loudness.high_band < NARROW_BAND:
        faults["narrow band"] = "nothing above 4 kHz, it was sampled at 8 kHz once, as telephone speech is"
    return faults
