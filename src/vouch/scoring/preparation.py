"""Prepares embeddings for comparison: centring, a linear map, length normalisation (numpy only)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vouch.base.errors import VouchError
from vouch.scoring.cosine import normalize_length
from vouch.scoring.lda import apply_affine


class Preparation(NamedTuple):
    """The steps in this order; the length normalisation is always applied.

    Attributes
    ----------
    mean : (dim,) float array, optional
        Subtracted from each embedding; None: no centring.
    lda : ndarray, optional
        (kept, dim) or (kept, dim + 1) float array, see `vouch.scoring.lda.apply_affine`; None: no linear map.
    """

    mean: np.ndarray | None = None
    lda: np.ndarray | None = None

    def __call__(self, embeddings: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Return the prepared (n, dim or kept) embeddings; `names` are the ids of the (n, dim) `embeddings`.

        Raises
        ------
        VouchError
            The mean or the map has another dimension, or an embedding becomes zero.
        """
        if self.mean is not None:
            if len(self.mean) != embeddings.shape[1]:
                raise VouchError(
                    f"the mean has {len(self.mean)} dimensions, the embeddings {embeddings.shape[1]};"
                    " both must come from the same model"
                )
            embeddings = embeddings - self.mean.astype(embeddings.dtype)
        if self.lda is not None:
            embeddings = apply_affine(self.lda.astype(embeddings.dtype), embeddings)
        return normalize_length(embeddings, names)
