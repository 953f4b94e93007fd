"""The front ends of conf/features: that each is what its comment says."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vouch.base.errors import VouchError
from vouch.base.options import read_yaml
from vouch.features.compute import compute
from vouch.features.config import FrontEndConfig

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden"
FILES = sorted((ROOT / "conf/features").glob("*.yaml"))


def configured(name):
    return FrontEndConfig.from_dict(read_yaml(ROOT / f"conf/features/{name}.yaml")).build()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file(path):
    """Says what it is, builds, and gives finite features of the dimension in its name, whatever the length."""
    assert path.read_text().startswith("# ")
    feature = FrontEndConfig.from_dict(read_yaml(path)).build()
    digits = "".join(letter for letter in path.stem[-3:] if letter.isdigit())
    assert feature.dim == int(digits or 1)
    rng = np.random.default_rng(0)
    for samples in (0.1 * rng.standard_normal(8000), np.zeros(8000), np.eye(1, 700)[0]):
        features = compute(feature, samples.astype(np.float32))
        assert features.shape == (feature.output_length(len(samples)), *feature.step_shape)
        assert features.dtype == np.float32
        assert np.isfinite(features).all()


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("voxceleb_trainer40", "ResNetSE34L_mel40_log"),
        ("voxceleb_trainer64", "ResNetSE34V2_mel64_log"),
        ("vggvox40", "VGGVox_mel40_log"),
    ],
)
def test_equals_voxceleb_trainer(name, reference):
    golden = np.load(GOLDEN / "voxceleb_trainer_frontend.npz")
    features = configured(name)(torch.from_numpy(golden["wave"])).transpose(1, 2)
    normalised = torch.nn.functional.instance_norm(features, eps=1e-5)
    np.testing.assert_allclose(normalised[..., golden["frames"]], golden[reference], atol=2e-4)


def test_equals_ge2e():
    golden = np.load(GOLDEN / "ge2e_features.npz")
    features = configured("ge2e40")(torch.from_numpy(golden["wave"])[None])[0].T
    np.testing.assert_allclose(features[:, golden["frames"]], golden["logmel_reflect"], atol=2e-5)


def test_equals_resemblyzer():
    """Power under area-normalised triangles, frame by frame: no logarithm, 400 points, zeros beyond the ends."""
    rng = np.random.default_rng(1)
    wave = 0.1 * rng.standard_normal(1600)
    features = configured("resemblyzer40")(torch.from_numpy(wave.astype(np.float32))[None])[0]
    padded = np.pad(wave, 200)
    corner_mels = np.linspace(0, 15 + 27 * np.log(8) / np.log(6.4), 42)
    corners = np.where(corner_mels < 15, corner_mels * 200 / 3, 1000 * 6.4 ** ((corner_mels - 15) / 27))
    hz = 40.0 * np.arange(201)
    assert features.shape == (11, 40)
    for frame in range(11):
        window = np.sin(np.pi * np.arange(400) / 400) ** 2
        power = np.abs(np.fft.fft(padded[160 * frame : 160 * frame + 400] * window)[:201]) ** 2
        for band in range(40):
            left, centre, right = corners[band : band + 3]
            triangle = np.interp(hz, [left, centre, right], [0, 1, 0]) * 2 / (right - left)
            assert features[frame, band] == pytest.approx(triangle @ power, rel=1e-4)


def test_resnetse34_sees_magnitudes():
    rng = np.random.default_rng(2)
    wave = 0.1 * rng.standard_normal(1000)
    features = configured("resnetse34_257")(torch.from_numpy(wave.astype(np.float32))[None])[0]
    assert features.shape == (1 + (1000 - 512) // 160, 257)
    window = np.pad(np.sin(np.pi * np.arange(400) / 400) ** 2, 56)
    for frame in range(len(features)):
        expected = np.abs(np.fft.fft(wave[160 * frame : 160 * frame + 512] * window)[:257])
        np.testing.assert_allclose(features[frame], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("level", [0.3, 1e-4])
def test_speechbrain_by_its_description(level):
    """Band by band in double precision: triangles as wide to the right as to the left, decibels, 80 below the peak."""
    rng = np.random.default_rng(3)
    wave = level * rng.standard_normal(1700) * np.repeat([1.0, 1e-6], [800, 900])
    features = configured("speechbrain80")(torch.from_numpy(wave.astype(np.float32))[None])[0]
    hz = 40.0 * np.arange(201)
    corners = 700 * (10 ** (np.linspace(0, np.log10(1 + 8000 / 700), 82)) - 1)
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 400)
    padded = np.pad(wave.astype(np.float32), 200)
    expected = np.zeros((11, 80))
    for frame in range(11):
        power = np.abs(np.fft.fft(padded[160 * frame : 160 * frame + 400] * window)[:201]) ** 2
        for band in range(80):
            width = corners[band + 1] - corners[band]
            triangle = np.maximum(0, 1 - np.abs(hz - corners[band + 1]) / width)
            expected[frame, band] = 10 * np.log10(max(triangle @ power, 1e-10))
    raised = np.maximum(expected, expected.max() - 80)
    # The loud case meets the limit of the range, the quiet one the floor under the logarithm.
    assert (raised > expected).any() == (level == 0.3)
    assert (raised == -100).any() == (level == 1e-4)
    np.testing.assert_allclose(features, raised, rtol=0, atol=2e-3)


def test_3dspeaker_is_kaldi_on_samples_of_amplitude_one():
    """Where no band is near the floor, logarithms of Kaldi's own vectors less twice that of 32768."""
    golden = np.load(GOLDEN / "kaldi_fbank.npz")
    feature, compared = configured("3dspeaker80"), 0
    for key in [key for key in golden.files if key.startswith("fbank80_sniptrue/") and golden[key].size]:
        samples = golden[f"wav/{key.split('/')[1]}"].astype(np.float32) / 32768
        got = feature(torch.from_numpy(samples)[None])[0].numpy()
        expected = np.maximum(golden[key] - 2 * np.log(32768), np.log(2.0**-23))
        assert got.shape == expected.shape
        assert np.median(np.abs(got - expected)) <= 1e-4
        compared += int((expected > np.log(2.0**-23)).sum())
    assert compared > 1000


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "fbank", "sample_rate": 300_000_000}, "sample_rate must be from 1 to 1000000 Hz, not 300000000"),
        ({"type": "mfcc", "sample_rate": 300_000_000}, "sample_rate must be from 1 to"),
        ({"type": "logmel", "sample_rate": 300_000_000}, "sample_rate must be from 1 to"),
        ({"type": "waveform", "sample_rate": 300_000_000}, "sample_rate must be from 1 to"),
        ({"type": "fbank", "num_mel_bins": 300_000}, "num_mel_bins must be from 1 to 1024, not 300000"),
        ({"type": "mfcc", "num_mel_bins": 10**9, "num_ceps": 10**9}, "num_mel_bins must be from 1 to 1024"),
        ({"type": "logmel", "num_mel_bins": 10**9}, "num_mel_bins must be from 1 to 1024"),
        ({"type": "fbank", "frame_length": 1e12}, "frame_length must be at most 32768 samples, not 1.6e[+]13"),
        ({"type": "mfcc", "frame_length": 1e308}, "frame_length must be at most 32768 samples, not inf"),
        ({"type": "fbank", "frame_shift": 1e308}, "frame_shift must be at most 32768 samples"),
        ({"type": "fbank", "frame_shift": -1e308}, "frame_shift must be at most 32768 samples"),
        ({"type": "logmel", "frame_length": 1e308}, "frame_length must be at most 32768 samples"),
        ({"type": "logmel", "frame_shift": 1e308}, "frame_shift must be at most 32768 samples"),
        ({"type": "logmel", "n_fft": 10**9}, "n_fft must be at most 32768 samples"),
    ],
)
def test_sizes_that_nobody_uses_cost_nothing(config, message, monkeypatch):
    """A few digits of a configuration must not fill the memory: refused before anything of that size is made."""
    for name in ("arange", "zeros", "linspace", "ones"):
        monkeypatch.setattr(torch, name, lambda *_, **__: pytest.fail("made a tensor first"))
    with pytest.raises(VouchError, match=message):
        FrontEndConfig.from_dict(config).build()


def test_wespeaker_is_kaldi_with_a_hamming_window():
    golden = np.load(GOLDEN / "kaldi_fbank.npz")
    config = read_yaml(ROOT / "conf/features/wespeaker80.yaml")
    assert config["num_mel_bins"] == 80
    feature = FrontEndConfig.from_dict({**config, "num_mel_bins": 40}).build()
    for key in [key for key in golden.files if key.startswith("hamming/") and golden[key].size]:
        samples = golden[f"wav/{key.split('/')[1]}"].astype(np.float32) / 32768
        got = feature(torch.from_numpy(samples)[None])[0].numpy()
        assert got.shape == golden[key].shape
        assert np.median(np.abs(got - golden[key])) <= 1e-4
