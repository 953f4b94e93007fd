"""Base class of the front ends."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn


class FrontEnd(nn.Module, ABC):
    """A module that computes features of waveforms: `(batch, samples) float in [-1, 1] -> (batch, frames, dim)`.

    The front end `Waveform` returns `(batch, samples)`, for networks that learn their own filters.

    Attributes
    ----------
    sample_rate : int
        Sampling rate in Hz.
    dim : int
        Dimensions of a frame; 1 if the output is the waveform itself.
    """

    sample_rate: int
    dim: int

    @property
    def dither(self) -> float:
        """Standard deviation of the noise that is added to the samples; unless it is 0, features are random."""
        return 0.0

    @property
    def step_shape(self) -> tuple[int, ...]:
        """Shape of one step of the output: (dim,) for a frame, () for a sample."""
        return (self.dim,)

    @abstractmethod
    def output_length(self, samples: int) -> int:
        """Return the number of frames (for waveforms, samples) for `samples` input samples."""
