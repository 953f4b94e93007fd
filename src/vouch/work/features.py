"""Features of the utterances of a data directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from vouch.base.channels import MEAN
from vouch.base.errors import VouchError
from vouch.features.compute import compute
from vouch.jobs.shards import ShardWriter
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.stores.reader import WaveReader
from vouch.work.soundcheck import check_samples


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
