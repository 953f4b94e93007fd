"""Base classes of losses over batches with the same number of utterances of each of several speakers."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from vouch.base.errors import VouchError
from vouch.losses.base import LossOutput, SpeakerLoss

MIN_W = 1e-6


class GroupedLoss(SpeakerLoss):
    """Base class of losses that compare the utterances of a batch with each other.

    Parameters
    ----------
    embedding_dim, num_speakers : int
        See `SpeakerLoss`.
    utterances_per_speaker : int
        At least 2.

    Raises
    ------
    VouchError
        Fewer than two utterances per speaker.
    """

    distinct_speakers = True

    def __init__(self, embedding_dim: int, num_speakers: int, utterances_per_speaker: int) -> None:
        super().__init__(embedding_dim, num_speakers)
        if utterances_per_speaker < 2:
            raise VouchError(f"{self._name} needs at least 2 utterances per speaker, not {utterances_per_speaker}")
        self.utterances_per_speaker = utterances_per_speaker

    @property
    def _name(self) -> str:
        """Name of the loss as users write it."""
        return type(self).__name__.lower()

    def grouped(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Sort a batch into groups.

        Parameters
        ----------
        embeddings : (batch, embedding_dim) float
        labels : (batch,) int64
            In any order.

        Returns
        -------
        (speakers, utterances_per_speaker, embedding_dim) float
            Speakers in the order of their labels, the utterances of each in the order of the batch.

        Raises
        ------
        VouchError
            The batch does not hold exactly `utterances_per_speaker` utterances of each of at least two speakers. On a
            GPU and in a compiled step only the number of labels is checked, since reading them would make the host
            wait for the device.
        """
        self._check_batch(labels)
        order = labels.argsort(stable=True)
        return embeddings[order].view(-1, self.utterances_per_speaker, self.embedding_dim)

    def _check_batch(self, labels: torch.Tensor) -> None:
        """Raise unless the batch consists of complete groups of at least two speakers."""
        wanted = self.utterances_per_speaker
        complete = len(labels) % wanted == 0 and len(labels) >= 2 * wanted
        found = f"{len(labels)} utterances"
        if labels.device.type == "cpu" and not torch.compiler.is_compiling():
            counts = labels.unique(return_counts=True)[1]
            complete = complete and bool((counts == wanted).all())
            if len(counts):
                found += f" of {len(counts)} speakers, {int(counts.min())} to {int(counts.max())} of each"
        if not complete:
            raise VouchError(f"{self._name} needs {wanted} utterances of each of 2 or more speakers, not {found}")


class ScaledCosineLoss(GroupedLoss):
    """Base class of grouped losses with similarity w cos + b, where w > 0 (initially 10) and b (-5) are learned.

    Parameters
    ----------
    embedding_dim, num_speakers, utterances_per_speaker : int
        See `GroupedLoss`.
    """

    def __init__(self, embedding_dim: int, num_speakers: int, utterances_per_speaker: int) -> None:
        super().__init__(embedding_dim, num_speakers, utterances_per_speaker)
        self.w = nn.Parameter(torch.tensor(10.0))
        self.b = nn.Parameter(torch.tensor(-5.0))

    def similarity(self, cosine: torch.Tensor) -> torch.Tensor:
        """Return the similarities for cosines of any shape."""
        # The value is clamped, but the gradient is that of w itself, so that a w below zero can grow again.
        w = self.w + (self.w.clamp(min=MIN_W) - self.w).detach()
        return w * cosine + self.b


def query_and_anchor(grouped: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Split `(speakers, utterances, dim)` into the first utterances and the means of the others, `(speakers, dim)`."""
    return grouped[:, 0], grouped[:, 1:].mean(dim=1)


def match_queries(similarity: torch.Tensor) -> LossOutput:
    """Cross-entropy of `similarity : (queries, anchors)`, where anchor i is the target of query i."""
    own = torch.arange(len(similarity), device=similarity.device)
    return LossOutput(functional.cross_entropy(similarity, own), similarity, own)
