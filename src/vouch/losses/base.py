"""Defines the base class of losses and their result; checks the input and sets the precision once for all losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from vouch.base.errors import VouchError

# Shorter vectors are divided by this length, which keeps the gradient finite at a zero vector.
NORM_FLOOR = 1e-8


class LossOutput(NamedTuple):
    """Result of a loss.

    Attributes
    ----------
    loss : () float
        Value to minimise.
    logits : (rows, classes) float
        Scores behind the loss, margins included; for the accuracy, the argmax of each row is compared with its target.
    targets : (rows,) int64
        Correct column of each row of `logits`.
    """

    loss: torch.Tensor
    logits: torch.Tensor
    targets: torch.Tensor


def unit_length(vectors: torch.Tensor) -> torch.Tensor:
    """Scale `(..., dim)` vectors to unit length; zero vectors stay zero."""
    return functional.normalize(vectors, dim=-1, eps=NORM_FLOOR)


class SpeakerLoss(nn.Module, ABC):
    """Base class of losses: a subclass defines `compute` and, unless it classifies, the first two class attributes.

    Parameters
    ----------
    embedding_dim : int
    num_speakers : int
        Number of training speakers; labels are 0 to num_speakers - 1.

    Attributes
    ----------
    utterances_per_speaker : int
        Utterances of each speaker that a batch must hold; 1 if the loss does not need several.
    distinct_speakers : bool
        Whether a batch must hold exactly `utterances_per_speaker` utterances of each speaker in it.
    tiny : mapping
        Options for a loss as small as possible, used by tests; empty if the defaults serve.
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
        """Store a number that can change from step to step as a `() float64` tensor, which is filled in place.

        A compiled or captured step would not notice the change of a Python number. Double precision is that of Python
        numbers. The tensor moves with the loss to its device and is not in its state dict.
        """
        self.register_buffer(name, torch.tensor(value, dtype=torch.float64), persistent=False)

    @abstractmethod
    def compute(self, embeddings: torch.Tensor, labels: torch.Tensor) -> LossOutput:
        """Compute the loss of `embeddings : (batch, embedding_dim) float32`, `labels : (batch,) int64`."""
