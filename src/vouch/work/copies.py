"""Changes the utterances of one shard by an augmentation in stage 2, and computes the features of the copies."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from vouch.augment.bank import Bank
from vouch.augment.config import AugmentConfig
from vouch.augment.offline import Copy
from vouch.base.channels import MEAN
from vouch.base.errors import VouchError, attempt
from vouch.features.base import FrontEnd
from vouch.features.compute import compute
from vouch.jobs.results import Result
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.stores.reader import WaveReader


class CopyMaker:
    """Reads the original of each copy, changes it, and computes the features.

    Parameters
    ----------
    data : DataDir
        Data directory, loaded with "wav.scp".
    config : AugmentConfig
        An offline augmentation.
    bank : Bank or None
        Recordings for it, at the sampling rate.
    copies : mapping of str to Copy
        Id of each copy to what it is.
    seed : int
        Random seed; the draws for a copy depend on it, on the original's id and on the name of the change.
    sample_rate : int
        In Hz.
    feature : FrontEnd or None
        A front end; None: the waveforms are the results.
    writes_audio : bool
        Whether the results have the waveforms beside the features.
    channel : int or str
        Channel of the utterances' recordings, see `vouch.audio.reading.read_audio`.
    """

    def __init__(
        self,
        data: DataDir,
        config: AugmentConfig,
        bank: Bank | None,
        copies: Mapping[str, Copy],
        seed: int,
        sample_rate: int,
        feature: FrontEnd | None,
        writes_audio: bool,
        channel: int | str = MEAN,
    ) -> None:
        self._data, self._copies, self._seed, self._rate = data, copies, seed, sample_rate
        self._feature, self._writes_audio, self._channel = feature, writes_audio, channel
        names = {copy.name for copy in copies.values() if copy.speed == 1}
        self._speed = config.build_speed()
        self._changes = {name: config.build_branch(name, bank, sample_rate) for name in sorted(names)}

    def __call__(self, ids: Sequence[str]) -> Iterator[Result]:
        """Yield features or waveform of each copy, or the reason why it has none."""
        reader = WaveReader(self._data, self._rate, self._channel)
        readings = reader.read_each([self._copies[each].utterance for each in ids])
        # Remarks on the recordings are not repeated, since stage 1 has made them.
        for each, (_, samples, _) in zip(ids, readings, strict=True):
            yield Result(each, samples) if isinstance(samples, VouchError) else self._make(each, samples)

    def _make(self, each: str, samples: np.ndarray) -> Result:
        changed = attempt(self._change, self._copies[each], samples)
        if isinstance(changed, VouchError):
            return Result(each, changed)
        value = changed if self._feature is None else attempt(compute, self._feature, changed)
        if not self._writes_audio or isinstance(value, VouchError):
            return Result(each, value)
        # Features are of the waveform as it is. In a file, what is too loud for 16 bits is made quieter as a whole, so
        # that nothing is clipped and ratios of levels stay.
        peak = float(np.abs(changed).max())
        audio = changed / max(1.0, peak)
        notes = {"made quieter to fit into 16 bits": 1} if peak > 1 else {}
        return Result(each, audio, notes) if self._feature is None else Result(each, value, notes, audio=audio)

    def _change(self, copy: Copy, samples: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng((self._seed, zlib.crc32(f"{copy.utterance}-{copy.name}".encode())))
        if copy.speed != 1:
            assert self._speed is not None
            with torch.inference_mode():
                return self._speed.play(torch.from_numpy(samples)[None], copy.speed)[0].numpy()
        change = self._changes[copy.name]
        plan, _ = change.plan(rng, np.zeros(1, np.int64), len(samples), (), 1)
        # A copy, since waves are changed in place, and the reader gives the same ones for all copies of an utterance.
        waves = torch.from_numpy(samples.copy())[None]
        with torch.inference_mode():
            return change.change_waves(waves, plan, len(samples))[0].numpy()
