"""Shared parts of spectral front ends: mel triangles, sums under them, and blocks of frames."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn

from vouch.base.errors import VouchError, pick

# Number of frames whose spectra are computed at once: they fit into the cache, and the overhead per call is small.
BLOCK_FRAMES = 1000
# Number of neighbouring triangles that one matrix product sums, over the small part of the spectrum that they cover. It
# equals the numbers in a vector register; products with fewer, or a few more, columns are slower.
GROUP = 16
# Limits far above any useful size: a configuration may come from an untrusted file, in which a few digits could
# otherwise fill the memory.
MAX_RATE, MAX_SAMPLES, MAX_BINS = 10**6, 2**15, 1024
# The mel scale of Slaney's Auditory Toolbox: linear below a corner, logarithmic above it.
SLANEY_HZ_PER_MEL, SLANEY_CORNER_HZ, SLANEY_LOG_STEP = 200 / 3, 1000.0, math.log(6.4) / 27


def blocks_of(frames: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield first and last (exclusive) of consecutive blocks of `size` frames; the last one may be shorter."""
    for first in range(0, frames, size):
        yield first, min(first + size, frames)


def row_blocks(features: torch.Tensor) -> Iterator[tuple[int, int]]:
    """Yield first and last (exclusive) of the waveforms whose (batch, frames, dim) features are computed at once.

    On the CPU these are as many as have `BLOCK_FRAMES` together; a GPU has no such cache.
    """
    rows, frames, _ = features.shape
    size = BLOCK_FRAMES // max(1, frames) if features.device.type == "cpu" else rows
    yield from blocks_of(rows, max(1, size))


class BandSums(nn.Module):
    """Weighted sums of a spectrum, one for each band.

    Since bands are narrow, products of groups of neighbouring bands with the part of the spectrum that they cover take
    a third of the time of one product with the whole matrix.

    Parameters
    ----------
    weights : (points, bands) float32
        Fixed by the options, so not stored with a model's weights.
    """

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        # For each group of bands, the buffer with its weights and the points of the spectrum that they apply to.
        self._parts: list[tuple[str, slice]] = []
        self._bands = weights.shape[1]
        for first in range(0, self._bands, GROUP):
            group = weights[:, first : first + GROUP]
            used = group.sum(dim=1).nonzero()
            part = slice(int(used[0]), int(used[-1]) + 1)
            self._parts.append((f"weights{first}", part))
            padded = nn.functional.pad(group[part], (0, GROUP - group.shape[1]))
            self.register_buffer(f"weights{first}", padded, persistent=False)

    def forward(self, spectrum: torch.Tensor) -> torch.Tensor:
        """`(..., points) float32 -> (..., bands) float32`."""
        kind = spectrum.device.type
        if torch.amp.autocast_mode.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
            # Under autocast the products would have only three digits.
            with torch.autocast(spectrum.device.type, enabled=False):
                return self._sums(spectrum)
        return self._sums(spectrum)

    def _sums(self, spectrum: torch.Tensor) -> torch.Tensor:
        sums = [spectrum[..., part] @ getattr(self, name) for name, part in self._parts]
        return torch.cat(sums, dim=-1)[..., : self._bands]


def check_sizes(sample_rate: int, bins: int | None, **samples: float) -> None:
    """Raise `VouchError` for sizes of a front end that are never used, before anything is allocated.

    Parameters
    ----------
    sample_rate : int
        Sampling rate in Hz.
    bins : int or None
        Number of triangles; None if there are none.
    samples : float
        Lengths in samples, by the name of the option that determines them.
    """
    if not 1 <= sample_rate <= MAX_RATE:
        raise VouchError(f"sample_rate must be from 1 to {MAX_RATE} Hz, not {sample_rate}")
    if bins is not None and not 1 <= bins <= MAX_BINS:
        raise VouchError(f"num_mel_bins must be from 1 to {MAX_BINS}, not {bins}")
    for name, length in samples.items():
        if abs(length) > MAX_SAMPLES:
            raise VouchError(f"{name} must be at most {MAX_SAMPLES} samples, not {length:.6g}")


def check_edges(low: float, high: float, sample_rate: float) -> None:
    """Raise `VouchError` unless mel bands can range from `low` to `high` at this sampling rate (all in Hz)."""
    if not 0 <= low < high <= sample_rate / 2:
        raise VouchError(
            f"mel bands need 0 <= low_freq < high_freq <= {sample_rate / 2:g} Hz, not {low:g} and {high:g}"
        )


def triangles(
    bands: int,
    n_fft: int,
    sample_rate: int,
    low: float,
    high: float,
    scale: str = "htk",
    norm: str = "none",
    falling: str = "corner",
) -> torch.Tensor:
    """Return triangles whose corners are equally spaced in mel and whose sides are straight lines in Hz.

    Parameters
    ----------
    bands : int
        Number of triangles.
    n_fft : int
        Points of the Fourier transform.
    sample_rate : int
    low, high : float
        Sampling rate, and edges of the first and the last triangle, in Hz.
    scale : str
        "htk": mel = 2595 log10(1 + f / 700); "slaney": f / (200/3) up to 1000 Hz, then ln(6.4) / 27 per step.
    norm : str
        "none": peaks have height 1; "area": each triangle is divided by half its width in Hz.
    falling : str
        "corner": a triangle ends at the peak of the next one; "mirror": its falling side mirrors its rising side.

    Returns
    -------
    (n_fft // 2 + 1, bands) float32

    Raises
    ------
    VouchError
        Scale, norm or falling side is unknown, edges are out of order, or a triangle covers no point of the spectrum.
    """
    to_mel, to_hz = pick(SCALES, scale, "mel_scale")
    pick(NORMS, norm, "mel_norm")
    check_edges(low, high, sample_rate)
    first, last = to_mel(torch.tensor([low, high], dtype=torch.float64)).tolist()
    corners = to_hz(torch.linspace(first, last, bands + 2, dtype=torch.float64))
    frequency = torch.arange(n_fft // 2 + 1, dtype=torch.float64)[:, None] * (sample_rate / n_fft)
    left, centre = corners[:-2], corners[1:-1]
    right = pick({"corner": corners[2:], "mirror": 2 * centre - left}, falling, "mel_falling")
    weights = torch.minimum((frequency - left) / (centre - left), (right - frequency) / (right - centre)).clamp(min=0)
    if (weights.sum(dim=0) == 0).any():
        raise VouchError(f"num_mel_bins {bands} is too large for {n_fft} spectrum points at {sample_rate} Hz")
    return (weights * NORMS[norm](right - left)).float()


def _slaney_mel(hz: torch.Tensor) -> torch.Tensor:
    above = (hz / SLANEY_CORNER_HZ).clamp(min=1).log() / SLANEY_LOG_STEP
    return hz.clamp(max=SLANEY_CORNER_HZ) / SLANEY_HZ_PER_MEL + above


def _slaney_hz(mel: torch.Tensor) -> torch.Tensor:
    corner = SLANEY_CORNER_HZ / SLANEY_HZ_PER_MEL
    return mel.clamp(max=corner) * SLANEY_HZ_PER_MEL * ((mel - corner).clamp(min=0) * SLANEY_LOG_STEP).exp()


# Functions from Hz to mel and back.
SCALES = {
    "htk": (lambda hz: 2595 * torch.log10(1 + hz / 700), lambda mel: 700 * (10 ** (mel / 2595) - 1)),
    "slaney": (_slaney_mel, _slaney_hz),
}
# Factor on a triangle as a function of its width in Hz.
NORMS = {"none": torch.ones_like, "area": lambda width: 2 / width}
