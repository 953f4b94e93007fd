"""Speed perturbation."""

import numpy as np
import pytest
import scipy.signal
import torch

from vouch.augment.speed import Speed
from vouch.base.errors import VouchError

RATE, SAMPLES = 16000, 16000


def tones(hertz, samples):
    return np.sin(2 * np.pi * hertz * np.arange(samples) / RATE).astype(np.float32)


def test_pitch_and_length_change_with_the_speed():
    speed = Speed((0.9, 1.0, 1.1))
    needed = speed.samples_needed(SAMPLES)
    assert needed == 17_600 and Speed((0.9,)).samples_needed(SAMPLES) == SAMPLES
    waves = torch.from_numpy(np.stack([tones(1000, needed)] * 60))
    groups = speed.groups(speed.choose(np.random.default_rng(0), np.arange(60)))
    assert sorted(np.concatenate([rows.numpy() for rows in groups]).tolist()) == list(range(60))
    played = speed.apply(waves, groups, SAMPLES).numpy()
    assert played.shape == (60, SAMPLES) and played.dtype == np.float32
    for factor, rows in zip((0.9, 1.0, 1.1), groups, strict=True):
        assert len(rows) > 8
        for row in rows.tolist():
            np.testing.assert_allclose(played[row, 200:-200], tones(1000 * factor, SAMPLES)[200:-200], atol=5e-3)
    for row in groups[1].tolist():
        assert np.array_equal(played[row], waves[row, :SAMPLES].numpy())


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_speech_against_scipys_resampling(factor):
    rng = np.random.default_rng(1)
    smooth = scipy.signal.firwin(101, 3000, fs=RATE)
    wave = scipy.signal.lfilter(smooth, 1, rng.standard_normal(17_600))
    found = Speed((factor,)).apply(torch.from_numpy(wave[None].astype(np.float32)), [torch.tensor([0])], SAMPLES)
    whole = round(10 * factor)
    expected = scipy.signal.resample_poly(wave, 10, whole)[:SAMPLES]
    difference = found[0].numpy()[300:-300] - expected[300:-300]
    assert np.sqrt(np.mean(difference**2)) < 0.01 * np.sqrt(np.mean(expected**2))


def test_each_speed_as_often():
    groups = Speed().groups(Speed().choose(np.random.default_rng(2), np.arange(9000)))
    assert all(abs(len(rows) - 3000) < 4 * np.sqrt(9000 * 2 / 9) for rows in groups)


@pytest.mark.parametrize("factors", [(), (0.4,), (1, 3), ("fast",)])
def test_speeds_out_of_range(factors):
    with pytest.raises(VouchError, match=r"from 0\.5 to 2"):
        Speed(factors)
