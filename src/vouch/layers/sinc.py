"""Sinc filters: band-pass filters on the waveform whose only parameters are the band edges.

Source: Ravanelli and Bengio, "Speaker recognition from raw waveform with SincNet" (SLT 2018), section 2; for pairs of
cosine and sine filters, Pariente et al., "Filterbank design for end-to-end speech separation" (ICASSP 2020).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from vouch.base.errors import VouchError

# Initial lower edge of the lowest filter.
FIRST_EDGE_HZ = 30.0


class SincFilters(nn.Module):
    """Convolution of a waveform with windowed band-pass filters.

    A filter for the band from f1 to f2 Hz is w(t) cos(2 pi fc t) sinc((f2 - f1) t), where fc is the middle of the band,
    sinc(x) = sin(pi x) / (pi x) and t the time in seconds from the centre: the difference of two low-pass filters,
    divided by twice the bandwidth. In this form it is finite and has a gradient even when training moves f1 to half
    the sampling rate, where the bandwidth is 0. The edges are f1 = min_low_hz + |low_hz| and
    f2 = f1 + min_band_hz + |band_hz|, limited to half the sampling rate. Initially they are equally spaced in mel.

    Parameters
    ----------
    num_bands : int
    kernel_size : int
        Kernel size in samples, odd.
    stride : int
        Stride in samples.
    sample_rate : int
        Sampling rate in Hz.
    min_low_hz, min_band_hz : float
        Lowest edge and smallest bandwidth, in Hz.
    window : (kernel_size // 2,) float
        w(t) left of the centre; it is mirrored to the right, and 1 in the centre.
    quadrature : bool
        Whether to append the sine filter w(t) sin(2 pi fc t) sinc((f2 - f1) t) of every band after all cosine filters.

    Attributes
    ----------
    out_channels : int
        `num_bands`, or twice as many with sine filters.

    Raises
    ------
    VouchError
        The kernel size is even, there is no band, or no room between the lowest edge and half the sampling rate.
    """

    times: torch.Tensor
    window: torch.Tensor

    def __init__(
        self,
        num_bands: int,
        kernel_size: int,
        stride: int,
        sample_rate: int,
        min_low_hz: float,
        min_band_hz: float,
        window: torch.Tensor,
        quadrature: bool,
    ) -> None:
        super().__init__()
        last_edge = sample_rate / 2 - (min_low_hz + min_band_hz)
        if kernel_size < 3 or kernel_size % 2 == 0:
            raise VouchError(f"sinc filters need an odd number of samples, not {kernel_size}")
        if num_bands < 1 or stride < 1:
            raise VouchError(f"sinc filters need at least one band and a stride, not {num_bands} and {stride}")
        if last_edge <= FIRST_EDGE_HZ:
            raise VouchError(
                f"at {sample_rate} Hz there is no room for bands of at least {min_band_hz:g} Hz above {min_low_hz:g} Hz"
            )
        self.stride, self.sample_rate, self.quadrature = stride, sample_rate, quadrature
        self.min_low_hz, self.min_band_hz = min_low_hz, min_band_hz
        self.out_channels = num_bands * (2 if quadrature else 1)

        edges = _mel_spaced(FIRST_EDGE_HZ, last_edge, num_bands + 1)
        self.low_hz = nn.Parameter(torch.from_numpy(edges[:-1, None]).float())
        self.band_hz = nn.Parameter(torch.from_numpy(np.diff(edges)[:, None]).float())
        half = kernel_size // 2
        # Both follow from the options and stay out of the state dict. They are in double precision because phases reach
        # hundreds of radians, where single precision would leave few digits to the gradients.
        times = torch.arange(-half, half + 1, dtype=torch.float64) / sample_rate
        self.register_buffer("times", times, persistent=False)
        window = window.to(times.dtype)
        self.register_buffer("window", torch.cat([window, window.new_ones(1), window.flip(0)]), persistent=False)

    def filters(self) -> torch.Tensor:
        """Return the impulse responses `(out_channels, kernel_size)` float."""
        low = self.min_low_hz + self.low_hz.abs()
        high = (low + self.min_band_hz + self.band_hz.abs()).clamp(self.min_low_hz, self.sample_rate / 2)
        envelope = self.window * torch.sinc((high - low) * self.times)
        phase = torch.pi * (low + high) * self.times
        tones = [phase.cos(), phase.sin()] if self.quadrature else [phase.cos()]
        return torch.cat([envelope * tone for tone in tones]).to(self.low_hz.dtype)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Filter `waveforms : (batch, samples)` to `(batch, out_channels, frames)`, without padding.

        Frame t is centred on sample `t * stride + kernel_size // 2`. Autocast is switched off, because absolute values
        or logarithms of a difference of large numbers follow.
        """
        with torch.autocast(waveforms.device.type, enabled=False):
            return functional.conv1d(waveforms[:, None], self.filters()[:, None], stride=self.stride)


def sincnet_filters(
    num_bands: int, kernel_size: int, stride: int, sample_rate: int, min_low_hz: float, min_band_hz: float
) -> SincFilters:
    """Build the cosine filters of SincNet as in pyannote.audio 1.

    The window is a variant of Hamming's with as many points, spread from 0 to kernel_size / 2 - 1.
    """
    points = torch.linspace(0, kernel_size / 2 - 1, kernel_size // 2, dtype=torch.float64)
    window = 0.54 - 0.46 * torch.cos(2 * torch.pi * points / kernel_size)
    return SincFilters(num_bands, kernel_size, stride, sample_rate, min_low_hz, min_band_hz, window, quadrature=False)


def paired_sinc_filters(num_bands: int, kernel_size: int, stride: int, sample_rate: int) -> SincFilters:
    """Build RawNet3's cosine and sine filters: bands from 50 Hz on, at least 50 Hz wide, with a Hamming window."""
    window = torch.hamming_window(kernel_size, periodic=False, dtype=torch.float64)[: kernel_size // 2]
    return SincFilters(num_bands, kernel_size, stride, sample_rate, 50.0, 50.0, window, quadrature=True)


def _mel_spaced(first_hz: float, last_hz: float, points: int) -> np.ndarray:
    """Return frequencies in Hz, (points,) float64, equally spaced in mel = 2595 log10(1 + f / 700)."""
    mels = np.linspace(np.log10(1 + first_hz / 700), np.log10(1 + last_hz / 700), points)
    return 700 * (10**mels - 1)
