"""Additive angular margin softmax (ArcFace).

Source: Deng et al., "ArcFace: additive angular margin loss for deep face recognition" (CVPR 2019), equation 3;
the paper does not treat angles that exceed pi with the margin (see `BEYOND`).
"""

from __future__ import annotations

import math
from typing import Literal

import torch

from vouch.base.errors import VouchError, pick
from vouch.losses.margin import MarginSoftmax, rotate

# "periodic" clamps cosines to this distance from 1 and -1.
PERIODIC_GUARD = 1e-4


def _straight(cosine: torch.Tensor, margin: torch.Tensor, drop: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Add the margin to the angle if the sum stays below pi; otherwise reduce the cosine by `drop`."""
    rotated, slope = rotate(cosine, margin)
    below = cosine > -margin.cos()  # angle < pi - margin
    return torch.where(below, rotated, cosine - drop), torch.where(below, slope, 1.0)


def _linear(cosine: torch.Tensor, margin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return _straight(cosine, margin, margin * margin.sin())


def _continuous(cosine: torch.Tensor, margin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return _straight(cosine, margin, 1.0 - margin.cos())


def _periodic(cosine: torch.Tensor, margin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    guarded = cosine.clamp(PERIODIC_GUARD - 1.0, 1.0 - PERIODIC_GUARD)
    rotated, slope = rotate(guarded, margin)
    # Only the difference that the margin makes is computed from the clamped cosine.
    return cosine + (rotated - guarded), torch.where(guarded == cosine, slope, 1.0)


def _easy(cosine: torch.Tensor, margin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    rotated, slope = rotate(cosine, margin)
    return torch.where(cosine > 0.0, rotated, cosine), torch.where(cosine > 0.0, slope, 1.0)


def check_angular_margin(margin: float, name: str = "margin") -> None:
    """Raise `VouchError` unless an angular margin is at least 0 and below pi / 2."""
    if not 0 <= margin < math.pi / 2:
        raise VouchError(f"{name} must be from 0 to below pi / 2 radians, not {margin}")


BEYOND = {"linear": _linear, "continuous": _continuous, "periodic": _periodic}


class AAMSoftmax(MarginSoftmax):
    """Cross-entropy over scaled cosines, with a margin added to the angle of the target speaker.

    Class vectors are initialised Xavier-normal, as in voxceleb_trainer; pyannote.audio draws them Xavier-uniform, with
    the same variance.

    Parameters
    ----------
    embedding_dim, num_speakers : int
        See `SpeakerLoss`.
    margin : float
        In radians, from 0 to below pi / 2.
    scale : float or "auto"
        Factor on the cosines, positive; "auto" is sqrt(2) ln(num_speakers - 1).
    easy_margin : bool
        Apply the margin only where the angle is below pi / 2, and leave larger angles as they are.
    beyond : str
        Value that replaces the cosine where the angle plus the margin exceeds pi: "linear", cos - margin sin(margin),
        as in ArcFace and voxceleb_trainer, which is discontinuous there; "continuous", cos - (1 - cos(margin)), as in
        WeSpeaker and 3D-Speaker; or "periodic", cos(angle + margin), as in pyannote.audio 1, which rises again.
        "periodic" also clamps the cosines from which the margin's difference is computed to 1e-4 from 1 and -1.

    Raises
    ------
    VouchError
        Margin or scale out of range, unknown `beyond`, or `easy_margin` with another `beyond` than "linear".
    """

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        margin: float = 0.2,
        scale: float | Literal["auto"] = 30.0,
        easy_margin: bool = False,
        beyond: str = "linear",
    ) -> None:
        check_angular_margin(margin)
        super().__init__(embedding_dim, num_speakers, margin, scale)
        self.enlarge = pick(BEYOND, beyond, "value of beyond")
        if easy_margin and beyond != "linear":
            raise VouchError(f"easy_margin never exceeds pi: it cannot be combined with beyond '{beyond}'")
        self.easy_margin = easy_margin

    def with_margin(self, cosines: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `MarginSoftmax.with_margin`."""
        return (_easy if self.easy_margin else self.enlarge)(cosines, self.margin_in_force)
