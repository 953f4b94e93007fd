"""Base class of softmax losses with a margin: class vectors, scale, and a margin that may grow during training."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Literal

import torch
from torch import nn

from vouch.base.errors import VouchError
from vouch.losses.base import LossOutput, SpeakerLoss
from vouch.losses.cosine_cross_entropy import cosine_cross_entropy

# Floor of the squared sine: too small to change a value, large enough to keep the derivative of its root finite.
SQUARED_SINE_FLOOR = 1e-14


def resolve_scale(scale: float | str, num_speakers: int) -> float:
    """Return the factor on the cosines; "auto" is sqrt(2) ln(num_speakers - 1).

    The rule is the fixed scale of Zhang et al., "AdaCos: adaptively scaling cosine logits for effectively learning
    deep face representations" (CVPR 2019).

    Raises
    ------
    VouchError
        The scale is not positive, or "auto" with fewer than three speakers.
    """
    if scale == "auto":
        if num_speakers < 3:
            raise VouchError(f"scale 'auto' needs at least 3 speakers, not {num_speakers}; give a number")
        return math.sqrt(2.0) * math.log(num_speakers - 1)
    if isinstance(scale, str) or not (scale > 0 and math.isfinite(scale)):
        raise VouchError(f"scale must be a positive number or 'auto', not {scale}")
    return scale


def rotate(cosine: torch.Tensor, angle: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine of the angle increased by `angle : () float64` radians, and its derivative with respect to `cosine`.

    At cosines of 1 and -1 the derivative is infinite; there the infinite term is left out.
    """
    squared_sine = 1.0 - cosine.square()
    sine = squared_sine.clamp(min=SQUARED_SINE_FLOOR).sqrt()
    sine_slope = torch.where(squared_sine > SQUARED_SINE_FLOOR, -cosine / sine, 0.0)
    rotated = cosine * angle.cos() - sine * angle.sin()
    return rotated, angle.cos() - sine_slope * angle.sin()


class MarginSoftmax(SpeakerLoss):
    """Base class of losses with a margin: cross-entropy over scaled cosines, with the target speaker's reduced.

    A subclass defines `with_margin`.

    Parameters
    ----------
    embedding_dim, num_speakers : int
        See `SpeakerLoss`.
    margin : float
        The full margin, before any schedule.
    scale : float or "auto"
        Factor on the cosines, or "auto" for the rule of `resolve_scale`.
    subcenters : int
        Class vectors of each speaker; the closest one gives the cosine.

    Attributes
    ----------
    margin, scale : () float64
        Can be changed in place between steps: `loss.margin.fill_(0.3)`.
    margin_share : () float64
        Share of the margin that is applied, 0 to 1; a margin schedule fills it before each step.
    weight : (num_speakers * subcenters, embedding_dim) float32
        Class vectors; those of one speaker are adjacent.

    Raises
    ------
    VouchError
        Scale out of range.
    """

    margin: torch.Tensor
    margin_share: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        margin: float,
        scale: float | Literal["auto"],
        subcenters: int = 1,
    ) -> None:
        super().__init__(embedding_dim, num_speakers)
        self.register_number("margin", margin)
        self.register_number("margin_share", 1.0)
        self.register_number("scale", resolve_scale(scale, num_speakers))
        self.subcenters = subcenters
        self.weight = nn.Parameter(torch.empty(num_speakers * subcenters, embedding_dim))
        nn.init.xavier_normal_(self.weight)

    @property
    def margin_in_force(self) -> torch.Tensor:
        """Margin of this step, `() float64`."""
        return self.margin * self.margin_share

    @property
    def hardest(self) -> int:
        """Number of other speakers, those with the largest cosines, whose cosines are changed too."""
        return 0

    @abstractmethod
    def with_margin(self, cosines: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the values that replace the cosines, and their derivatives with respect to the cosines.

        Parameters
        ----------
        cosines : (batch, 1 + hardest) float32
            Cosines of the target speaker (column 0) and of the hardest other speakers.
        """

    def compute(self, embeddings: torch.Tensor, labels: torch.Tensor) -> LossOutput:
        """See `SpeakerLoss.forward`; logits are `(batch, num_speakers)`, with scale and margin."""
        return cosine_cross_entropy(
            embeddings, self.weight, labels, self.scale, self.with_margin, self.hardest, self.subcenters
        )
