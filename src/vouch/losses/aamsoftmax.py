"""Additive angular margin softmax (ArcFace).

Source: Deng et al., "ArcFace: additive angular margin loss for deep face recognition" (CVPR 2019), equation
3; the continuation beyond pi - margin is the one of its public implementation.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from vouch.errors import VouchError
from vouch.losses.base import LossOutput, SpeakerLoss, unit_length

# Floor of the squared sine: too small to change a value, large enough to keep the slope of the root finite.
SQUARED_SINE_FLOOR = 1e-14


class AAMSoftmax(SpeakerLoss):
    """Cross-entropy over scaled cosines, the own speaker's angle enlarged by a margin.

    Parameters
    ----------
    embedding_dim, num_speakers : int
        See `SpeakerLoss`.
    margin : float
        In radians, from 0 to below pi / 2. May be changed between steps.
    scale : float
        Factor on the cosines, positive.
    easy_margin : bool
        Apply the margin only where the angle is below pi / 2, and leave larger angles as they are. Otherwise
        it is applied up to pi - margin, and larger angles get cos - margin * sin(margin).

    Raises
    ------
    VouchError
        Margin or scale out of range.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        margin: float = 0.2,
        scale: float = 30.0,
        easy_margin: bool = False,
    ) -> None:
        super().__init__(embedding_dim, num_speakers)
        if not 0 <= margin < math.pi / 2:
            raise VouchError(f"margin must be from 0 to below pi / 2 radians, not {margin}")
        if not (scale > 0 and math.isfinite(scale)):
            raise VouchError(f"scale must be a positive number, not {scale}")
        self.margin, self.scale, self.easy_margin = margin, scale, easy_margin
        self.weight = nn.Parameter(torch.empty(num_speakers, embedding_dim))
        nn.init.xavier_normal_(self.weight)

    def compute(self, embeddings: torch.Tensor, labels: torch.Tensor) -> LossOutput:
        """See `SpeakerLoss.forward`; logits are `(batch, num_speakers)`, scaled and with the margin."""
        # The scale goes in before the product, so that there is one (batch, num_speakers) matrix, not two.
        logits = functional.linear(self.scale * unit_length(embeddings), unit_length(self.weight))
        # Indexing, because gather keeps its whole input for the backward pass: no write in place after it.
        cosine = logits[torch.arange(len(labels), device=labels.device), labels] / self.scale
        logits.scatter_(1, labels[:, None], self.scale * self._with_margin(cosine)[:, None])
        return LossOutput(functional.cross_entropy(logits, labels), logits, labels)

    def _with_margin(self, cosine: torch.Tensor) -> torch.Tensor:
        """Cosine of the angle enlarged by the margin: `(batch,) -> (batch,)`."""
        sine = (1.0 - cosine.square()).clamp(SQUARED_SINE_FLOOR, 1.0).sqrt()
        enlarged = cosine * math.cos(self.margin) - sine * math.sin(self.margin)
        if self.easy_margin:
            return torch.where(cosine > 0.0, enlarged, cosine)
        # sin(pi - margin) = sin(margin), cos(pi - margin) = -cos(margin)
        beyond = cosine - self.margin * math.sin(self.margin)
        return torch.where(cosine > -math.cos(self.margin), enlarged, beyond)
