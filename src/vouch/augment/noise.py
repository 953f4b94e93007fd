"""The level of noise beside speech."""

from __future__ import annotations

import torch

# A mean square below this counts as silence: -200 dB, far below what any recording resolves.
SILENCE = 1e-20


def mean_square(waves: torch.Tensor) -> torch.Tensor:
    """Return the mean square of each waveform: (..., samples) float -> (...) float."""
    # The norm passes over the samples once, and keeps no squares.
    return torch.linalg.vector_norm(waves, dim=-1).square() / waves.shape[-1]


def noise_gain(power: torch.Tensor, noise_power: torch.Tensor, snr_db: torch.Tensor) -> torch.Tensor:
    """Return the factor of a noise that reaches a signal-to-noise ratio: sqrt(P_x / (P_n 10^(snr / 10))).

    Parameters
    ----------
    power, noise_power : (...) float
        Mean squares of speech and noise.
    snr_db : (...) float
        Signal-to-noise ratio in dB.

    Returns
    -------
    (...) float
        0 where the noise is silent.
    """
    gain = (power / (noise_power * 10 ** (snr_db / 10))).sqrt()
    return torch.where(noise_power > SILENCE, gain, torch.zeros_like(gain))
