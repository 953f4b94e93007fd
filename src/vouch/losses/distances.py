"""Distances between all embeddings of a batch, `(n, dim) -> (n, n)`, for losses over pairs and triplets.

All have finite gradients at zero vectors and at identical and opposite embeddings, and need O(n^2) memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from vouch.losses.base import unit_length

# The slope of the arc cosine is infinite at -1 and 1; beyond this limit the angle is constant (4.9e-4 or pi - 4.9e-4).
COSINE_LIMIT = 1.0 - 1e-7
# Most elements of the differences of one block of rows: 64 MiB in single precision.
BLOCK_ELEMENTS = 2**24


class Distance(NamedTuple):
    """One entry of `DISTANCES`.

    Attributes
    ----------
    pairwise : function
        `(n, dim) float -> (n, n) float`.
    margin_unit : float
        Distance that corresponds to a margin of 1.
    """

    pairwise: Callable[[torch.Tensor], torch.Tensor]
    margin_unit: float


def cosine(embeddings: torch.Tensor) -> torch.Tensor:
    """1 - cos, from 0 to 2; a zero vector has distance 1 from everything."""
    unit = unit_length(embeddings)
    return 1.0 - unit @ unit.T


def squared(embeddings: torch.Tensor) -> torch.Tensor:
    """Squared Euclidean distance between embeddings scaled to unit length, which is 2 (1 - cos), from 0 to 4."""
    return 2.0 * cosine(embeddings)


def angular(embeddings: torch.Tensor) -> torch.Tensor:
    """Angle in radians; gradients vanish within 4.9e-4 of 0 and of pi."""
    return (1.0 - cosine(embeddings)).clamp(-COSINE_LIMIT, COSINE_LIMIT).acos()


def euclidean(embeddings: torch.Tensor) -> torch.Tensor:
    """Euclidean distance of embeddings without normalisation; the gradient at distance 0 is 0."""
    # A matrix product would lose the distance of long, nearly equal vectors to rounding. The blocks of rows bound the
    # memory of the differences of all pairs, which the backward pass on a GPU keeps.
    blocks = embeddings.split(max(1, BLOCK_ELEMENTS // embeddings.numel()))
    mode = "donot_use_mm_for_euclid_dist"
    return torch.cat([torch.cdist(rows, embeddings, compute_mode=mode) for rows in blocks])


# The unit is the largest distance (for "euclidean", that of unit vectors), so that margins are relative to it, as in
# pyannote.audio. With "squared", margins are absolute, as in FaceNet and voxceleb_trainer.
DISTANCES = {
    "cosine": Distance(cosine, 2.0),
    "euclidean": Distance(euclidean, 2.0),
    "angular": Distance(angular, math.pi),
    "squared": Distance(squared, 1.0),
}
