"""Reverberation: convolution with room impulse responses, over a batch, and what Kaldi and voxceleb_trainer make of it.

Sources: the facts of Kaldi's wav-reverberate (its rule of shift and output level), and of
voxceleb_trainer's loader (unit energy, no shift).
"""

from __future__ import annotations

import torch
from scipy.fft import next_fast_len

from vouch.augment.noise import mean_square


def convolve(waves: torch.Tensor, responses: torch.Tensor) -> torch.Tensor:
    """Convolve each waveform with its response, by the Fourier transform.

    Parameters
    ----------
    waves : (batch, samples) float
    responses : (batch, taps) float
        Shorter ones are padded with zeros.

    Returns
    -------
    (batch, samples + taps - 1) float
    """
    length = waves.shape[-1] + responses.shape[-1] - 1
    size = next_fast_len(length, real=True)
    spectrum = torch.fft.rfft(waves, size).mul_(torch.fft.rfft(responses, size))
    return torch.fft.irfft(spectrum, size)[..., :length]


def find_peaks(responses: torch.Tensor) -> torch.Tensor:
    """Return where each response of (batch, taps) has its largest value, (batch,) int64: by value, not by magnitude."""
    return responses.argmax(dim=-1)


def shift_back(waves: torch.Tensor, delays: torch.Tensor, samples: int) -> torch.Tensor:
    """Return `samples` samples of each waveform of (batch, longer), from its delay on, (batch,) int64."""
    places = delays[..., None] + torch.arange(samples, device=waves.device)
    return waves.gather(-1, places)


def scale_to_power(waves: torch.Tensor, power: torch.Tensor, lengths: torch.Tensor | int) -> torch.Tensor:
    """Scale each waveform so that the sum of its squares over a length is a power times that length.

    Parameters
    ----------
    waves : (batch, samples) float
    power : (batch,) float
        Mean square that is wanted.
    lengths : (batch,) int64 or int
        Samples that the mean is taken over; what lies behind them must be zero.

    Returns
    -------
    (batch, samples) float
        A silent waveform stays silent.
    """
    found = torch.linalg.vector_norm(waves, dim=-1).square() / lengths
    gain = torch.where(found > 0, (power / found).sqrt(), 0)
    return waves * gain[..., None]


def reverberate(waves: torch.Tensor, responses: torch.Tensor, taps: torch.Tensor) -> torch.Tensor:
    """Put waveforms into rooms as Kaldi does: no delay, and as loud as before.

    Parameters
    ----------
    waves : (batch, samples) float
    responses : (batch, most taps) float
    taps : (batch,) int64
        Lengths of the responses; behind them are zeros.

    Returns
    -------
    (batch, samples) float
        Shifted back by the peak of the response. The mean square over all of the reverberated signal, with its tail, is
        that of the waveform.
    """
    samples = waves.shape[-1]
    wet = convolve(waves, responses)
    wet = scale_to_power(wet, mean_square(waves), samples + taps - 1)
    return shift_back(wet, find_peaks(responses), samples)


def reverberate_undelayed(waves: torch.Tensor, responses: torch.Tensor) -> torch.Tensor:
    """Put waveforms into rooms as voxceleb_trainer does: responses of unit energy, and the delay stays.

    Parameters
    ----------
    waves : (batch, samples) float
    responses : (batch, taps) float

    Returns
    -------
    (batch, samples) float
    """
    unit = responses / torch.linalg.vector_norm(responses, dim=-1, keepdim=True)
    return convolve(waves, unit)[..., : waves.shape[-1]]
