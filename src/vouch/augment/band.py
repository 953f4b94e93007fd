"""Band limits: what microphones, codecs and telephone lines leave of the spectrum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from scipy.fft import next_fast_len

from vouch.augment.base import Effect
from vouch.augment.draws import check_range
from vouch.base.errors import VouchError

# Width of the edges in Hz, over which the amplitude falls as half a cosine does; the ringing of a filter dies within
# some ten milliseconds then.
EDGE = 200.0
# So much silence, in seconds, keeps the end of a waveform from reaching its beginning around the Fourier transform.
PADDING = 0.05


class Band(Effect):
    """Keeps a band of frequencies, whose limits are drawn uniformly.

    Parameters
    ----------
    low : sequence of float
        Least and greatest lower limit in Hz; 0: there is none.
    high : sequence of float
        Least and greatest upper limit in Hz.
    sample_rate : int
        In Hz.

    Raises
    ------
    VouchError
        A pair does not rise, or the band could be empty.
    """

    tiny: ClassVar = {"low": [100, 300], "high": [2000, 3400]}

    def __init__(
        self,
        low: Sequence[float] = (300.0, 300.0),
        high: Sequence[float] = (3400.0, 3400.0),
        sample_rate: int = 16000,
    ) -> None:
        self.low = check_range("low of band", low, 0, sample_rate / 2)
        self.high = check_range("high of band", high, 0, sample_rate / 2)
        self.sample_rate = sample_rate
        if self.low[1] + EDGE > self.high[0]:
            raise VouchError(
                f"low of band, up to {self.low[1]:g} Hz, must lie {EDGE:g} Hz below high, {self.high[0]:g}"
            )

    def draw(self, rng: np.random.Generator, rows: int, samples: int) -> dict[str, np.ndarray]:
        return {"low": rng.uniform(*self.low, rows), "high": rng.uniform(*self.high, rows)}

    def apply(self, waves: torch.Tensor, drawn: Mapping[str, torch.Tensor]) -> torch.Tensor:
        samples = waves.shape[1]
        size = next_fast_len(samples + int(PADDING * self.sample_rate), real=True)
        frequency = torch.arange(size // 2 + 1, device=waves.device) * (self.sample_rate / size)
        low, high = drawn["low"][:, None].to(waves.dtype), drawn["high"][:, None].to(waves.dtype)
        kept = _rise((frequency - low) / EDGE) * _rise((high - frequency) / EDGE)
        kept = torch.where(low > 0, kept, _rise((high - frequency) / EDGE))
        return torch.fft.irfft(torch.fft.rfft(waves, size) * kept, size)[:, :samples]


def _rise(x: torch.Tensor) -> torch.Tensor:
    """Half a cosine from 0 at -1/2 to 1 at 1/2: an edge is at half of the amplitude where its limit is."""
    return 0.5 + 0.5 * torch.sin(torch.pi * x.clamp(-0.5, 0.5))
