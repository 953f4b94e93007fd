"""Embeds the utterances of one shard in stage 4, from features or from audio."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from vouch.audio.loudness import FAULTS, judge_loudness, measure_loudness
from vouch.base.errors import VouchError, attempt
from vouch.encoder import Encoder
from vouch.extraction.embed import check_dim, embed_matrices, embed_parts, embed_store, front_end_of
from vouch.extraction.pieces import Crops, Cut
from vouch.features.compute import compute
from vouch.jobs.results import Result
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.stores.features import FeatureStore
from vouch.stores.reader import WaveReader


class FeatureEmbedding:
    """Embeds utterances from their features.

    Parameters
    ----------
    encoder : Encoder
        In evaluation mode.
    data : DataDir
        Data directory, loaded with "feats.scp".
    max_seconds : float
        See `embed_matrices`.
    repeat_short : bool
        Whether to repeat utterances up to the network's minimum length; otherwise shorter ones fail. Crops are always
        repeated up to their length.
    cut : Cut, optional
        Crops to embed each utterance in, checked by `vouch.extraction.pieces.check_cut`; None: embed it whole.
    """

    def __init__(
        self, encoder: Encoder, data: DataDir, max_seconds: float, repeat_short: bool, cut: Cut | None = None
    ) -> None:
        self._encoder, self._max_seconds, self._cut = encoder, max_seconds, cut
        self._repeats = repeat_short or isinstance(cut, Crops)
        self._store = FeatureStore(data.path / "feats.scp", data.feats_scp)
        self._position = {utterance: index for index, utterance in enumerate(self._store.utterances)}

    def __call__(self, utterances: Sequence[str]) -> Iterator[Result]:
        """Yield the embedding of each utterance or the reason why it has none, beginning with those too short."""
        long_enough = []
        for utterance in utterances:
            frames = int(self._store.lengths[self._position[utterance]])
            reason = None if frames and self._repeats else too_short(self._encoder, frames)
            if reason is None:
                long_enough.append(utterance)
            else:
                yield Result(utterance, reason)
        indices = np.array([self._position[utterance] for utterance in long_enough], np.int64)
        for utterance, embedding in zip(long_enough, self._embed(indices), strict=True):
            yield Result(utterance, finite(embedding))

    def _embed(self, indices: np.ndarray) -> Iterable[np.ndarray]:
        cut = self._cut
        if cut is None:
            return embed_store(self._encoder, self._store, indices, self._max_seconds)
        check_dim(self._encoder, self._store)
        matrices = (self._store.matrix(int(index)) for index in indices)
        return (embed_parts(self._encoder, cut.of_inputs(matrix, self._encoder.clock), cut) for matrix in matrices)


class AudioEmbedding:
    """Embeds utterances from their audio, through the encoder's front end; see `FeatureEmbedding`.

    `data` must be loaded with "wav.scp". Utterances are read one by one, so that memory does not grow with the shard.
    Silent utterances fail; other faults (see `vouch.audio.loudness`) are noted.

    Parameters
    ----------
    channel : int or str, optional
        Channel of the recordings (see `vouch.audio.reading.read_audio`); None: the one that the encoder is trained on.
    """

    def __init__(
        self,
        encoder: Encoder,
        data: DataDir,
        max_seconds: float,
        repeat_short: bool,
        cut: Cut | None = None,
        channel: int | str | None = None,
    ) -> None:
        self._encoder, self._data, self._max_seconds, self._cut = encoder, data, max_seconds, cut
        self._repeat_short = repeat_short
        self._channel = encoder.channel if channel is None else channel
        self._front_end = front_end_of(encoder)

    def __call__(self, utterances: Sequence[str]) -> Iterator[Result]:
        """Yield the embedding of each utterance, or the reason why it has none."""
        rate = self._front_end.sample_rate
        for utterance, samples, notes in WaveReader(self._data, rate, self._channel).read_each(utterances):
            if isinstance(samples, VouchError):
                yield Result(utterance, samples, notes)
                continue
            faults = judge_loudness(measure_loudness(samples, rate))
            if "silence" in faults:
                yield Result(utterance, VouchError(faults["silence"]), notes)
                continue
            notes.update(FAULTS[fault] for fault in faults)
            yield Result(utterance, attempt(self._embed, samples), notes)

    def _embed(self, samples: np.ndarray) -> np.ndarray | VouchError:
        encoder, cut = self._encoder, self._cut
        if isinstance(cut, Crops):
            # Crops are cut before the front end, as in training.
            crops = cut.of_samples(samples, self._front_end.sample_rate)
            return finite(embed_parts(encoder, [compute(self._front_end, crop) for crop in crops], cut))
        features = compute(self._front_end, samples)
        reason = None if self._repeat_short else too_short(encoder, len(features))
        if reason is not None:
            return reason
        if cut is None:
            return finite(embed_matrices(encoder, [features], self._max_seconds)[0])
        return finite(embed_parts(encoder, cut.of_inputs(features, encoder.clock), cut))


def too_short(encoder: Encoder, length: int) -> VouchError | None:
    """Return the reason why a network cannot take an input of this length; None if it can."""
    if length >= encoder.min_length:
        return None
    return VouchError(f"{length} {encoder.clock.unit} long, the network needs at least {encoder.min_length}")


def finite(embedding: np.ndarray) -> np.ndarray | VouchError:
    """Return the embedding if it is finite, otherwise an error."""
    if np.isfinite(embedding).all():
        return embedding
    return VouchError("the embedding is NaN or infinite; look for such numbers in its features, or else in the model")
