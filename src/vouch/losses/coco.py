"""Congenerous cosine loss.

Source: Liu et al., "Rethinking feature discrimination and polymerization for large-scale recognition" (2017); the
default scale is pyannote.audio 1's.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from vouch.losses.base import LossOutput, SpeakerLoss
from vouch.losses.cosine_cross_entropy import cosine_cross_entropy
from vouch.losses.margin import resolve_scale


class Coco(SpeakerLoss):
    """Cross-entropy over scaled cosines to a learned centre of each speaker, without a margin.

    Parameters
    ----------
    embedding_dim, num_speakers : int
        See `SpeakerLoss`.
    scale : float or "auto"
        Factor on the cosines, positive; "auto" is sqrt(2) ln(num_speakers - 1).

    Raises
    ------
    VouchError
        Scale out of range.
    """

    scale: torch.Tensor

    def __init__(self, embedding_dim: int, num_speakers: int, scale: float | Literal["auto"] = "auto") -> None:
        super().__init__(embedding_dim, num_speakers)
        self.register_number("scale", resolve_scale(scale, num_speakers))
        self.centers = nn.Parameter(torch.randn(num_speakers, embedding_dim))

    def compute(self, embeddings: torch.Tensor, labels: torch.Tensor) -> LossOutput:
        """See `SpeakerLoss.forward`; logits are `(batch, num_speakers)`, scaled."""
        return cosine_cross_entropy(embeddings, self.centers, labels, self.scale)
