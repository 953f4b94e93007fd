"""What all losses share: their result, the precision they are computed in, and the check of their input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from vouch.base.errors import VouchError

# Shorter vectors are scaled as if they had this length, which keeps the gradient at a vector of zeros finite.
NORM_FLOOR = 1e-8


class LossOutput(NamedTuple):
    """Result of a loss.

    Attributes
    ----------
    loss : () float
        What to minimise.
    logits : (rows, classes) float
        Scores behind the loss, margins included, for the accuracy: the row's argmax against its target.
    targets : (rows,) int64
        Correct column of each row of `logits`.
    """

    loss: torch.Tensor
    logits: torch.Tensor
    targets: torch.Tensor


def unit_length(vectors: torch.Tensor) -> torch.Tensor:
    """Scale `(..., dim)` vectors to unit length; zeros stay zeros."""
    return functional.normalize(vectors, dim=-1, eps=NORM_FLOOR)


class SpeakerLoss(nn.Module, ABC):
    """Base of the losses: a new one writes `compute` and, unless it classifies, the two class attributes.

    Parameters
    ----------
    embedding_dim : int
    num_speakers : int
        Training speakers; labels are 0 to num_speakers - 1.

    Attributes
    ----------
    utterances_per_speaker : int
        Utterances of each speaker that a batch must hold; 1 when it does not matter.
    distinct_speakers : bool
        Whether a batch must hold exactly `utterances_per_speaker` utterances of each speaker in it.
    tiny : mapping
        Options that make the smallest usable loss, for tests; empty where the defaults do.
    """

    utterances_per_speaker: int = 1
    distinct_speakers: bool = False
    tiny: ClassVar[Mapping[str, object]] = MappingProxyType({})

    def __init__(self, embedding_dim: int, num_speakers: int) -> None:
        super().__init__()
        self.embedding_dim, self.num_speakers = embedding_dim, num_speakers

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> LossOutput:
        """Compute the loss of a batch, in single precision even under autocast (double stays double).

        Parameters
        ----------
        embeddings : (batch, embedding_dim) float
        labels : (batch,) int64

        Raises
        ------
        VouchError
            The shapes do not fit.
        """
        fits = embeddings.ndim == 2 and embeddings.shape[1] == self.embedding_dim
        if not fits or labels.shape != embeddings.shape[:1]:
            raise VouchError(
                f"the loss takes (batch, {self.embedding_dim}) embeddings with (batch,) labels, "
                f"not {tuple(embeddings.shape)} with {tuple(labels.shape)}"
            )
        with torch.autocast(embeddings.device.type, enabled=False):
            return self.compute(embeddings.to(torch.promote_types(embeddings.dtype, torch.float32)), labels)

    def register_number(self, name: str, value: float) -> None:
        """Make a number an attribute that can change from step to step: a `() float64` tensor, filled in place.

        A step that was compiled or captured would not see a Python number change. In double precision, because that
        is what a Python number has. It moves with the loss to its device, and is not part of its state dict.
        """
        self.register_buffer(name, torch.tensor(value, dtype=torch.float64), persistent=False)

    @abstractmethod
    def compute(self, embeddings: torch.Tensor, labels: torch.Tensor) -> LossOutput:
        """Compute the loss of `embeddings : (batch, embedding_dim) float32`, `labels : (batch,) int64`."""
