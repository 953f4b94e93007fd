import math

import numpy as np
import pytest
from scipy.signal import resample_poly

from vouch.audio.loudness import judge_loudness, measure_loudness

RATE = 16000


def voice(seconds=2.0, rate=RATE, seed=0):
    """Noise whose spectrum falls by 20 dB from 0 to 8 kHz, in syllables, with 16 bits."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(round(seconds * rate))
    spectrum = np.fft.rfft(noise) * 10 ** -(np.fft.rfftfreq(len(noise), 1 / rate) / 8000)
    syllables = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * np.arange(len(noise)) / rate)
    return in_16_bits(0.1 * syllables * np.fft.irfft(spectrum, len(noise)))


def in_16_bits(samples):
    return (np.clip(np.round(samples * 32768), -32768, 32767) / 32768).astype(np.float32)


def faults(samples, rate=RATE, **options):
    return judge_loudness(measure_loudness(samples, rate), **options)


def test_speech_has_no_faults():
    assert faults(voice()) == {}


@pytest.mark.parametrize("value", [0.0, 0.1, -0.3, 1.0])
@pytest.mark.parametrize("length", [1, 1599, 1600, 40000])
def test_equal_samples_are_silence_whatever_their_value(value, length):
    measured = measure_loudness(np.full(length, value, np.float32), RATE)
    assert measured.level == -math.inf
    assert "silence, all samples are" in judge_loudness(measured)["silence"]


@pytest.mark.parametrize("offset", [0.0, 0.2])
def test_rounding_noise_is_silence_at_any_offset(offset):
    noise = np.random.default_rng(0).integers(-1, 2, 40000) / 32768 + offset
    assert list(faults(noise.astype(np.float32))) == ["silence"]


def test_one_word_in_minutes_of_zeros_is_no_silence():
    samples = np.zeros(120 * RATE, np.float32)
    samples[RATE : RATE + 8000] = voice(0.5)
    assert "silence" not in faults(samples)
    assert "quiet" not in faults(samples)


def test_the_level_is_that_of_the_loudest_tenth_of_a_second():
    """A sine's mean square is half of its squared amplitude: 20 lg a - 3.01 dB."""
    time = np.arange(2 * RATE) / RATE
    samples = (0.001 * np.sin(2 * np.pi * 100 * time)).astype(np.float32)
    assert measure_loudness(samples, RATE).level == pytest.approx(-63.01, abs=0.01)
    samples[4800:6400] *= 100
    assert measure_loudness(samples, RATE).level == pytest.approx(-23.01, abs=0.01)
    assert measure_loudness(samples[4800:5600], RATE).level == pytest.approx(-23.01, abs=0.01)


@pytest.mark.parametrize(("decibels", "found"), [(-20, set()), (-45, {"quiet"}), (-80, {"silence"})])
def test_quiet_and_silent(decibels, found):
    assert set(faults(voice() * np.float32(10 ** (decibels / 20)))) == found


def test_short_is_in_seconds_at_any_rate():
    assert faults(voice(0.9))["short"] == "0.90 s long, shorter than 1 s"
    assert "short" not in faults(voice(0.9), min_seconds=0.5)
    assert "short" in faults(voice(1.5, 8000), 16000)
    assert "short" not in faults(voice(1.5, 8000), 8000)
    assert set(faults(np.zeros(0, np.float32))) == {"silence", "short"}


@pytest.mark.parametrize("sign", [1, -1])
def test_clipping_counts_samples_at_full_scale(sign):
    samples = voice() * sign
    count = len(samples) // 100
    samples[:count] = 32767 / 32768 if sign > 0 else -1
    assert measure_loudness(samples, RATE).clipped == pytest.approx(0.01)
    assert faults(samples)["clipping"] == "clipped, 1.0% of its samples are at full scale"
    samples[20:count] = 0.5
    assert "clipping" not in faults(samples)


def test_what_was_sampled_at_8_khz_is_told_from_what_was_not():
    for seed in range(5):
        wide = voice(seed=seed)
        narrow = in_16_bits(resample_poly(resample_poly(wide, 1, 2), 2, 1))
        assert list(faults(narrow)) == ["narrow band"]
        assert faults(wide) == {}
        # At its own rate it is what it says.
        assert faults(in_16_bits(resample_poly(wide, 1, 2)), 8000) == {}


def test_bands_are_compared_by_their_power():
    """Two sines, each in one band, whose powers differ by 20 dB, in bands of 3100 and 2800 Hz."""
    time = np.arange(4 * RATE) / RATE
    samples = 0.1 * np.sin(2 * np.pi * 1000 * time) + 0.01 * np.sin(2 * np.pi * 6000 * time)
    measured = measure_loudness(samples.astype(np.float32), RATE)
    assert measured.high_band == pytest.approx(-20 + 10 * math.log10(3100 / 2800), abs=0.2)
