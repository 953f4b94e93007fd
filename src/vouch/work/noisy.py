"""Features of noisy copies of a data directory's utterances."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch import nn

from vouch.augment.noise import NoiseFolder
from vouch.base.channels import MEAN
from vouch.base.errors import VouchError
from vouch.features.compute import compute
from vouch.jobs.shards import ShardWriter
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.stores.reader import WaveReader


def noisy_feature_extractor(
    data: DataDir,
    feature: nn.Module,
    noises: NoiseFolder,
    originals: Mapping[str, tuple[str, str]],
    seed: int,
    progress: Callable[[int], object],
    channel: int | str = MEAN,
) -> Callable[[Sequence[str], ShardWriter], None]:
    """Return the work of one shard: read each original, add noise, compute the features; see `Shards.run`.

    Parameters
    ----------
    data : loaded with "wav.scp"
    feature : a front end
    noises : recordings to add
    originals : id of each copy to the utterance that it is made of and the kind of noise
    seed : with the id of a copy, the seed of all that is drawn for it
    progress : called with 1 after each copy
    channel : of the utterances' recordings, see `vouch.audio.reading.read_audio`
    """

    def extract(copies: Sequence[str], shard: ShardWriter) -> None:
        reader = WaveReader(data, feature.sample_rate, channel)
        for copy in copies:
            utterance, kind = originals[copy]
            rng = np.random.default_rng((seed, zlib.crc32(copy.encode())))
            try:
                noisy = noises.add(reader.read(utterance), kind, feature.sample_rate, rng)
                shard.write(copy, compute(feature, noisy))
            except VouchError as error:
                shard.failed[copy] = str(error)
            progress(1)

    return extract
