"""Generalised end-to-end loss.

Source: Wan et al., "Generalized end-to-end loss for speaker verification" (ICASSP 2018), equations 4 to 9.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from vouch.base.errors import VouchError, pick
from vouch.losses.base import LossOutput, unit_length
from vouch.losses.groups import ScaledCosineLoss


def _softmax(similarity: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """Equation 6: cross-entropy of `similarity : (rows, speakers)`, where `own : (rows,)` are the true speakers."""
    return functional.cross_entropy(similarity, own, reduction="none")


def _contrast(similarity: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """Equation 7: 1 minus the sigmoid for the true speaker plus the sigmoid for the most similar other speaker."""
    column = own[:, None]
    others = similarity.scatter(1, column, -torch.inf)
    return 1.0 - similarity.gather(1, column).squeeze(1).sigmoid() + others.amax(dim=1).sigmoid()


VARIANTS = {"softmax": _softmax, "contrast": _contrast}
REDUCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"mean": torch.mean, "sum": torch.sum}


class GE2E(ScaledCosineLoss):
    """Compares each utterance with the centroid of every speaker in the batch; its own centroid leaves it out.

    Similarity is w cos + b with learned w > 0 and b; centroids are means of embeddings without normalisation.

    Parameters
    ----------
    embedding_dim, num_speakers : int
        See `SpeakerLoss`; the loss has no weights per speaker.
    utterances_per_speaker : int
        At least 2; speakers with fewer are left out, and the batch size must be a multiple. The paper uses 10. More
        utterances give better centroids, but fewer speakers per batch; with 2, the centroid is the other utterance,
        which after the same number of epochs gave three times the EER of 4 (egs/demo/RESULTS.md).
    variant : str
        "softmax" (better for text-independent speech in the paper) or "contrast".
    reduction : str
        "mean" over the utterances, or "sum" as in the paper (the step then grows with the batch size).
    min_cosine : float
        Smaller cosines are raised to this value and lose their gradient; -1 changes nothing, 1e-6 reproduces
        implementations that clamp.

    Raises
    ------
    VouchError
        Fewer than two utterances per speaker, unknown variant or reduction, or `min_cosine` outside [-1, 1).
    """

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        utterances_per_speaker: int = 4,
        variant: str = "softmax",
        reduction: str = "mean",
        min_cosine: float = -1.0,
    ) -> None:
        super().__init__(embedding_dim, num_speakers, utterances_per_speaker)
        if not -1.0 <= min_cosine < 1.0:
            raise VouchError(f"min_cosine must be from -1 to below 1, not {min_cosine}")
        self.min_cosine = min_cosine
        self.row_loss = pick(VARIANTS, variant, "variant of ge2e")
        self.reduce = pick(REDUCTIONS, reduction, "reduction of ge2e")

    def compute(self, embeddings: torch.Tensor, labels: torch.Tensor) -> LossOutput:
        """See `SpeakerLoss.forward`, `grouped`; logits are `(batch, speakers of the batch)`, rows grouped by label."""
        grouped = self.grouped(embeddings, labels)
        cosine = self._cosines(grouped).flatten(0, 1)
        own = torch.arange(len(grouped), device=labels.device).repeat_interleave(self.utterances_per_speaker)
        similarity = self.similarity(cosine.clamp(min=self.min_cosine))
        return LossOutput(self.reduce(self.row_loss(similarity, own)), similarity, own)

    def _cosines(self, grouped: torch.Tensor) -> torch.Tensor:
        """Cosine of each utterance to each centroid, `(speakers, utterances, dim) -> (..., speakers)`."""
        total = grouped.sum(dim=1)
        centroids = unit_length(total / self.utterances_per_speaker)
        without_self = unit_length((total[:, None] - grouped) / (self.utterances_per_speaker - 1))
        unit = unit_length(grouped)
        own = torch.eye(len(grouped), dtype=torch.bool, device=grouped.device)[:, None]
        return torch.where(own, (unit * without_self).sum(dim=2, keepdim=True), unit @ centroids.T)
