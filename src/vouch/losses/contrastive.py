"""Contrastive loss.

Sources: Hadsell et al., "Dimensionality reduction by learning an invariant mapping" (CVPR 2006), equation 4; for
speakers, Coria et al., "A comparison of metric learning loss functions for end-to-end speaker verification" (SLSP
2020).
"""

from __future__ import annotations

import math

import torch

from vouch.base.errors import VouchError, pick
from vouch.losses.base import LossOutput
from vouch.losses.distances import DISTANCES
from vouch.losses.groups import GroupedLoss

# Smallest max(margin - d) for pairs of different speakers, as in pyannote.audio.
MIN_SHORTFALL = 1e-8


class Contrastive(GroupedLoss):
    """Pulls pairs of one speaker together and pushes pairs of different speakers apart up to a margin.

    The loss is half the mean over all pairs of the batch of d^2 for the same speaker and of max(margin - d, 1e-8)^2 for
    different speakers. The more speakers a batch holds, the larger is the share of pairs of different speakers.

    Parameters
    ----------
    embedding_dim, num_speakers : int
        See `SpeakerLoss`; the loss has no weights.
    utterances_per_speaker : int
        At least 2.
    metric : str
        "cosine", "euclidean", "angular" or "squared"; see `vouch.losses.distances`.
    margin : float
        Positive. Relative to the largest distance, which is 2 ("cosine"; "euclidean", if the vectors have unit length)
        or pi ("angular"); absolute with "squared".

    Raises
    ------
    VouchError
        The metric is unknown, or a number is out of range.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        utterances_per_speaker: int = 2,
        metric: str = "cosine",
        margin: float = 0.2,
    ) -> None:
        super().__init__(embedding_dim, num_speakers, utterances_per_speaker)
        self.distance = pick(DISTANCES, metric, "metric of contrastive")
        if not (margin > 0 and math.isfinite(margin)):
            raise VouchError(f"margin must be a positive number, not {margin}")
        self.margin = margin * self.distance.margin_unit

    def compute(self, embeddings: torch.Tensor, labels: torch.Tensor) -> LossOutput:
        """See `SpeakerLoss.forward` and `grouped`; logits are `(pairs, 2)`: 0 and margin / 2 - d.

        The target is 1 for pairs of one speaker, 0 for others.
        """
        matrix = self.distance.pairwise(self.grouped(embeddings, labels).flatten(0, 1))
        rows, columns = matrix.shape
        first, second = torch.triu_indices(rows, columns, offset=1, device=matrix.device)
        same = first // self.utterances_per_speaker == second // self.utterances_per_speaker
        distance = matrix[first, second]
        shortfall = (self.margin - distance).clamp(min=MIN_SHORTFALL)
        loss = torch.where(same, distance, shortfall).square().mean() / 2
        return LossOutput(loss, torch.stack([torch.zeros_like(distance), self.margin / 2 - distance], 1), same.long())
