"""Additive margin softmax.

Sources: Wang et al., "Additive margin softmax for face verification" (IEEE Signal Processing Letters 2018), equation 6;
Wang et al., "CosFace: large margin cosine loss for deep face recognition" (CVPR 2018), equation 4.
"""

from __future__ import annotations

from typing import Literal

import torch

from vouch.base.errors import VouchError
from vouch.losses.margin import MarginSoftmax


class AMSoftmax(MarginSoftmax):
    """Cross-entropy over scaled cosines, with the cosine of the target speaker reduced by a margin.

    The class vectors are the rows of `weight`; voxceleb_trainer stores them as the columns of `W`, which must be
    transposed for conversion.

    Parameters
    ----------
    embedding_dim, num_speakers : int
        See `SpeakerLoss`.
    margin : float
        In units of the cosine, from 0 to 1.
    scale : float or "auto"
        Factor on the cosines; "auto" is sqrt(2) ln(num_speakers - 1).

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
        scale: float | Literal["auto"] = 30.0,
    ) -> None:
        if not 0 <= margin <= 1:
            raise VouchError(f"margin must be from 0 to 1, not {margin}")
        super().__init__(embedding_dim, num_speakers, margin, scale)

    def with_margin(self, cosines: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `MarginSoftmax.with_margin`."""
        return cosines - self.margin_in_force, torch.ones_like(cosines)
