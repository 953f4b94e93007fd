"""The front end "waveform", which returns the samples for networks that learn their own filters."""

from __future__ import annotations

from typing import ClassVar

import torch

from vouch.features.base import FrontEnd
from vouch.features.mel import check_sizes


class Waveform(FrontEnd):
    """Returns the waveform unchanged; its time unit is the sample.

    Parameters
    ----------
    sample_rate : int
        Sampling rate in Hz.

    Raises
    ------
    VouchError
        The sampling rate is out of range.
    """

    dim = 1
    tiny: ClassVar = {"sample_rate": 8000}

    def __init__(self, sample_rate: int = 16000) -> None:
        super().__init__()
        check_sizes(sample_rate, None)
        self.sample_rate = sample_rate

    @property
    def step_shape(self) -> tuple[int, ...]:
        """Shape of a sample: ()."""
        return ()

    def output_length(self, samples: int) -> int:
        """Return `samples`, since the output is as long as the input."""
        return samples

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Return `(batch, samples) float32 in [-1, 1]` unchanged."""
        return samples
