"""The level of noise beside speech."""

import numpy as np
import pytest
import torch

from vouch.augment.noise import noise_gain


def white(samples, seed=0, scale=0.1):
    return (scale * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def power(samples):
    return torch.from_numpy(samples).square().mean(dim=-1)


def snr_db(speech, added):
    """10 log10 of the ratio of energies, in double precision."""
    return 10 * np.log10(np.sum(speech.astype(np.float64) ** 2) / np.sum(added.astype(np.float64) ** 2))


def test_each_row_of_a_batch_reaches_its_ratio():
    ratios = [-10.0, 0.0, 7.5, 20.0]
    speech = np.stack([white(4000, row, 0.01 * 3**row) for row in range(4)])
    noise = np.stack([white(4000, row, 3.0 / 7**row) for row in range(4, 8)])
    gain = noise_gain(power(speech), power(noise), torch.tensor(ratios)).numpy()
    for row, ratio in enumerate(ratios):
        assert snr_db(speech[row], gain[row] * noise[row]) == pytest.approx(ratio, abs=1e-3)


@pytest.mark.parametrize(
    ("speech_scale", "noise_scale"), [(0.1, 0.0), (0.0, 0.1), (0.0, 0.0), (0.1, 1e-20), (0.5, 1e-23)]
)
def test_nothing_is_added_to_silence_or_of_silence(speech_scale, noise_scale):
    speech, noise = white(500, 0, speech_scale), white(500, 1, noise_scale)
    assert noise_gain(power(speech), power(noise), torch.tensor(5.0)) == 0
