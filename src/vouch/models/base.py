"""Base class of the networks: their interface, the check of their input, and the mask of real frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import nn

from vouch.base.errors import VouchError
from vouch.layers.inputs import length_mask


class SpeakerNetwork(nn.Module, ABC):
    """Base class of the networks: a subclass builds its layers, defines `embed`, and declares the attributes below.

    A network for features takes their `num_bins` as its first argument; one for waveforms has an option `sample_rate`.
    All other arguments are options with defaults. In training mode, batch normalisation includes padded frames: train
    networks that have it on crops of equal length.

    Attributes
    ----------
    input_kind : "features" or "waveform"
        Kind of input.
    embedding_dim : int
    min_length : int
        Shortest input in frames, or in samples for a waveform.
    num_bins : int
        Frequency bins of the features; only if the network takes features.
    sample_rate : int
        Sampling rate in Hz; only if the network takes waveforms.
    tiny : mapping
        Arguments for a network as small as possible, including `num_bins`, used by tests.
    """

    input_kind: ClassVar[str] = "features"
    tiny: ClassVar[Mapping[str, object]]
    embedding_dim: int
    min_length: int = 1
    num_bins: int
    sample_rate: int

    def forward(self, inputs: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Embed a batch of utterances.

        Parameters
        ----------
        inputs : (batch, frames, num_bins) or (batch, samples) float
            Features, or waveforms in [-1, 1], according to `input_kind`.
        lengths : (batch,) int64, optional
            Number of real frames (or samples) of each utterance, if shorter ones are padded. In evaluation mode, the
            content of padding does not affect embeddings. The values are checked on the CPU only, because on a GPU the
            check would make the host wait for the device at every step.

        Returns
        -------
        embeddings : (batch, embedding_dim) float

        Raises
        ------
        VouchError
            The shape is wrong, an utterance is shorter than `min_length`, or a length exceeds that of the batch.
        """
        self._check(inputs, lengths)
        mask = None if lengths is None else length_mask(lengths.to(inputs.device), inputs.shape[1])
        return self.embed(inputs, mask)

    @abstractmethod
    def embed(self, inputs: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Embed a batch whose shape and lengths have been checked.

        Parameters
        ----------
        inputs : (batch, frames, num_bins) or (batch, samples) float
            Padded frames may hold anything, even NaN.
        mask : (batch, frames) or (batch, samples) bool, optional
            True on real frames or samples; None if there is no padding.

        Returns
        -------
        embeddings : (batch, embedding_dim) float
        """

    def _check(self, inputs: torch.Tensor, lengths: torch.Tensor | None) -> None:
        if self.input_kind == "features":
            unit = "frames"
            if inputs.ndim != 3 or inputs.shape[2] != self.num_bins:
                raise VouchError(f"the network takes (batch, frames, {self.num_bins}), not {tuple(inputs.shape)}")
        else:
            unit = "samples"
            if inputs.ndim != 2:
                raise VouchError(f"the network takes waveforms (batch, samples), not {tuple(inputs.shape)}")
        extent = inputs.shape[1]
        shortest = longest = extent
        if lengths is not None:
            if lengths.shape != inputs.shape[:1]:
                raise VouchError(f"{len(inputs)} utterances need as many lengths, not {tuple(lengths.shape)}")
            if lengths.device.type == "cpu" and lengths.numel():
                shortest, longest = int(lengths.min()), int(lengths.max())
        if shortest < self.min_length:
            raise VouchError(f"an utterance has {shortest} {unit}, the network needs at least {self.min_length}")
        if longest > extent:
            raise VouchError(f"an utterance is said to have {longest} {unit}, but the batch holds only {extent}")
