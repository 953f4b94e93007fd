"""Gain, clipping and peak normalisation: recordings too quiet, too loud, or beyond what the converter takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch

from vouch.augment.base import Effect
from vouch.augment.draws import check_range
from vouch.base.errors import VouchError


class Gain(Effect):
    """Multiplies by a factor that is drawn uniformly in dB.

    Parameters
    ----------
    db : sequence of float
        Least and most.

    Raises
    ------
    VouchError
        The pair does not rise.
    """

    tiny: ClassVar = {"db": [-10.0, 10.0]}

    def __init__(self, db: Sequence[float] = (-12.0, 12.0)) -> None:
        self.db = check_range("db of gain", db, -200, 200)

    def draw(self, rng: np.random.Generator, rows: int, samples: int) -> dict[str, np.ndarray]:
        return {"db": rng.uniform(*self.db, rows)}

    def apply(self, waves: torch.Tensor, drawn: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return waves * 10 ** (drawn["db"] / 20)[:, None]


class Clip(Effect):
    """Cuts off what exceeds a share of the largest magnitude; the share is drawn uniformly.

    Parameters
    ----------
    share : sequence of float
        Least and most, above 0 and at most 1.

    Raises
    ------
    VouchError
        The pair does not rise, or is out of range.
    """

    tiny: ClassVar = {"share": [0.3, 0.8]}

    def __init__(self, share: Sequence[float] = (0.3, 1.0)) -> None:
        self.share = check_range("share of clip", share, 1e-3, 1)

    def draw(self, rng: np.random.Generator, rows: int, samples: int) -> dict[str, np.ndarray]:
        return {"share": rng.uniform(*self.share, rows)}

    def apply(self, waves: torch.Tensor, drawn: Mapping[str, torch.Tensor]) -> torch.Tensor:
        limit = drawn["share"][:, None] * waves.abs().amax(dim=1, keepdim=True)
        return waves.clamp(-limit, limit)


class NormalizePeak(Effect):
    """Divides by the largest magnitude, to which a floor is added: x / (max |x| + f).

    WeSpeaker does so after it has added noise or a room.

    Parameters
    ----------
    floor : float
        f, above 0 and at most 1; WeSpeaker has 1e-4.

    Raises
    ------
    VouchError
        The floor is out of range.
    """

    def __init__(self, floor: float = 1e-4) -> None:
        if not 0 < floor <= 1:
            raise VouchError(f"floor of normalize_peak must be above 0 and at most 1, not {floor}")
        self.floor = floor

    def draw(self, rng: np.random.Generator, rows: int, samples: int) -> dict[str, np.ndarray]:
        return {}

    def apply(self, waves: torch.Tensor, drawn: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return waves / (waves.abs().amax(dim=1, keepdim=True) + self.floor)
