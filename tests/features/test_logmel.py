"""Mel front ends: against vectors of the programs they equal, and against the formulas written out slowly."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from vouch.base.errors import VouchError
from vouch.features import logmel
from vouch.features.config import FrontEndConfig
from vouch.features.logmel import LogMel
from vouch.features.mel import triangles

GOLDEN = Path(__file__).parents[1] / "golden"
# Made by running the front ends of voxceleb_trainer; normalised ones over the whole utterance, `frames` of them kept.
VOXCELEB_TRAINER = np.load(GOLDEN / "voxceleb_trainer_frontend.npz")
# Made by running the feature extraction of a GE2E code base; of those of `wave`, `frames` are kept.
GE2E = np.load(GOLDEN / "ge2e_features.npz")
FRONT_ENDS = {"ResNetSE34L": {}, "ResNetSE34V2": {"preemphasis": 0.97}, "VGGVox": {"window_type": "hann"}}
GE2E_OPTIONS = {"window_type": "hann", "mel_scale": "slaney", "mel_norm": "area", "log": "log10"}


def noise(*shape, seed=0):
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", [name for name in VOXCELEB_TRAINER.files if "_mel" in name])
def test_equals_voxceleb_trainer(name):
    model, bands, kind = name.split("_")[:3]
    log = "natural" if kind == "log" else "none"
    feature = LogMel(num_mel_bins=int(bands.removeprefix("mel")), log=log, **FRONT_ENDS[model])
    got = feature(torch.from_numpy(VOXCELEB_TRAINER["wave"])).transpose(1, 2)
    if kind == "power":
        np.testing.assert_allclose(got[..., :8], VOXCELEB_TRAINER[name], rtol=1e-4, atol=1e-9)
    else:
        got = torch.nn.functional.instance_norm(got, eps=1e-5)[..., VOXCELEB_TRAINER["frames"]]
        np.testing.assert_allclose(got, VOXCELEB_TRAINER[name], atol=2e-4)


@pytest.mark.parametrize(("padding", "name"), [("reflect", "logmel_reflect"), ("zeros", "logmel_constant")])
def test_equals_ge2e(padding, name):
    got = LogMel(padding=padding, **GE2E_OPTIONS)(torch.from_numpy(GE2E["wave"])[None])[0].T
    assert got.shape == (40, 251)
    np.testing.assert_allclose(got[:, GE2E["frames"]], GE2E[name], atol=2e-5)


def test_equals_ge2e_at_8_khz():
    got = LogMel(sample_rate=8000, **GE2E_OPTIONS)(torch.from_numpy(GE2E["wave_8k"])[None])[0].T
    np.testing.assert_allclose(got, GE2E["logmel_8k_reflect"], atol=2e-5)


def test_slaney_triangles():
    weights = triangles(40, 512, 16000, 0, 8000, "slaney", "area")
    np.testing.assert_allclose(weights.T, GE2E["mel_basis_40_512_16k"], rtol=1e-4, atol=1e-8)


HZ_OF_MEL = {
    "htk": lambda mel: 700 * (10 ** (mel / 2595) - 1),
    "slaney": lambda mel: mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27),
}
TOP_MEL = {"htk": 2595 * math.log10(1 + 8000 / 700), "slaney": 15 + 27 * math.log(8) / math.log(6.4)}


def slow_logmel(wave, bands, n_fft, window, padding, preemphasis, scale, area, power, log, offset):
    """Frame by frame and band by band, in double precision, with 25 ms every 10 ms at 16 kHz up to 8 kHz."""
    wave = np.asarray(wave, np.float64)
    before = np.pad(wave, (1, 0), "reflect")[:-1]
    wave = wave - preemphasis * before
    if padding != "none":
        wave = np.pad(wave, n_fft // 2, "reflect" if padding == "reflect" else "constant")
    cosine = np.cos(2 * np.pi * np.arange(400) / 400)
    shape = np.zeros(n_fft)
    shape[(n_fft - 400) // 2 :][:400] = {"hann": 0.5 - 0.5 * cosine, "hamming": 0.54 - 0.46 * cosine}[window]
    rows = []
    for start in range(0, len(wave) - n_fft + 1, 160):
        spectrum = np.abs(np.fft.fft(wave[start : start + n_fft] * shape)[: n_fft // 2 + 1]) ** power
        row = [] if bands else list(spectrum)
        for band in range(bands or 0):
            left, centre, right = (HZ_OF_MEL[scale](TOP_MEL[scale] * (band + k) / (bands + 1)) for k in range(3))
            total = 0.0
            for point, value in enumerate(spectrum):
                hz = point * 16000 / n_fft
                if left < hz < right:
                    side = (hz - left) / (centre - left) if hz <= centre else (right - hz) / (right - centre)
                    total += value * side * (2 / (right - left) if area else 1)
            row.append(total)
        rows.append(row)
    energies = np.array(rows)
    return energies if log is None else log(energies + offset)


@pytest.mark.parametrize(
    ("length", "bands", "n_fft", "window", "padding", "preemphasis", "scale", "norm", "spectrum", "log", "offset"),
    [
        (2000, 40, 512, "hamming", "reflect", 0.0, "htk", "none", "power", "natural", 1e-6),
        (2000, 64, 512, "hamming", "reflect", 0.97, "htk", "none", "power", "natural", 1e-6),
        (1600, 23, 512, "hann", "zeros", 0.9, "slaney", "none", "power", "log10", 1e-3),
        (1999, 40, 400, "hann", "reflect", 0.0, "slaney", "area", "power", "none", 0.0),
        (2000, None, 512, "hann", "none", 0.0, "htk", "none", "magnitude", "natural", 0.0),
        (513, None, 512, "hamming", "none", 0.97, "htk", "none", "magnitude", "none", 0.0),
        (1280, 30, 401, "hamming", "reflect", 0.5, "htk", "area", "magnitude", "natural", 1e-6),
        (257, 40, 512, "hann", "reflect", 0.97, "htk", "none", "power", "natural", 1e-6),
        (256, 40, 512, "hann", "reflect", 0.97, "htk", "none", "power", "natural", 1e-6),
        (160, 40, 512, "hann", "reflect", 0.97, "htk", "none", "power", "natural", 1e-6),
        (7, 40, 512, "hann", "reflect", 0.97, "htk", "none", "power", "natural", 1e-6),
        (2, 40, 512, "hann", "reflect", 0.97, "htk", "none", "power", "natural", 1e-6),
        (1, 40, 512, "hann", "reflect", 0.97, "htk", "none", "power", "natural", 1e-6),
        (1, 40, 512, "hann", "zeros", 0.97, "htk", "none", "power", "natural", 1e-6),
    ],
)
def test_equals_the_formula(
    length, bands, n_fft, window, padding, preemphasis, scale, norm, spectrum, log, offset, monkeypatch
):
    wave = noise(1, length, seed=length)
    feature = LogMel(
        num_mel_bins=bands,
        n_fft=n_fft,
        window_type=window,
        padding=padding,
        preemphasis=preemphasis,
        mel_scale=scale,
        mel_norm=norm,
        spectrum=spectrum,
        log=log,
        log_offset=offset,
    )
    function = {"natural": np.log, "log10": np.log10, "none": None}[log]
    power = 1 if spectrum == "magnitude" else 2
    expected = slow_logmel(
        wave[0], bands, n_fft, window, padding, preemphasis, scale, norm == "area", power, function, offset
    )
    got = feature(wave)[0]
    assert got.shape == expected.shape == (feature.output_length(length), feature.dim)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    # One frame at a time: every edge is met alone.
    monkeypatch.setattr(logmel, "BLOCK_FRAMES", 1)
    torch.testing.assert_close(feature(wave)[0], got, atol=1e-5, rtol=1e-5)


def test_long_signals_in_blocks_are_the_same(monkeypatch):
    wave = noise(2, 40000, seed=1)
    feature = LogMel(preemphasis=0.97)
    whole = feature(wave)
    monkeypatch.setattr(logmel, "BLOCK_FRAMES", 7)
    torch.testing.assert_close(feature(wave), whole, atol=1e-5, rtol=0)


def test_a_batch_is_its_utterances_one_by_one():
    waves = noise(3, 5000)
    feature = LogMel(preemphasis=0.97)
    together = feature(waves)
    for row in range(3):
        torch.testing.assert_close(together[row], feature(waves[row : row + 1])[0], atol=1e-5, rtol=0)


def test_the_input_is_left_alone():
    wave = noise(1, 4000)
    copy = wave.clone()
    LogMel(preemphasis=0.97, log="none")(wave)
    LogMel(num_mel_bins=None, padding="none", spectrum="magnitude")(wave)
    assert torch.equal(wave, copy)


@pytest.mark.parametrize(("padding", "extra"), [("reflect", 256), ("zeros", 256), ("none", 0)])
@pytest.mark.parametrize("length", [0, 1, 159, 160, 256, 257, 511, 512, 671, 672, 16000])
def test_frame_count(length, padding, extra):
    feature = LogMel(num_mel_bins=20, padding=padding)
    assert feature(torch.zeros(2, length)).shape == (2, feature.output_length(length), 20)
    starts = [start for start in range(0, length + 2 * extra, 160) if start + 512 <= length + 2 * extra]
    assert feature.output_length(length) == (len(starts) if length else 0)


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({}, math.log(1e-6)),
        ({"log": "log10"}, -6),
        ({"log": "none"}, 0),
        ({"num_mel_bins": None, "spectrum": "magnitude", "log_offset": 0.0}, math.log(2**-126)),
    ],
)
def test_silence_is_finite(options, value):
    features = LogMel(**options)(torch.zeros(1, 4000))
    torch.testing.assert_close(features, torch.full_like(features, value))


def test_input_scale_is_that_of_the_samples():
    samples = (1000 * noise(1, 4000)).round()
    scaled = LogMel(input_scale=32768.0, preemphasis=0.97)(samples / 32768)
    torch.testing.assert_close(scaled, LogMel(preemphasis=0.97)(samples), atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", [{}, {"type": "fbank"}])
def test_autocast_costs_no_digits(options):
    wave = noise(1, 8000)
    feature = FrontEndConfig.from_dict({"type": "logmel", **options}).build()
    with torch.autocast("cpu", torch.bfloat16):
        got = feature(wave)
    assert torch.equal(got, feature(wave))


@pytest.mark.parametrize(("spectrum", "order"), [("power", 2), ("magnitude", 1)])
@pytest.mark.parametrize("bands", [40, None])
def test_gradients_are_right_although_steps_are_done_in_place(spectrum, order, bands):
    """A logarithm of something of that order in the samples: by Euler, each feature adds the order to <gradient, x>."""
    feature = LogMel(num_mel_bins=bands, spectrum=spectrum, preemphasis=0.97, log_offset=0.0)
    wave = noise(1, 1000).requires_grad_()
    features = feature(wave)
    features.sum().backward()
    assert (wave.grad * wave.detach()).sum() == pytest.approx(order * features.numel(), rel=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"type": "log_mel"}, "did you mean 'logmel'"),
        ({"num_mel_bin": 40}, "did you mean 'num_mel_bins'"),
        ({"num_mel_bins": "all"}, "not of type int"),
        ({"num_mel_bins": 0}, "num_mel_bins must be from 1 to 1024, not 0"),
        ({"num_mel_bins": 500}, "num_mel_bins 500 is too large"),
        ({"window_type": "han"}, "did you mean 'hann'"),
        ({"padding": "zero"}, "did you mean 'zeros'"),
        ({"mel_scale": "slany"}, "did you mean 'slaney'"),
        ({"mel_norm": "slaney"}, "mel_norm 'slaney'"),
        ({"log": "log2"}, "did you mean 'log10'"),
        ({"spectrum": "powr"}, "did you mean 'power'"),
        ({"low_freq": 9000.0}, "low_freq"),
        ({"high_freq": 9000.0}, "high_freq"),
        ({"n_fft": 256}, "frame_length 25 ms and frame_shift 10 ms are 400 and 160 samples; needs 2 to n_fft = 256"),
        ({"frame_shift": 0.0}, "at least 1"),
        ({"input_scale": 0.0}, "input_scale must be positive"),
        ({"log_offset": -1.0}, "log_offset not negative"),
        ({"mel_falling": "miror"}, "did you mean 'mirror'"),
        ({"log_floor": -1.0}, "log_floor must not be negative"),
        ({"dynamic_range": 0.0}, "dynamic_range must be positive"),
    ],
)
def test_errors_name_the_mistake(options, message):
    with pytest.raises(VouchError, match=message):
        FrontEndConfig.from_dict({"type": "logmel", **options}).build()


def test_a_resolved_configuration_builds_the_same_feature():
    resolved = FrontEndConfig.from_dict({"type": "logmel", "num_mel_bins": None, "log_offset": "1e-9"})
    assert (resolved.options["num_mel_bins"], resolved.options["log_offset"]) == (None, 1e-9)
    assert FrontEndConfig.from_dict(resolved.as_dict()) == resolved
    assert resolved.build().dim == 257
    assert not resolved.build().state_dict()
