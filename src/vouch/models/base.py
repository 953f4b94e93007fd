"""What all networks share: their contract, the check of their input, and the mask of its real frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import nn

from vouch.base.errors import VouchError
from vouch.layers.inputs import length_mask


class SpeakerNetwork(nn.Module, ABC):
    """Base of the networks: a new one builds its layers, writes `embed`, and declares the attributes below.

    A network for features is built with their `num_bins` as its first argument; one for waveforms has an option
    `sample_rate`. All other arguments are options with defaults. In training mode batch normalisation averages over
    padded frames too: train networks that have it on crops of one length.

    Attributes
    ----------
    input_kind : "features" or "waveform"
        What `forward` takes.
    embedding_dim : int
    min_length : int
        Shortest input in frames, or in samples of a waveform.
    num_bins : int
        Frequency bins of the features, of a network that takes them.
    sample_rate : int
        Hz, of a network that takes waveforms.
    tiny : mapping
        Arguments that make the network as small as it works, `num_bins` among them: what tests build.
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
            Features, or waveforms in [-1, 1], as `input_kind` says.
        lengths : (batch,) int64, optional
            Real frames (or samples) of each utterance, where shorter ones are padded. In evaluation mode padding does
            not change an embedding, whatever it holds. The values are checked on the CPU only: on a GPU the check
            would make the host wait for the device at every step.

        Returns
        -------
        embeddings : (batch, embedding_dim) float

        Raises
        ------
        VouchError
            The shape is another, an utterance is shorter than `min_length`, or a length exceeds what the batch holds.
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
            Padded frames hold anything, even NaN.
        mask : (batch, frames) or (batch, samples) bool, optional
            True on what is real; None where all is.

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
