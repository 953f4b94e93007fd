"""Options of Kaldi's front ends: against vectors made by its own programs, and against the definitions."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vouch.base.errors import VouchError
from vouch.base.options import read_yaml
from vouch.features.compute import compute
from vouch.features.config import FrontEndConfig

FOLDER = Path(__file__).parents[1] / "golden"
# Made by running compute-fbank-feats and compute-mfcc-feats with dither 0; of each matrix every fifth frame.
GOLDEN = np.load(FOLDER / "kaldi_features.npz")
WAVES = {
    key.removeprefix("wav/"): content[key]
    for content in (np.load(FOLDER / "kaldi_fbank.npz"), GOLDEN)
    for key in content
    if key.startswith("wav/")
}
STRIDE = int(GOLDEN["stride"])
FBANK40 = {"type": "fbank", "num_mel_bins": 40, "snip_edges": True}
CASES = {
    "fbank/energy_default_bins": {**FBANK40, "num_mel_bins": 23, "use_energy": True},
    "fbank/energy_floor": {**FBANK40, "use_energy": True, "energy_floor": 1.0},
    "fbank/energy_notraw": {**FBANK40, "use_energy": True, "raw_energy": False},
    "fbank/energy_htk": {**FBANK40, "use_energy": True, "htk_compat": True},
    "fbank/magnitude": {**FBANK40, "use_power": False},
    "fbank/linear": {**FBANK40, "use_log_fbank": False},
    "fbank/blackman": {**FBANK40, "window_type": "blackman"},
    "fbank/sine": {**FBANK40, "window_type": "sine"},
    "fbank/nopow2": {**FBANK40, "round_to_power_of_two": False},
    "fbank/cms": {**FBANK40, "subtract_mean": True},
    "fbank/vox_band": {"type": "fbank", "high_freq": 7600.0},
    "mfcc/default": {"type": "mfcc", "snip_edges": True},
    "mfcc/c0_nolifter": {
        "type": "mfcc",
        "snip_edges": True,
        "use_energy": False,
        "cepstral_lifter": 0.0,
        "num_mel_bins": 40,
        "num_ceps": 20,
    },
    "mfcc/sre16": {"type": "mfcc", "sample_rate": 8000, "high_freq": 3700.0, "num_ceps": 23},
    "mfcc/vox": {"type": "mfcc", "high_freq": 7600.0, "num_mel_bins": 30, "num_ceps": 30},
}


def features_of(feature, wave):
    return feature(torch.from_numpy(wave.astype(np.float32) / 32768)[None])[0].numpy()


def case_keys(name):
    keys = [key for key in GOLDEN if key.startswith(f"{name}/")]
    assert keys
    return keys


@pytest.mark.parametrize("name", CASES)
def test_equals_kaldi(name):
    config = FrontEndConfig.from_dict(CASES[name])
    feature = config.build()
    for key in case_keys(name):
        expected, got = GOLDEN[key], features_of(feature, WAVES[key.split("/")[-1]])[::STRIDE]
        if not expected.size:
            assert len(got) == 0, key
            continue
        assert got.shape == expected.shape, key
        difference = np.abs(got - expected)
        if name == "fbank/linear":
            assert (difference <= 1e-3 * expected + 1e-6 * expected.max(axis=1, keepdims=True) + 1e-3).all(), key
        elif name.startswith("fbank"):
            # Single-precision transforms leave noise far below the loudest band of a frame.
            below = expected.max(axis=1, keepdims=True) - expected
            assert difference[below <= 10].max() <= 1e-3, key
            assert difference.max() <= 0.3, key
            assert np.median(difference) <= 1e-4, key
        else:
            assert difference[:, 0].max() <= (1e-4 if config.options["use_energy"] else 5e-2), key
            assert difference.max() <= 5e-2, key
            assert np.median(difference) <= 1e-3, key


def test_the_configurations_of_recipes_equal_kaldi():
    root = Path(__file__).parents[2] / "conf/features"
    for file, name in (("mfcc30", "mfcc/vox"), ("mfcc23", "mfcc/sre16")):
        assert FrontEndConfig.from_dict(read_yaml(root / f"{file}.yaml")) == FrontEndConfig.from_dict(CASES[name])


def speech(length=4000):
    rng = np.random.default_rng(length)
    return (3000 * rng.standard_normal(length) + 200).astype(np.int16)


@pytest.mark.parametrize("dc", [True, False])
@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("htk", [True, False])
def test_energies_by_the_definition(dc, raw, htk):
    wave = speech()
    options = {"num_mel_bins": 24, "snip_edges": True, "remove_dc_offset": dc, "window_type": "hamming"}
    feature = FrontEndConfig.from_dict(
        {"type": "fbank", **options, "use_energy": True, "raw_energy": raw, "htk_compat": htk}
    ).build()
    got = features_of(feature, wave)
    plain = features_of(FrontEndConfig.from_dict({"type": "fbank", **options}).build(), wave)
    assert feature.dim == got.shape[1] == 25
    np.testing.assert_array_equal(got[:, :-1] if htk else got[:, 1:], plain)
    for t, energy in enumerate(got[:, -1] if htk else got[:, 0]):
        frame = wave[160 * t : 160 * t + 400].astype(float)
        frame -= frame.mean() if dc else 0
        if not raw:
            frame = np.append(0.03 * frame[0], frame[1:] - 0.97 * frame[:-1])
            frame *= 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 399)
        assert energy == pytest.approx(np.log((frame**2).sum()), abs=1e-5)


def test_energies_have_a_floor():
    for floor, expected in ((0.0, np.log(2.0**-23)), (1e-9, np.log(2.0**-23)), (50.0, np.log(50))):
        feature = FrontEndConfig.from_dict({**FBANK40, "use_energy": True, "energy_floor": floor}).build()
        got = feature(torch.zeros(1, 800))
        np.testing.assert_allclose(got[..., 0], expected, rtol=1e-6)
        np.testing.assert_allclose(got[..., 1:], np.log(2.0**-23), rtol=1e-6)


def test_blackman_windows_by_the_definition():
    """An impulse gives the spectrum, the same everywhere, of the window's value there."""
    for coeff in (0.42, 0.3):
        feature = FrontEndConfig.from_dict(
            {
                **FBANK40,
                "window_type": "blackman",
                "blackman_coeff": coeff,
                "preemphasis": 0.0,
                "remove_dc_offset": False,
                "raw_energy": False,
                "use_energy": True,
            }
        ).build()
        for place in (50, 200, 301):
            wave = np.zeros(400)
            wave[place] = 1000
            angle = 2 * np.pi * place / 399
            expected = 1000 * (coeff - 0.5 * np.cos(angle) + (0.5 - coeff) * np.cos(2 * angle))
            assert features_of(feature, wave)[0, 0] == pytest.approx(2 * np.log(abs(expected)), abs=1e-4)


