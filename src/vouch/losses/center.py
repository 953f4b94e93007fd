"""Center loss: softmax cross-entropy plus the distance of each embedding to its speaker's centre.

Source: Wen et al., "A discriminative feature learning approach for deep face recognition" (ECCV 2016), equation 5. As
in pyannote.audio 1, the distance is computed from cosines instead of Euclidean, and the centres are learned by
gradient.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from vouch.base.errors import VouchError
from vouch.losses.base import LossOutput, SpeakerLoss, unit_length


class Center(SpeakerLoss):
    """Linear classifier without bias, plus `loss_weight` times half the mean squared cosine distance to the centre.

    Parameters
    ----------
    embedding_dim, num_speakers : int
        See `SpeakerLoss`.
    loss_weight : float
        Weight of the distances, at least 0.

    Raises
    ------
    VouchError
        The weight is negative.
    """

    def __init__(self, embedding_dim: int, num_speakers: int, loss_weight: float = 1.0) -> None:
        super().__init__(embedding_dim, num_speakers)
        if not (loss_weight >= 0 and math.isfinite(loss_weight)):
            raise VouchError(f"loss_weight must be 0 or more, not {loss_weight}")
        self.loss_weight = loss_weight
        self.weight = nn.Parameter(torch.empty(num_speakers, embedding_dim))
        # Uniform within 1 / sqrt(embedding_dim), as torch initialises linear layers.
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5.0))
        self.centers = nn.Parameter(torch.randn(num_speakers, embedding_dim))

    def compute(self, embeddings: torch.Tensor, labels: torch.Tensor) -> LossOutput:
        """See `SpeakerLoss.forward`; logits are those of the classifier, `(batch, num_speakers)`."""
        logits = functional.linear(embeddings, self.weight)
        cosine = (unit_length(embeddings) * unit_length(self.centers[labels])).sum(dim=1)
        distance = (1.0 - cosine).square().mean() / 2.0
        return LossOutput(functional.cross_entropy(logits, labels) + self.loss_weight * distance, logits, labels)
