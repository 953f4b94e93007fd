"""Base class of the front ends."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn


class FrontEnd(nn.Module, ABC):
    """A module that makes features of waveforms: `(batch, samples) float in [-1, 1] -> (batch, frames, dim)`.

    Attributes
    ----------
    sample_rate : int
        In Hz.
    dim : int
        Dimensions of a frame.
    """

    sample_rate: int
    dim: int

    @property
    def dither(self) -> float:
        """Standard deviation of the noise that is added to the samples; features are random where it is not 0."""
        return 0.0

    @abstractmethod
    def num_frames(self, samples: int) -> int:
        """Return the number of frames that `samples` samples give."""
