"""Reverberation against Kaldi's wav-reverberate, and against direct convolution."""

from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import torch

from vouch.augment.noise import noise_gain
from vouch.augment.reverb import (
    convolve,
    find_peaks,
    reverberate,
    reverberate_undelayed,
    scale_to_power,
    shift_back,
)

RATE = 16000
# What wav-reverberate was given, and what it made of it: 16-bit samples.
FILES = np.load(Path(__file__).parents[1] / "golden/kaldi_reverb.npz")
GOLDEN = {name: samples.astype(np.float64) for name, samples in FILES.items()}


def row(samples):
    return torch.from_numpy(np.asarray(samples, np.float64))[None]


def exactly(speech, response):
    return convolve(speech, response)


def with_kaldis_mistake(speech, response):
    """Kaldi takes (DC, Nyquist), which its transform packs into one number, for a complex number when it multiplies."""
    taps = response.shape[1]
    size = 1 << (4 * taps - 1).bit_length()
    step = size - taps + 1
    spectrum = np.fft.rfft(response[0].numpy(), size)
    samples = speech[0].numpy()
    out = np.zeros(len(samples) + taps - 1 + size)
    for start in range(0, len(samples), step):
        block = np.fft.rfft(samples[start : start + step], size)
        product = block * spectrum
        product[0] = block[0].real * spectrum[0].real - block[-1].real * spectrum[-1].real
        product[-1] = block[0].real * spectrum[-1].real + block[-1].real * spectrum[0].real
        out[start : start + size] += np.fft.irfft(product, size)
    return row(out[: len(samples) + taps - 1])


def wav_reverberate(
    convolved=exactly, response=False, shift=True, noises=(), repeated=0, normalize=True, volume=0.0, samples=0
):
    """The command, put together of the library's parts: int16 samples as it writes them, cut towards zero."""
    speech = row(GOLDEN["speech"])
    power = reference = speech.square().mean(dim=1)
    length, wet, delay = speech.shape[1], speech, torch.tensor([0])
    if response:
        room = row(GOLDEN["rir"] / 32768)
        wet, delay = convolved(speech, room), find_peaks(room)
        # The early part of a response tells the level of speech against noise: 1 ms before its peak to 50 ms behind it.
        early = room[:, max(0, int(delay) - RATE // 1000) : int(delay) + RATE // 20]
        reference = convolved(speech, early).square().mean(dim=1)
    for name, snr, start in noises:
        noise = row(np.resize(GOLDEN[name], repeated) if repeated else GOLDEN[name])
        gain = noise_gain(reference, noise.square().mean(dim=1), torch.tensor([float(snr)]))
        first = int(start * RATE)
        part = noise[:, : wet.shape[1] - first]
        wet = wet.clone()
        wet[:, first : first + part.shape[1]] += gain[:, None] * part
    if volume:
        wet = wet * volume
    elif normalize:
        wet = scale_to_power(wet, power, wet.shape[1])
    if samples:
        wet = row(np.resize(wet[0].numpy(), samples))
    elif shift:
        wet = shift_back(wet, delay, length)
    return np.clip(np.trunc(wet[0].numpy()), -32768, 32767)


CASES = {
    "rir": {"response": True},
    "rir_noshift": {"response": True, "shift": False},
    "noise": {"noises": [("noise1", 10, 0.0), ("noise2", 15, 0.8)]},
    "rir_noise": {"response": True, "noises": [("noise1", 3, 0.25)]},
    "nonorm": {"noises": [("noise1", 0, 0.0)], "normalize": False},
    "volume": {"response": True, "volume": 0.3},
    "babble": {"noises": [("noise1", 20, 0.0), ("noise2", 17, 0.0)], "repeated": int(3.1 * RATE)},
    "dur_long": {"samples": int(9.5 * RATE)},
    "dur_short": {"samples": int(0.7 * RATE)},
}


@pytest.mark.parametrize("name", CASES)
def test_wav_reverberate(name):
    """To one step of 16 bits; where there is a response, once the convolution makes Kaldi's mistake."""
    expected = GOLDEN[f"out_{name}"]
    found = wav_reverberate(with_kaldis_mistake, **CASES[name])[: len(expected)]
    if name == "rir_noshift":  # what follows the waveform's length is its beginning, not the tail
        expected = expected[: len(GOLDEN["speech"])]
        found = found[: len(expected)]
    difference = np.abs(found - expected)
    assert difference.max() <= (2 if CASES[name].get("response") else 1)
    assert np.mean(difference == 0) > 0.98


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.get("response")])
def test_without_its_mistake(name):
    expected = GOLDEN[f"out_{name}"][: len(GOLDEN["speech"])]
    difference = wav_reverberate(**CASES[name])[: len(expected)] - expected
    assert np.abs(difference).max() <= 64
    assert 10 * np.log10(np.sum(expected**2) / np.sum(difference**2)) > 35


