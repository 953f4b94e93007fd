"""Speed perturbation."""

from fractions import Fraction

import numpy as np
import pytest
import scipy.signal
import torch

from vouch.augment.resampling import resample, resampling_filters
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


@pytest.mark.parametrize("factor", ["10/9", "10/11", "2/1", "1/2", "3/7", "100/61"])
@pytest.mark.parametrize("samples", [1, 17, 4000])
def test_resampling_is_scipys(factor, samples):
    up, down = map(int, factor.split("/"))
    waves = np.random.default_rng(0).standard_normal((3, samples)).astype(np.float32)
    found = resample(torch.from_numpy(waves), Fraction(factor), resampling_filters(Fraction(factor)))
    expected = scipy.signal.resample_poly(waves.astype(np.float64), up, down, axis=1)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=3e-6)


def test_a_speaker_is_another_one_at_another_speed():
    speed, labels = Speed(as_speakers=True), np.array([4, 0, 4, 1, 1, 2])
    names = ["a", "b", "c", "d", "e"]
    classes = speed.speakers(names)
    assert classes == [*names, *(f"sp0.9-{name}" for name in names), *(f"sp1.1-{name}" for name in names)]
    seen = set()
    for seed in range(40):
        choice = speed.choose(np.random.default_rng(seed), labels)
        found = speed.labels(labels, choice, 5)
        assert found[0] == found[2] and found[3] == found[4]
        for row, group in enumerate(speed.groups(choice)):
            prefix = ["", "sp0.9-", "sp1.1-"][row]
            assert all(classes[found[each]] == prefix + names[labels[each]] for each in group.tolist())
        seen |= set(found.tolist())
    assert len(seen) == 12
    same = Speed()
    assert same.speakers(names) == names and same.labels(labels, choice, 5) is labels
