"""Detects voice activity and selects voiced frames, for utterances whose features are in archives."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from vouch.base.errors import VouchError, attempt
from vouch.features.cmvn import apply_cmvn, cmvn_stats, sliding_cmvn
from vouch.features.config import FrontEndConfig
from vouch.features.vad import energy_vad, select_voiced
from vouch.jobs.results import Result
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.kaldi.matrices.reading import read_entry
from vouch.stores.features import FeatureStore

CMVN = ("none", "sliding", "utterance", "speaker")


def check_energy(feature: FrontEndConfig, where: object) -> None:
    """Raise `VouchError` unless the first feature dimension is an energy; `where` names the configuration."""
    if not feature.options.get("use_energy") or feature.options.get("htk_compat"):
        raise VouchError(
            f"{where}: the first dimension of these features is not the frame's energy, which voice activity is"
            f" decided by; make features with use_energy, such as conf/features/mfcc30.yaml"
        )


class VoiceActivity:
    """Decides for each frame of an utterance whether it is voiced.

    Parameters
    ----------
    data : DataDir
        Data directory, loaded with "feats.scp"; the first feature dimension must be a log energy.
    options : mapping of str to Any
        Options of `vouch.features.vad.energy_vad`.
    """

    def __init__(self, data: DataDir, options: Mapping[str, Any]) -> None:
        self._features, self._options = _Features(data), options

    def __call__(self, utterances: Sequence[str]) -> Iterator[Result]:
        """Yield the voicing of each utterance, (frames,) float32 of ones and zeros, or the reason why it has none."""
        for utterance in utterances:
            voiced = attempt(self._decide, utterance)
            is_silent = isinstance(voiced, np.ndarray) and not voiced.any()
            yield Result(utterance, voiced, {"without a voiced frame": 1} if is_silent else {})

    def _decide(self, utterance: str) -> np.ndarray:
        log_energy = self._features.matrix(utterance)[:, 0]
        if not np.isfinite(log_energy).all():
            raise VouchError("its energies hold NaN or infinite values")
        return energy_vad(log_energy, **self._options).astype(np.float32)


class VoicedFrames:
    """Selects the voiced frames of each utterance, after normalising over all frames.

    Parameters
    ----------
    data : DataDir
        Data directory, loaded with "feats.scp".
    vad_scp : mapping of str to str
        Utterances to their vectors of voice activity.
    cmvn : str
        Kind of normalisation, one of `CMVN`.
    window : int
        Window of "sliding" in frames, centred on the frame.
    norm_vars : bool
        Whether to divide by the standard deviation too.
    """

    def __init__(self, data: DataDir, vad_scp: Mapping[str, str], cmvn: str, window: int, norm_vars: bool) -> None:
        self._features, self._utt2spk, self._vad_scp = _Features(data), data.utt2spk, vad_scp
        self._cmvn, self._window, self._norm_vars = cmvn, window, norm_vars

    def __call__(self, utterances: Sequence[str]) -> Iterator[Result]:
        """Yield the (frames, bins) float32 matrix of each utterance, or the reason why it has none."""
        for utterance in utterances:
            yield Result(utterance, attempt(self._select, utterance))

    def _select(self, utterance: str) -> np.ndarray:
        if utterance not in self._vad_scp:
            raise VouchError("no voice activity is known")
        voiced = read_entry(self._vad_scp[utterance], "vector")
        return select_voiced(self._normalize(utterance), voiced)

    def _normalize(self, utterance: str) -> np.ndarray:
        matrix = self._features.matrix(utterance)
        if self._cmvn == "none":
            return matrix
        if self._cmvn == "sliding":
            batch = torch.from_numpy(matrix)[None]
            return sliding_cmvn(batch, window=self._window, norm_vars=self._norm_vars)[0].numpy()
        if self._cmvn == "speaker":
            stats = self._features.speaker_stats(self._utt2spk[utterance])
        else:
            stats = cmvn_stats(matrix)
        return apply_cmvn(matrix, stats, self._norm_vars)


class _Features:
    """Features of a data directory by utterance, and the statistics of its speakers."""

    def __init__(self, data: DataDir) -> None:
        self._store = FeatureStore(data.path / "feats.scp", data.feats_scp)
        self._positions = {utterance: position for position, utterance in enumerate(self._store.utterances)}
        self._utterances: dict[str, list[str]] = {}
        for utterance in data.feats_scp:
            self._utterances.setdefault(data.utt2spk[utterance], []).append(utterance)
        # Utterances are sorted by speaker, so only the statistics of the last speaker are needed again.
        self.speaker_stats = functools.lru_cache(maxsize=1)(self._speaker_stats)

    def matrix(self, utterance: str) -> np.ndarray:
        matrix = self._store.matrix(self._positions[utterance])
        if not len(matrix):
            raise VouchError("0 frames")
        return matrix

    def _speaker_stats(self, speaker: str) -> np.ndarray:
        positions = [self._positions[utterance] for utterance in self._utterances[speaker]]
        stats = (cmvn_stats(self._store.matrix(index)) for index in positions if self._store.lengths[index])
        return functools.reduce(np.add, stats)