def batch(rows, samples, seed, scale=0.1):
    return scale * torch.randn(rows, samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("samples", "taps"), [(1, 1), (2, 5), (1000, 1), (1000, 37), (500, 1700), (4001, 4000)])
def test_convolution_of_a_batch(samples, taps):
    waves, responses = batch(3, samples, 0), batch(3, taps, 1)
    found = convolve(waves, responses)
    expected = [np.convolve(x, h) for x, h in zip(waves.double().numpy(), responses.double().numpy(), strict=True)]
    np.testing.assert_allclose(found.numpy(), expected, atol=3e-7 * taps**0.5, rtol=1e-5)


def rooms(rows, seed=0):
    """Responses of several lengths with a peak after some silence, zeros behind each."""
    rng = np.random.default_rng(seed)
    taps = rng.integers(200, 3000, rows)
    responses = np.zeros((rows, taps.max()), np.float32)
    for number, length in enumerate(taps):
        decay = np.exp(-np.arange(length - 50) / 300) * rng.standard_normal(length - 50)
        responses[number, 50:length] = 0.3 * decay
        responses[number, 50 + rng.integers(20)] = 2.0
    return torch.from_numpy(responses), torch.from_numpy(taps)


def test_reverberate_row_by_row():
    """By the definition, with scipy's direct convolution in double precision."""
    waves, (responses, taps) = batch(5, 6000, 2), rooms(5)
    found = reverberate(waves, responses, taps)
    for wave, response, length, result in zip(waves, responses, taps.tolist(), found, strict=True):
        wave, response = wave.double().numpy(), response[:length].double().numpy()
        wet = scipy.signal.convolve(wave, response, method="direct")
        wet *= np.sqrt(np.mean(wave**2) / np.mean(wet**2))
        peak = int(np.argmax(response))
        np.testing.assert_allclose(result.numpy(), wet[peak : peak + len(wave)], atol=1e-6)


def test_reverberate_undelayed_row_by_row():
    waves, (responses, taps) = batch(5, 1500, 3), rooms(5)
    found = reverberate_undelayed(waves, responses)
    for wave, response, length, result in zip(waves, responses, taps.tolist(), found, strict=True):
        response = response[:length].double().numpy()
        wet = scipy.signal.convolve(wave.double().numpy(), response / np.linalg.norm(response), method="direct")
        np.testing.assert_allclose(result.numpy(), wet[: len(wave)], atol=1e-6)


def test_silence_stays_silent_and_disturbs_no_other():
    waves, (responses, taps) = batch(3, 1000, 4), rooms(3)
    waves[1] = 0
    for wet in (reverberate(waves, responses, taps), reverberate_undelayed(waves, responses)):
        assert not wet[1].any() and wet[[0, 2]].isfinite().all() and wet[[0, 2]].any(dim=1).all()


def test_an_impulse_changes_the_level_alone():
    """Which is that of a signal as much longer as the response."""
    waves = batch(2, 800, 5)
    responses = torch.zeros(2, 40)
    responses[0, 0], responses[1, 17] = 1.0, 0.25
    found = reverberate(waves, responses, torch.tensor([40, 40]))
    torch.testing.assert_close(found, waves * (839 / 800) ** 0.5, atol=1e-6, rtol=0)
