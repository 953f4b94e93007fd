"""Codecs through PyAV, compared with what went in."""

import numpy as np
import pytest
import torch

from vouch.augment.base import as_tensors
from vouch.augment.codec import FORMATS, Codec, align
from vouch.augment.config import AugmentConfig
from vouch.base.errors import VouchError

RATE = 16000


def speech(seconds=1.5):
    """Harmonics of a voice, in syllables."""
    time = np.arange(int(RATE * seconds)) / RATE
    voice = sum(np.sin(2 * np.pi * 140 * number * time + number) / number for number in range(1, 20))
    return (0.1 * voice * (0.2 + np.abs(np.sin(2 * np.pi * 2.5 * time)))).astype(np.float32)


def coded(wave, **options):
    effect = Codec(**options)
    drawn = as_tensors(effect.draw(np.random.default_rng(0), 1, len(wave)))
    return effect.apply(torch.from_numpy(wave)[None], drawn)[0].numpy()


@pytest.mark.parametrize("name", FORMATS)
def test_what_a_codec_leaves_of_speech(name):
    """The same speech, at its place and level, with an error that falls with the bit rate."""
    pytest.importorskip("av")
    wave = speech()
    low, high = (coded(wave, formats=[name], kbps=[kbps, kbps]) for kbps in (16, 48))
    assert low.shape == wave.shape and low.dtype == np.float32
    error = [10 * np.log10(np.mean((each - wave) ** 2) / np.mean(wave**2)) for each in (low, high)]
    assert -60 < error[1] < -8, error
    assert name == "g722" or error[1] < error[0]
    assert np.array_equal(low, coded(wave, formats=[name], kbps=[16, 16]))
    assert not coded(np.zeros(RATE, np.float32), formats=[name]).any()
    loud = coded(5 * wave / np.abs(wave).max(), formats=[name], kbps=[48, 48])
    assert 3 < np.abs(loud).max() < 7


@pytest.mark.parametrize("delay", [-90, 0, 5, 700])
def test_a_delay_is_found(delay):
    wave = np.random.default_rng(0).integers(-3000, 3000, 4000).astype(np.int16)
    late = np.concatenate([np.zeros(max(0, delay), np.int16), wave[max(0, -delay) :]])
    expected = wave.copy()
    expected[: max(0, -delay)] = 0
    np.testing.assert_array_equal(align(late, wave, 800), expected)


def test_what_no_codec_can_do():
    with pytest.raises(VouchError, match="for copies"):
        AugmentConfig.from_dict({"waveform": {"codec": {}}})
    pytest.importorskip("av")
    with pytest.raises(VouchError, match=r"unknown format of codec 'opu' \(did you mean 'opus'"):
        Codec(["opu"])
    with pytest.raises(VouchError, match="for 16000 Hz, not 8000"):
        Codec(["g722"], sample_rate=8000)


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(VouchError, match="needs PyAV, which is not installed: pip install av"):
        Codec(["mp3"])


@pytest.mark.parametrize("name", FORMATS)
def test_short_waveforms_end_in_samples_or_in_one_line(name):
    pytest.importorskip("av")
    for samples in (1, 30, 400, 900, 950, 1000, 1100, 1569):
        wave = speech()[:samples]
        try:
            assert coded(wave, formats=[name]).shape == wave.shape
        except VouchError as error:
            assert f"{samples} samples cannot be coded as {name}" in str(error)
