"""Softmax cross-entropy over the training speakers."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from vouch.losses.base import LossOutput, SpeakerLoss


class Softmax(SpeakerLoss):
    """Linear classifier with mean cross-entropy.

    Parameters
    ----------
    embedding_dim, num_speakers : int
        See `SpeakerLoss`.
    """

    def __init__(self, embedding_dim: int, num_speakers: int) -> None:
        super().__init__(embedding_dim, num_speakers)
        self.fc = nn.Linear(embedding_dim, num_speakers)

    def compute(self, embeddings: torch.Tensor, labels: torch.Tensor) -> LossOutput:
        """See `SpeakerLoss.forward`; logits are `(batch, num_speakers)`."""
        logits = self.fc(embeddings)
        return LossOutput(functional.cross_entropy(logits, labels), logits, labels)