@pytest.mark.parametrize("lifter", [0.0, 22.0, 5.0])
@pytest.mark.parametrize(("energy", "htk"), [(True, False), (True, True), (False, False), (False, True)])
def test_cepstra_by_the_definition(lifter, energy, htk):
    wave, bins, ceps = speech(), 20, 9
    options = {"num_mel_bins": bins, "preemphasis": 0.9}
    fbank = features_of(
        FrontEndConfig.from_dict({"type": "fbank", **options, "use_energy": True}).build(), wave
    ).astype(float)
    feature = FrontEndConfig.from_dict(
        {
            "type": "mfcc",
            **options,
            "num_ceps": ceps,
            "cepstral_lifter": lifter,
            "use_energy": energy,
            "htk_compat": htk,
        }
    ).build()
    got = features_of(feature, wave)
    assert feature.dim == ceps
    for t, row in enumerate(fbank):
        expected = []
        for k in range(ceps):
            total = sum(row[1 + n] * np.cos(np.pi * k * (n + 0.5) / bins) for n in range(bins))
            total *= np.sqrt((2 if k else 1) / bins)
            expected.append(total * (1 + lifter / 2 * np.sin(np.pi * k / lifter) if lifter else 1))
        first = row[0] if energy else expected[0] * (np.sqrt(2) if htk else 1)
        expected = [*expected[1:], first] if htk else [first, *expected[1:]]
        np.testing.assert_allclose(got[t], expected, atol=2e-4)


