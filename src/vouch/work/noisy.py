"""Computes the features of one shard's noisy copies in stage 2."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from vouch.augment.noise import NoiseFolder
from vouch.base.channels import MEAN
from vouch.base.errors import VouchError, attempt
from vouch.features.base import FrontEnd
from vouch.features.compute import compute
from vouch.jobs.results import Result
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.stores.reader import WaveReader


class NoisyCopies:
    """Reads the original of each copy, adds noise and computes the features.

    Parameters
    ----------
    data : DataDir
        Data directory, loaded with "wav.scp".
    feature : FrontEnd
        A front end.
    noises : NoiseFolder
        Recordings to add as noise.
    originals : mapping of str to tuple of str and str
        Id of each copy to its original utterance and the kind of noise.
    seed : int
        Random seed; the draws for a copy depend on it and the copy's id.
    channel : int or str
        Channel of the utterances' recordings, see `vouch.audio.reading.read_audio`.
    """

    def __init__(
        self,
        data: DataDir,
        feature: FrontEnd,
        noises: NoiseFolder,
        originals: Mapping[str, tuple[str, str]],
        seed: int,
        channel: int | str = MEAN,
    ) -> None:
        self._data, self._feature, self._noises = data, feature, noises
        self._originals, self._seed, self._channel = originals, seed, channel

    def __call__(self, copies: Sequence[str]) -> Iterator[Result]:
        """Yield the (frames, bins) float32 features of each copy, or the reason why it has none."""
        reader = WaveReader(self._data, self._feature.sample_rate, self._channel)
        readings = reader.read_each([self._originals[copy][0] for copy in copies])
        # Remarks on the recordings are not repeated, since stage 1 has made them.
        for copy, (_, samples, _) in zip(copies, readings, strict=True):
            yield Result(copy, samples if isinstance(samples, VouchError) else attempt(self._extract, copy, samples))

    def _extract(self, copy: str, samples: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng((self._seed, zlib.crc32(copy.encode())))
        noisy = self._noises.add(samples, self._originals[copy][1], self._feature.sample_rate, rng)
        return compute(self._feature, noisy)
