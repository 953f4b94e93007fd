"""Distances between all embeddings of a batch, for losses over pairs and triplets: `(n, dim) -> (n, n)`.

All keep finite gradients at zeros and at identical and opposite embeddings, and O(n^2) memory (not O(n^2 dim)).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from vouch.losses.base import unit_length

# The slope of the arc cosine is infinite at -1 and 1; nearer to them the angle is constant (4.9e-4 or pi - 4.9e-4).
COSINE_LIMIT = 1.0 - 1e-7
# Elements of the differences that one block of rows may take up: 64 MiB in single precision.
BLOCK_ELEMENTS = 2**24


class Distance(NamedTuple):
    """One entry of `DISTANCES`.

    Attributes
    ----------
    pairwise : function
        `(n, dim) float -> (n, n) float`.
    margin_unit : float
        The distance that a margin of 1 stands for.
    """

    pairwise: Callable[[torch.Tensor], torch.Tensor]
    margin_unit: float


def cosine(embeddings: torch.Tensor) -> torch.Tensor:
    """1 - cos, from 0 to 2; zeros are at distance 1 from everything."""
    unit = unit_length(embeddings)
    return 1.0 - unit @ unit.T


def squared(embeddings: torch.Tensor) -> torch.Tensor:
    """Squared Euclidean distance between the embeddings scaled to unit length, that is 2 (1 - cos), from 0 to 4."""
    return 2.0 * cosine(embeddings)


def angular(embeddings: torch.Tensor) -> torch.Tensor:
    """Angle in radians; gradients vanish within 4.9e-4 of 0 and of pi."""
    return (1.0 - cosine(embeddings)).clamp(-COSINE_LIMIT, COSINE_LIMIT).acos()


def euclidean(embeddings: torch.Tensor) -> torch.Tensor:
    """Euclidean distance of the embeddings as they come; the gradient at distance 0 is 0."""
    # Not by a matrix product, in which the distance of long, nearly equal vectors would be lost to rounding.
    # In blocks of rows, because the backward pass on a GPU keeps the differences of all the pairs of a call.
    blocks = embeddings.split(max(1, BLOCK_ELEMENTS // embeddings.numel()))
    mode = "donot_use_mm_for_euclid_dist"
    return torch.cat([torch.cdist(rows, embeddings, compute_mode=mode) for rows in blocks])


# The unit is the largest value (for "euclidean", that of unit vectors), so that a margin is a share of it, as in
# pyannote.audio. With "squared" a margin is the plain number of FaceNet and voxceleb_trainer.
DISTANCES = {
    "cosine": Distance(cosine, 2.0),
    "euclidean": Distance(euclidean, 2.0),
    "angular": Distance(angular, math.pi),
    "squared": Distance(squared, 1.0),
}
