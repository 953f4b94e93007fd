"""Gain and clipping: recordings that are too quiet, too loud, or beyond what the converter takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch

from vouch.augment.base import Effect
from vouch.augment.draws import check_range


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
