"""What is done to embeddings before they are compared: centring, a linear map, scaling to length 1 (numpy only)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vouch.base.errors import VouchError
from vouch.scoring.cosine import normalize_length
from vouch.scoring.lda import apply_affine


class Preparation(NamedTuple):
    """The steps, in this order; the last one, to length 1, is always taken.

    Attributes
    ----------
    mean : (dim,) float array, optional
        Subtracted from each embedding; None: nothing is.
    lda : ndarray, optional
        (kept, dim) or (kept, dim + 1) float array, see `vouch.scoring.lda.apply_affine`; None: no map.
    """

    mean: np.ndarray | None = None
    lda: np.ndarray | None = None

    def __call__(self, embeddings: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Return (n, dim or kept) array of length 1 each, of (n, dim) embeddings whose `names` are (n,) of str.

        Raises
        ------
        VouchError
            The mean or the map is for another dimension, or what is left of an embedding is zero.
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
