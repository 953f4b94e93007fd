"""Features of one utterance."""

from __future__ import annotations

import zlib

import numpy as np
import torch

from vouch.base.errors import VouchError
from vouch.features.base import FrontEnd

# Samples at the beginning of a recording that its dither follows from.
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
        Waveforms are (samples,).

    Raises
    ------
    VouchError
        Shorter than one frame.
    """
    waves = torch.from_numpy(samples)[None]
    with torch.inference_mode():
        if feature.dither:
            # A sequence of its own: the noise depends neither on jobs nor on what was computed before.
            seed = zlib.crc32(np.ascontiguousarray(samples[:SEED_SAMPLES]).data)
            matrix = feature(waves, torch.Generator().manual_seed(seed))[0].numpy()
        else:
            matrix = feature(waves)[0].numpy()
    if not len(matrix):
        raise VouchError(f"{len(samples)} samples are shorter than one frame")
    return matrix
