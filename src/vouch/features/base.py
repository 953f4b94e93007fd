"""Base class of the front ends."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn


class FrontEnd(nn.Module, ABC):
    """A module that makes features of waveforms: `(batch, samples) float in [-1, 1] -> (batch, frames, dim)`.

    The front end `Waveform` gives `(batch, samples)` for networks that learn their own filters.

    Attributes
    ----------
    sample_rate : int
        In Hz.
    dim : int
        Dimensions of a frame; 1 where the waveform itself comes out.
    """

    sample_rate: int
    dim: int

    @property
    def dither(self) -> float:
        """Standard deviation of the noise that is added to the samples; features are random where it is not 0."""
        return 0.0

    @property
    def step_shape(self) -> tuple[int, ...]:
        """Shape of one step of what it gives: (dim,) of a frame; () where that is a sample."""
        return (self.dim,)

    @abstractmethod
    def output_length(self, samples: int) -> int:
        """Return the number of frames (of waveforms, samples) that `samples` samples give."""
