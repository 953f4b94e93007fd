"""Computes the features of one utterance."""

from __future__ import annotations

import zlib

import numpy as np
import torch

from vouch.base.errors import VouchError
from vouch.features.base import FrontEnd

# Number of samples at the beginning of a recording from which the seed of its dither is computed.
SEED_SAMPLES = 16000


def compute(feature: FrontEnd, samples: np.ndarray) -> np.ndarray:
    """Compute the features of one utterance; the same samples always give the same features.

    Parameters
    ----------
    feature : FrontEnd
        A front end, see `vouch.features`.
    samples : (samples,) float32 in [-1, 1]

    Returns
    -------
    (frames, dim) float32
        (samples,) for the front end "waveform".

    Raises
    ------
    VouchError
        The utterance is shorter than one frame.
    """
    waves = torch.from_numpy(samples)[None]
    with torch.inference_mode():
        if feature.dither:
            # A generator for each utterance, so that the dither depends neither on jobs nor on earlier utterances.
            seed = zlib.crc32(np.ascontiguousarray(samples[:SEED_SAMPLES]).data)
            matrix = feature(waves, torch.Generator().manual_seed(seed))[0].numpy()
        else:
            matrix = feature(waves)[0].numpy()
    if not len(matrix):
        raise VouchError(f"{len(samples)} samples are shorter than one frame")
    return matrix
