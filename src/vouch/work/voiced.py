"""Voice activity of a data directory's utterances, and their voiced frames, from features in archives."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from vouch.base.errors import VouchError
from vouch.features.cmvn import apply_cmvn, cmvn_stats, sliding_cmvn
from vouch.features.vad import energy_vad, select_voiced
from vouch.jobs.shards import ShardWriter
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.kaldi.matrices.reading import read_entry
from vouch.stores.features import FeatureStore

Work = Callable[[Sequence[str], ShardWriter], None]
CMVN = ("none", "sliding", "utterance", "speaker")


def check_energy(feature: Mapping[str, object], where: object) -> None:
    """Refuse features whose first dimension is not an energy: `VouchError` naming `where` their configuration is."""
    if not feature.get("use_energy") or feature.get("htk_compat"):
        raise VouchError(
            f"{where}: the first dimension of these features is not the frame's energy, which voice activity is"
            f" decided by; make features with use_energy, such as conf/features/mfcc30.yaml"
        )


def vad_work(data: DataDir, options: Mapping[str, float], progress: Callable[[int], object]) -> Work:
    """Return the work of one shard that decides which frames are voiced; see `vouch.jobs.shards.Shards.run`.

    Parameters
    ----------
    data : loaded with "feats.scp"; the first dimension of the features is a log energy
    options : of `vouch.features.vad.energy_vad`
    progress : called with 1 after each utterance
    """
    features = _Features(data)

    def decide(utterances: Sequence[str], shard: ShardWriter) -> None:
        for utterance in utterances:
            try:
                log_energy = features.matrix(utterance)[:, 0]
                if not np.isfinite(log_energy).all():
                    raise VouchError("its energies hold NaN or infinite values")
                voiced = energy_vad(log_energy, **options)
                shard.write(utterance, voiced.astype(np.float32))
                if not voiced.any():
                    shard.notes["without a voiced frame"] += 1
            except VouchError as error:
                shard.failed[utterance] = str(error)
            progress(1)

    return decide


def voiced_work(
    data: DataDir,
    vad_scp: Mapping[str, str],
    cmvn: str,
    window: int,
    norm_vars: bool,
    progress: Callable[[int], object],
) -> Work:
    """Return the work of one shard that writes voiced frames, normalised before the others are dropped.

    Parameters
    ----------
    data : loaded with "feats.scp"
    vad_scp : utterances to their vectors of voice activity
    cmvn : one of `CMVN`
    window : frames, of "sliding", which is centred
    norm_vars : divide by the standard deviation too
    progress : called with 1 after each utterance
    """
    features = _Features(data)

    def normalize(utterance: str) -> np.ndarray:
        matrix = features.matrix(utterance)
        if cmvn == "none":
            return matrix
        if cmvn == "sliding":
            return sliding_cmvn(torch.from_numpy(matrix)[None], window=window, norm_vars=norm_vars)[0].numpy()
        stats = features.speaker_stats(data.utt2spk[utterance]) if cmvn == "speaker" else cmvn_stats(matrix)
        return apply_cmvn(matrix, stats, norm_vars)

    def select(utterances: Sequence[str], shard: ShardWriter) -> None:
        for utterance in utterances:
            try:
                if utterance not in vad_scp:
                    raise VouchError("no voice activity is known")
                voiced = read_entry(vad_scp[utterance], "vector")
                shard.write(utterance, select_voiced(normalize(utterance), voiced))
            except VouchError as error:
                shard.failed[utterance] = str(error)
            progress(1)

    return select


class _Features:
    """The features of a data directory by utterance, and the statistics of its speakers."""

    def __init__(self, data: DataDir) -> None:
        self._store = FeatureStore(data.path / "feats.scp", data.feats_scp)
        self._positions = {utterance: position for position, utterance in enumerate(self._store.utterances)}
        self._utterances: dict[str, list[str]] = {}
        for utterance in data.feats_scp:
            self._utterances.setdefault(data.utt2spk[utterance], []).append(utterance)
        # Utterances are sorted by speaker: of the speakers before the last nothing is asked again.
        self.speaker_stats = functools.lru_cache(maxsize=1)(self._speaker_stats)

    def matrix(self, utterance: str) -> np.ndarray:
        matrix = self._store.matrix(self._positions[utterance])
        if not len(matrix):
            raise VouchError("0 frames")
        return matrix

    def _speaker_stats(self, speaker: str) -> np.ndarray:
        positions = [self._positions[utterance] for utterance in self._utterances[speaker]]
        return sum(cmvn_stats(self._store.matrix(index)) for index in positions if self._store.num_frames[index])
