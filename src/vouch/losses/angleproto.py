"""Angular prototypical loss.

Source: Chung et al., "In defence of metric learning for speaker recognition" (Interspeech 2020), section 2.2.
"""

from __future__ import annotations

import torch

from vouch.losses.base import LossOutput, unit_length
from vouch.losses.groups import ScaledCosineLoss, match_queries, query_and_anchor


class AngleProto(ScaledCosineLoss):
    """Classifies the first utterance of each speaker, the query, by the means of the speakers' other utterances.

    The loss is the cross-entropy over the similarities of a query to the means (prototypes) of all speakers in the
    batch. Similarity is w cos + b with learned w > 0 and b; the means are of embeddings without normalisation.

    Parameters
    ----------
    embedding_dim, num_speakers : int
        See `SpeakerLoss`; the loss has no weights per speaker.
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
        return match_queries(self.similarity(unit_length(query) @ unit_length(anchor).T))
