"""Additive angular margin softmax with sub-centres and a penalty on the hardest other speakers.

Sources: Deng et al., "Sub-center ArcFace: boosting face recognition by large-scale noisy web faces" (ECCV 2020); Zhao
et al., "Multi-query multi-head attention pooling and inter-topK penalty for speaker verification" (ICASSP 2022).
"""

from __future__ import annotations

from typing import Literal

import torch

from vouch.base.errors import VouchError, pick
from vouch.losses.aamsoftmax import BEYOND, check_angular_margin
from vouch.losses.margin import MarginSoftmax, rotate

# Margin from which on the penalty is the full `top_k_margin`, and margin below which there is no penalty.
FULL_MARGIN, LEAST_MARGIN = 0.2, 0.001
MAX_SUBCENTERS = 255


class SubcenterAAMSoftmax(MarginSoftmax):
    """Additive angular margin softmax with several class vectors per speaker, of which the closest counts.

    The additional class vectors can absorb utterances that are mislabelled or unlike the speaker's others. The angles
    to the `top_k` closest other speakers are reduced by top_k_margin * margin / 0.2, where margin is the margin of this
    step; below 0.001 there is no reduction.

    Parameters
    ----------
    embedding_dim, num_speakers : int
        See `SpeakerLoss`.
    margin : float
        In radians, from 0 to below pi / 2.
    scale : float or "auto"
        Factor on the cosines, positive; "auto" is sqrt(2) ln(num_speakers - 1).
    subcenters : int
        Class vectors of each speaker, 1 to 255; those of one speaker are adjacent in `weight`.
    top_k : int
        Number of other speakers that get the penalty (all, if there are fewer); 0 switches the penalty off, as is usual
        in fine-tuning with a large margin.
    top_k_margin : float
        In radians, from 0 to below pi / 2.
    beyond : str
        See `AAMSoftmax`; "continuous" as in WeSpeaker.

    Raises
    ------
    VouchError
        An option is out of range or unknown.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        margin: float = 0.2,
        scale: float | Literal["auto"] = 32.0,
        subcenters: int = 3,
        top_k: int = 5,
        top_k_margin: float = 0.06,
        beyond: str = "continuous",
    ) -> None:
        check_angular_margin(margin)
        check_angular_margin(top_k_margin, "top_k_margin")
        if not 1 <= subcenters <= MAX_SUBCENTERS:
            raise VouchError(f"subcenters must be from 1 to {MAX_SUBCENTERS}, not {subcenters}")
        if top_k < 0:
            raise VouchError(f"top_k must be 0 or more, not {top_k}")
        super().__init__(embedding_dim, num_speakers, margin, scale, subcenters)
        self.enlarge = pick(BEYOND, beyond, "value of beyond")
        self.top_k, self.top_k_margin = top_k, top_k_margin

    @property
    def hardest(self) -> int:
        """Number of other speakers with a penalty; 0 while the margin is 0."""
        return min(self.top_k, self.num_speakers - 1)

    def with_margin(self, cosines: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `MarginSoftmax.with_margin`."""
        margin = self.margin_in_force
        penalty = torch.where(margin >= LEAST_MARGIN, self.top_k_margin * margin / FULL_MARGIN, 0.0)
        own, own_slope = self.enlarge(cosines[:, :1], margin)
        others, others_slope = rotate(cosines[:, 1:], -penalty)
        return torch.cat([own, others], dim=1), torch.cat([own_slope, others_slope], dim=1)