def test_a_batch_of_cepstra_is_its_utterances_one_by_one():
    waves = 0.1 * torch.randn(3, 5000, generator=torch.Generator().manual_seed(0))
    feature = FrontEndConfig.from_dict({"type": "mfcc", "subtract_mean": True}).build()
    together = feature(waves)
    assert together.mean(dim=1).abs().max() < 1e-4
    for row in range(3):
        torch.testing.assert_close(together[row], feature(waves[row : row + 1])[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["fbank", "mfcc"])
def test_dither_is_noise_of_its_size(kind):
    silence = torch.zeros(2, 160000)
    for dither in (1.0, 3.0):
        feature = FrontEndConfig.from_dict(
            {"type": kind, "num_mel_bins": 23, "use_energy": True, "dither": dither}
        ).build()
        energies = feature(silence, torch.Generator().manual_seed(0))[..., 0]
        # Of 400 normal numbers, whose mean was removed, the squares sum to 399, with a standard deviation of 28.
        assert energies.exp().mean() == pytest.approx(399 * dither**2, rel=0.01)
        assert energies.exp().std() == pytest.approx(28.2 * dither**2, rel=0.1)
        assert not torch.equal(energies[0], energies[1])


def test_dither_comes_from_the_generator():
    wave = torch.from_numpy(speech().astype(np.float32) / 32768)[None]
    feature = FrontEndConfig.from_dict({"type": "mfcc", "dither": 1.0}).build()
    first, again, other = (feature(wave, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    torch.manual_seed(5)
    unseeded = feature(wave)
    assert not torch.equal(unseeded, feature(wave))
    torch.manual_seed(5)
    assert torch.equal(unseeded, feature(wave))
    # Of loud speech the noise of one step is a small part.
    clean = FrontEndConfig.from_dict({"type": "mfcc"}).build()(wave)
    assert 0 < (first - clean).abs().max() < 0.5


def test_a_recording_always_gets_the_same_dither():
    feature = FrontEndConfig.from_dict({"type": "fbank", "dither": 1.0}).build()
    waves = [speech(4000).astype(np.float32) / 32768, speech(4001).astype(np.float32) / 32768]
    silence = np.zeros(4000, np.float32)
    before = [compute(feature, wave) for wave in waves]
    state = torch.random.get_rng_state()
    after = [compute(feature, wave) for wave in (silence, waves[1], waves[0])]
    np.testing.assert_array_equal(before[0], after[2])
    np.testing.assert_array_equal(before[1], after[1])
    # What training draws is none of its business.
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"type": "mfcc", "num_ceps": 24}, "num_ceps 24 is not from 1 to num_mel_bins, which is 23"),
        ({"type": "mfcc", "num_ceps": 0}, "num_ceps 0"),
        ({"type": "mfcc", "cepstral_lifter": -1.0}, "cepstral_lifter -1 is negative"),
        ({"type": "mfcc", "use_power": True}, "unknown option 'use_power' of feature 'mfcc'"),
        ({"type": "mfcc", "num_mel_bins": 300}, "num_mel_bins 300 is too large"),
        ({"type": "fbank", "dither": -1.0}, "dither and energy_floor not negative"),
        ({"type": "fbank", "energy_floor": -1.0}, "dither and energy_floor not negative"),
        ({"type": "fbank", "preemphasis": 1.5}, "preemphasis must be from 0 to 1"),
        ({"type": "fbank", "num_mel_bins": 0}, "num_mel_bins must be from 1 to 1024, not 0"),
        ({"type": "fbank", "input_scale": 0.0}, "input_scale must be positive"),
        ({"type": "fbank", "window_type": "blackmann"}, "did you mean 'blackman'"),
    ],
)
def test_errors_name_the_mistake(options, message):
    with pytest.raises(VouchError, match=message):
        FrontEndConfig.from_dict(options).build()
