"""Features of the utterances of a data directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from vouch.errors import VouchError
from vouch.kaldi.datadir import DataDir
from vouch.kaldi.waves import WaveReader
from vouch.shards import ShardWriter


def compute(feature: nn.Module, samples: np.ndarray) -> np.ndarray:
    """Compute the features of one utterance.

    Parameters
    ----------
    feature : a front end, see `vouch.features`
    samples : (samples,) float32 in [-1, 1]

    Returns
    -------
    (frames, dim) float32

    Raises
    ------
    VouchError : shorter than one frame
    """
    with torch.inference_mode():
        matrix = feature(torch.from_numpy(samples)[None])[0].numpy()
    if not len(matrix):
        raise VouchError(f"{len(samples)} samples are shorter than one frame")
    return matrix


def feature_extractor(
    data: DataDir, feature: nn.Module, progress: Callable[[int], object]
) -> Callable[[Sequence[str], ShardWriter], None]:
    """Return the work of one shard: read, compute and write each utterance, or name why not.

    Parameters
    ----------
    data : loaded with "wav.scp"
    feature : a front end
    progress : called with 1 after each utterance
    """

    def extract(utterances: Sequence[str], shard: ShardWriter) -> None:
        reader = WaveReader(data, feature.sample_rate)
        for utterance in utterances:
            try:
                shard.write(utterance, compute(feature, reader.read(utterance)))
            except VouchError as error:
                shard.failed[utterance] = str(error)
            progress(1)
        shard.notes.update(reader.notes)

    return extract
