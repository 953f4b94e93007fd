"""Computes the features of one shard's utterances in stage 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vouch.base.channels import MEAN
from vouch.base.errors import VouchError, attempt
from vouch.features.base import FrontEnd
from vouch.features.compute import compute
from vouch.jobs.results import Result
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.stores.reader import Reading, WaveReader
from vouch.work.soundcheck import check_samples


class FeatureExtraction:
    """Reads each utterance, checks its samples and computes its features.

    Parameters
    ----------
    data : DataDir
        Data directory, loaded with "wav.scp".
    feature : FrontEnd
        A front end.
    min_seconds : float
        See `vouch.work.soundcheck.check_samples`.
    channel : int or str
        Channel of the recordings, see `vouch.audio.reading.read_audio`.
    """

    def __init__(self, data: DataDir, feature: FrontEnd, min_seconds: float, channel: int | str = MEAN) -> None:
        self._data, self._feature = data, feature
        self._min_seconds, self._channel = min_seconds, channel

    def __call__(self, utterances: Sequence[str]) -> Iterator[Result]:
        """Yield the (frames, bins) float32 features of each utterance, or the reason why it has none."""
        reader = WaveReader(self._data, self._feature.sample_rate, self._channel)
        yield from map(self._extract, reader.read_each(utterances))

    def _extract(self, reading: Reading) -> Result:
        utterance, samples, notes = reading
        if isinstance(samples, VouchError):
            return Result(utterance, samples, notes)
        checked = attempt(check_samples, samples, self._feature.sample_rate, self._min_seconds)
        if isinstance(checked, VouchError):
            return Result(utterance, checked, notes)
        return Result(utterance, attempt(compute, self._feature, samples), notes, *checked)
