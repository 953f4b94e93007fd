"""Resampling by a rational factor, in batches on the device."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from scipy.signal import firwin

# Zeros of the filter's sinc on each side, and the shape of its Kaiser window: those of scipy.signal.resample_poly.
ZEROS, KAISER = 10, 5.0


def resampling_filters(factor: Fraction) -> torch.Tensor:
    """Return the filters of a resampling by `factor`, new over old rate: (numerator, taps) float32.

    The low pass is a sinc in a Kaiser window. Output sample n of numerator u and denominator d is
    y[n] = sum_k h[n d - k u] x[k], which takes another of u filters for each n modulo u.
    """
    up, down = factor.numerator, factor.denominator
    half = ZEROS * max(up, down)
    whole = up * firwin(2 * half + 1, 1 / max(up, down), window=("kaiser", KAISER))
    first, last = -(half // up), ((up - 1) * down + half) // up
    places = np.arange(up)[:, None] * down - np.arange(first, last + 1) * up
    inside = np.abs(places) <= half
    taps = np.where(inside, whole[np.clip(places + half, 0, 2 * half)], 0)
    return torch.from_numpy(taps.astype(np.float32))


def resample(waves: torch.Tensor, factor: Fraction, filters: torch.Tensor) -> torch.Tensor:
    """Resample waveforms.

    Parameters
    ----------
    waves : (batch, samples) float32
    factor : Fraction
        New over old sampling rate.
    filters : (numerator, taps) float32
        See `resampling_filters`; on the device of the waveforms.

    Returns
    -------
    (batch, ceil(samples factor)) float32
    """
    up, down = factor.numerator, factor.denominator
    samples = waves.shape[1]
    wanted = -(-samples * up // down)
    before = ZEROS * max(up, down) // up
    rounds = -(-wanted // up)
    behind = (rounds - 1) * down + filters.shape[1] - before - samples
    padded = torch.nn.functional.pad(waves, (before, max(behind, 0)))
    phases = torch.nn.functional.conv1d(padded[:, None], filters[:, None], stride=down)
    return phases[..., :rounds].transpose(1, 2).flatten(1)[:, :wanted]
