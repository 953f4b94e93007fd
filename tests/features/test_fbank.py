"""Kaldi's filterbanks: against the vectors of Kaldi's own program and against the formula written out slowly."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from vouch.base.errors import VouchError
from vouch.features import frames
from vouch.features.config import FrontEndConfig
from vouch.features.fbank import Fbank

# Made by running Kaldi's compute-fbank-feats with dither 0.
GOLDEN = np.load(Path(__file__).parents[1] / "golden/kaldi_fbank.npz")
SETS = {
    "fbank40_sniptrue": {"num_mel_bins": 40, "snip_edges": True},
    "fbank40_snipfalse": {"num_mel_bins": 40},
    "fbank80_sniptrue": {"num_mel_bins": 80, "snip_edges": True},
    "fbank80_snipfalse": {"num_mel_bins": 80},
    "nodc_nopre": {"num_mel_bins": 40, "snip_edges": True, "remove_dc_offset": False, "preemphasis": 0.0},
    "hamming": {"num_mel_bins": 40, "snip_edges": True, "window_type": "hamming"},
    "hanning": {"num_mel_bins": 40, "snip_edges": True, "window_type": "hanning"},
    "rect": {"num_mel_bins": 40, "snip_edges": True, "window_type": "rectangular"},
    "negband": {"num_mel_bins": 64, "snip_edges": True, "low_freq": 64.0, "high_freq": -400.0},
    "frame20": {"num_mel_bins": 40, "snip_edges": True, "frame_length": 20.0, "frame_shift": 12.5},
    "tel8k": {"num_mel_bins": 40, "snip_edges": True, "sample_rate": 8000},
}


def features_of(feature: Fbank, wave: np.ndarray) -> np.ndarray:
    return feature(torch.from_numpy(wave.astype(np.float32) / 32768)[None])[0].numpy()


@pytest.mark.parametrize("name", SETS)
def test_equals_kaldi(name):
    feature = Fbank(**SETS[name])
    keys = [key for key in GOLDEN if key.startswith(f"{name}/")]
    assert keys
    for key in keys:
        expected, got = GOLDEN[key], features_of(feature, GOLDEN[f"wav/{key.split('/')[1]}"])
        if not expected.size:
            assert len(got) == 0, key
            continue
        assert got.shape == expected.shape, key
        # Single-precision transforms leave noise far below the loudest band of a frame.
        below = expected.max(axis=1, keepdims=True) - expected
        difference = np.abs(got - expected)
        assert difference[below <= 10].max() <= 1e-3, key
        assert difference.max() <= 0.3, key
        assert np.median(difference) <= 1e-4, key


def slow_fbank(wave, bins, snip, window="povey", preemphasis=0.97, remove_dc=True, low=20.0, rate=16000):
    """Frame by frame and bin by bin, in double precision, from Kaldi's definition."""
    size, shift, fft = 400, 160, 512
    count = (1 + (len(wave) - size) // shift if len(wave) >= size else 0) if snip else (len(wave) + shift // 2) // shift
    mel = lambda f: 1127 * math.log(1 + f / 700)  # noqa: E731
    step = (mel(rate / 2) - mel(low)) / (bins + 1)
    rows = []
    for t in range(count):
        start = t * shift if snip else t * shift + shift // 2 - size // 2
        frame = []
        for i in range(start, start + size):
            while not 0 <= i < len(wave):
                i = -i - 1 if i < 0 else 2 * len(wave) - 1 - i
            frame.append(float(wave[i]))
        frame = np.array(frame)
        if remove_dc:
            frame = frame - frame.mean()
        frame = np.append(frame[0] * (1 - preemphasis), frame[1:] - preemphasis * frame[:-1])
        angle = 2 * np.pi * np.arange(size) / (size - 1)
        shapes = {"povey": (0.5 - 0.5 * np.cos(angle)) ** 0.85, "hamming": 0.54 - 0.46 * np.cos(angle)}
        power = np.abs(np.fft.fft(frame * shapes[window], fft)) ** 2
        row = []
        for b in range(bins):
            left, centre, right = (mel(low) + (b + k) * step for k in range(3))
            total = 0.0
            for k in range(fft // 2):
                m = mel(k * rate / fft)
                if left < m < right:
                    total += power[k] * ((m - left) / step if m <= centre else (right - m) / step)
            row.append(math.log(max(total, 2.0**-23)))
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize(
    ("length", "snip", "window", "preemphasis", "remove_dc"),
    [
        (1000, False, "povey", 0.97, True),
        (2345, True, "hamming", 0.97, True),
        (1700, False, "hamming", 0.5, False),
        (90, False, "povey", 0.97, True),
    ],
)
def test_equals_the_formula(length, snip, window, preemphasis, remove_dc):
    rng = np.random.default_rng(length)
    wave = (3000 * rng.standard_normal(length) + 500).astype(np.int16)
    feature = Fbank(
        num_mel_bins=23, snip_edges=snip, window_type=window, preemphasis=preemphasis, remove_dc_offset=remove_dc
    )
    expected = slow_fbank(wave, 23, snip, window, preemphasis, remove_dc)
    np.testing.assert_allclose(features_of(feature, wave), expected, atol=2e-3)


@pytest.mark.parametrize("level", [0.1, 1e-5])
def test_samples_of_amplitude_one(level):
    """Kaldi's formula on samples as torchaudio reads them: quiet bands then rest on the floor under the logarithm."""
    wave = (level * np.random.default_rng(5).standard_normal(1500)).astype(np.float32)
    expected = slow_fbank(wave, 23, snip=True)
    got = Fbank(num_mel_bins=23, snip_edges=True, input_scale=1.0)(torch.from_numpy(wave)[None])[0].numpy()
    np.testing.assert_allclose(got, expected, atol=2e-3)
    assert (expected == math.log(2.0**-23)).any() == (level == 1e-5)


def test_energy_and_dither_belong_to_the_scaled_samples():
    wave = 0.1 * torch.randn(1, 4000, generator=torch.Generator().manual_seed(3))
    frame = wave[0, :400].double() - wave[0, :400].double().mean()
    for scale in (1.0, 32768.0):
        options = {"num_mel_bins": 20, "snip_edges": True, "use_energy": True, "input_scale": scale}
        energy = float(Fbank(**options)(wave)[0, 0, 0])
        assert energy == pytest.approx(float((scale * frame).square().sum().log()), abs=1e-4)
        floored = Fbank(**options, energy_floor=1e12)(wave)[0, 0, 0]
        assert float(floored) == pytest.approx(math.log(1e12), abs=1e-4)
        noisy, silence = Fbank(**options, dither=1.0), torch.zeros(1, 16000)
        generator = torch.Generator().manual_seed(0)
        assert float(noisy(silence, generator)[..., 0].exp().mean()) == pytest.approx(400, rel=0.05)


def test_a_batch_is_its_utterances_one_by_one():
    waves = 0.1 * torch.randn(3, 5000, generator=torch.Generator().manual_seed(0))
    feature = Fbank(num_mel_bins=40)
    together = feature(waves)
    for row in range(3):
        torch.testing.assert_close(together[row], feature(waves[row : row + 1])[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("stretch", [1, 7, 31, 1000])
@pytest.mark.parametrize("snip", [True, False])
def test_long_signals_in_blocks_are_the_same(monkeypatch, stretch, snip):
    wave = 0.1 * torch.randn(1, 40000, generator=torch.Generator().manual_seed(1))
    feature = Fbank(num_mel_bins=40, use_energy=True, window_type="hamming", snip_edges=snip)
    whole = feature(wave)
    monkeypatch.setattr(frames, "BLOCK_FRAMES", 7)
    monkeypatch.setattr(frames, "STRETCH_FRAMES", stretch)
    torch.testing.assert_close(feature(wave), whole, atol=1e-5, rtol=0)


def test_the_input_is_left_alone():
    wave = 0.1 * torch.randn(1, 4000, generator=torch.Generator().manual_seed(2))
    copy = wave.clone()
    Fbank()(wave)
    assert torch.equal(wave, copy)


@pytest.mark.parametrize("snip", [True, False])
@pytest.mark.parametrize("length", [0, 1, 79, 80, 239, 240, 399, 400, 401, 560, 16000])
def test_frame_count(length, snip):
    feature = Fbank(num_mel_bins=20, snip_edges=snip)
    assert feature(torch.zeros(1, length)).shape == (1, feature.output_length(length), 20)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"type": "fbnk"}, "did you mean 'fbank'"),
        ({"type": "fbank", "num_mel_bin": 40}, "did you mean 'num_mel_bins'"),
        ({"num_mel_bins": 40}, "needs 'type'"),
        ({"type": "fbank", "num_mel_bins": "many"}, "not of type int"),
        ({"type": "fbank", "window_type": "hammming"}, "did you mean 'hamming'"),
        ({"type": "fbank", "num_mel_bins": 500}, "too large"),
        ({"type": "fbank", "low_freq": 9000.0}, "low_freq"),
        ({"type": "fbank", "frame_shift": 0.0}, "must be positive"),
    ],
)
def test_errors_name_the_mistake(options, message):
    with pytest.raises(VouchError, match=message):
        FrontEndConfig.from_dict(options).build()


def test_a_resolved_configuration_builds_the_same_feature():
    resolved = FrontEndConfig.from_dict({"type": "fbank", "num_mel_bins": 24, "high_freq": "7600"})
    assert resolved.options["high_freq"] == 7600.0
    assert FrontEndConfig.from_dict(resolved.as_dict()) == resolved
    assert resolved.build().dim == 24
