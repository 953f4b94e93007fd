"""How loud, long, clipped and wide-band a recording is, which tells whether comparing its speaker makes sense."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.fft import rfft, rfftfreq

# A sample counts as clipped from here on; the highest of 16 bits is 32767 / 32768.
FULL_SCALE = 0.9999
# Seconds of a block whose level is measured: about one syllable.
BLOCK = 0.1
# dB of full scale of the loudest block. 16-bit rounding noise alone is at -101 dB, speech at -40 to -5 dB.
SILENCE_LEVEL = -75.0
QUIET_LEVEL = -50.0
# Share of samples at full scale from which on a recording counts as clipped.
CLIPPED_SHARE = 0.001
# Seconds of speech below which a comparison of two recordings says little.
SHORT_SECONDS = 1.0
# dB of 5 to 7.8 kHz over 0.3 to 3.4 kHz. Speech sampled at 16 kHz has -35 to 5 dB; what was sampled at 8 kHz once has
# only rounding noise and the stop band of its resampling there, -60 dB and less.
NARROW_BAND = -50.0
LOW_BAND, HIGH_BAND = (300.0, 3400.0), (5000.0, 7800.0)
# What `judge_loudness` finds, said of many recordings at once.
FAULTS = {
    "silence": f"are silent (below {SILENCE_LEVEL:g} dB of full scale)",
    "short": f"are shorter than {SHORT_SECONDS:g} s",
    "quiet": f"are quiet (below {QUIET_LEVEL:g} dB of full scale)",
    "clipping": f"are clipped (more than {CLIPPED_SHARE:.1%} of the samples at full scale)",
    "narrow band": "have nothing above 4 kHz, as telephone speech",
}
# Samples of a spectrum, and how many spectra of a recording, evenly spread over it, are enough.
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
        Root mean square of the loudest 0.1 s after the mean of the recording was taken off, in dB of full scale (a sine
        of full scale: -3); -inf if all samples are equal.
    clipped : float
        Share of the samples at full scale.
    high_band : float
        Mean power density in 5 to 7.8 kHz over that in 0.3 to 3.4 kHz, in dB; NaN below a rate of 15.6 kHz and for
        silence, where there is nothing to compare.
    """

    seconds: float
    peak: float
    level: float
    clipped: float
    high_band: float


def measure_loudness(samples: np.ndarray, rate: int, bands: bool = True) -> Loudness:
    """Measure one recording or utterance; for ten seconds that takes two milliseconds.

    Parameters
    ----------
    samples : (samples,) float32 in [-1, 1]
        Finite, one channel: the one that is used, see `vouch.audio.reading.mix_channels`.
    rate : int
        In Hz.
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
    # The mean of equal samples may differ from them by rounding, which would be a level.
    if highest > lowest:
        level = _loudest_block(samples, max(1, round(BLOCK * rate)))
        high_band = _compare_bands(samples, rate) if bands else math.nan
    return Loudness(len(samples) / rate, peak, level, clipped, high_band)


def _loudest_block(samples: np.ndarray, size: int) -> float:
    """Return the level of the loudest block of so many samples in dB; what is left at the end is a block of its own."""
    mean = np.float32(samples.mean(dtype=np.float64))
    whole = len(samples) // size * size
    power = 0.0
    for blocks in (samples[:whole].reshape(-1, size), samples[whole:].reshape(1, -1)):
        # A rest of a few samples would be a level of its own accord, that of a click.
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
    """Say what speaks against a recording.

    Parameters
    ----------
    loudness : Loudness
        From `measure_loudness`.
    min_seconds : float
        A recording may not be shorter.

    Returns
    -------
    dict
        A sentence without the recording's name for each fault, by the fault's name:

        - "silence": all samples are equal, or the loudest 0.1 s is below -75 dB; there is nothing to compute from, and
          no other fault is named but "short"
        - "short": fewer than `min_seconds`
        - "quiet": the loudest 0.1 s is below -50 dB
        - "clipping": more than 0.1 % of the samples are at full scale
        - "narrow band": nothing above 4 kHz, so it was sampled at 8 kHz once, as telephone speech is
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
