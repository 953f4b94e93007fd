"""Features of the utterances of a data directory."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from vouch.audio.reading import MEAN
from vouch.base.errors import VouchError
from vouch.jobs.shards import ShardWriter
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.stores.reader import WaveReader
from vouch.work.soundcheck import check_samples

# Samples at the beginning of a recording that its dither follows from.
SEED_SAMPLES = 16000


def compute(feature: nn.Module, samples: np.ndarray) -> np.ndarray:
    """Compute the features of one utterance; the same samples always give the same features.

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
    waves = torch.from_numpy(samples)[None]
    with torch.inference_mode():
        if getattr(feature, "dither", 0):
            # A sequence of its own: the noise depends neither on jobs nor on what was computed before.
            seed = zlib.crc32(np.ascontiguousarray(samples[:SEED_SAMPLES]))
            matrix = feature(waves, torch.Generator().manual_seed(seed))[0].numpy()
        else:
            matrix = feature(waves)[0].numpy()
    if not len(matrix):
        raise VouchError(f"{len(samples)} samples are shorter than one frame")
    return matrix


def feature_extractor(
    data: DataDir,
    feature: nn.Module,
    min_seconds: float,
    progress: Callable[[int], object],
    channel: int | str = MEAN,
) -> Callable[[Sequence[str], ShardWriter], None]:
    """Return the work of one shard: read, compute and write each utterance, or name why not.

    Parameters
    ----------
    data : loaded with "wav.scp"
    feature : a front end
    min_seconds : see `vouch.work.soundcheck.check_samples`
    progress : called with 1 after each utterance
    channel : of the recordings, see `vouch.audio.reading.read_audio`
    """

    def extract(utterances: Sequence[str], shard: ShardWriter) -> None:
        reader = WaveReader(data, feature.sample_rate, channel)
        for utterance, samples in reader.read_each(utterances):
            try:
                if isinstance(samples, VouchError):
                    raise samples
                check_samples(utterance, samples, feature.sample_rate, min_seconds, shard)
                shard.write(utterance, compute(feature, samples))
            except VouchError as error:
                shard.failed[utterance] = str(error)
            progress(1)
        shard.notes.update(reader.notes)

    return extract
