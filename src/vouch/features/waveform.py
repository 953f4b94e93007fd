"""No front end: the samples themselves, for networks that learn their own filters."""

from __future__ import annotations

from typing import ClassVar

import torch

from vouch.features.base import FrontEnd
from vouch.features.mel import check_sizes


class Waveform(FrontEnd):
    """The waveform as it is: nothing is computed, and what comes out counts time in samples.

    Parameters
    ----------
    sample_rate : int
        In Hz.

    Raises
    ------
    VouchError
        A sample rate out of range.
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
        """Return the number of samples that `samples` samples give: as many."""
        return samples

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Return `(batch, samples) float32 in [-1, 1]` as they are."""
        return samples
