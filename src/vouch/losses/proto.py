"""Prototypical loss.

Source: Snell et al., "Prototypical networks for few-shot learning" (NeurIPS 2017), equations 1 and 2; for
speakers, Chung et al., "In defence of metric learning for speaker recognition" (Interspeech 2020), section 2.2.
"""

from __future__ import annotations

import torch

from vouch.losses.base import LossOutput
from vouch.losses.groups import GroupedLoss, match_queries, query_and_anchor

# Added to each component of a difference, as in PyTorch's `pairwise_distance`.
COMPONENT_OFFSET = 1e-6


class Proto(GroupedLoss):
    """Classifies the first utterance of each speaker, the query, by the means of the speakers' other utterances.

    The loss is the cross-entropy over the negative squared Euclidean distances of a query to the means (prototypes) of
    all speakers in the batch. Embeddings are not normalised.

    Parameters
    ----------
    embedding_dim, num_speakers : int
        See `SpeakerLoss`; the loss has no weights.
    utterances_per_speaker : int
        At least 2.

    Raises
    ------
    VouchError
        Fewer than two utterances per speaker.
    """

    def __init__(self, embedding_dim: int, num_speakers: int, utterances_per_speaker: int = 2) -> None:
        super().__init__(embedding_dim, num_speakers, utterances_per_speaker)

    def compute(self, embeddings: torch.Tensor, labels: torch.Tensor) -> LossOutput:
        """See `SpeakerLoss.forward` and `grouped`; logits are `(speakers, speakers)` of the batch, in label order."""
        query, anchor = query_and_anchor(self.grouped(embeddings, labels))
        # A matrix product would lose the distance of long, nearly equal vectors to rounding.
        distance = torch.cdist(query + COMPONENT_OFFSET, anchor, compute_mode="donot_use_mm_for_euclid_dist")
        return match_queries(-distance.square())
