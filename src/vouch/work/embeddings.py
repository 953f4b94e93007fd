"""What one shard of stage 4 does: embed the utterances of a data directory, from features or from audio."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from vouch.audio.loudness import FAULTS, judge_loudness, measure_loudness
from vouch.base.errors import VouchError
from vouch.encoder import Encoder
from vouch.extraction.embed import check_dim, embed_matrices, embed_parts, embed_store, front_end_of
from vouch.extraction.pieces import Crops, Cut, frame_rows
from vouch.features.compute import compute
from vouch.jobs.shards import ShardWriter
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.stores.features import FeatureStore
from vouch.stores.reader import WaveReader


def store_embedder(
    encoder: Encoder,
    data: DataDir,
    max_frames: int,
    repeat_short: bool,
    progress: Callable[[int], object],
    cut: Cut | None = None,
) -> Callable[[Sequence[str], ShardWriter], None]:
    """Return the work of one shard that embeds features; see `vouch.jobs.shards.Shards.run`.

    Parameters
    ----------
    encoder : in evaluation mode
    data : loaded with "feats.scp"
    max_frames : see `embed_matrices`
    repeat_short
        repeat utterances shorter than the network's minimum up to it; otherwise they fail, but for crops, which are
        always repeated up to their length
    progress : called with the number of utterances done
    cut : parts in which each utterance is embedded, checked by `vouch.extraction.pieces.check_cut`; None: whole
    """
    store = FeatureStore(data.path / "feats.scp", data.feats_scp)
    position = {utterance: index for index, utterance in enumerate(store.utterances)}

    def embed(utterances: Sequence[str], shard: ShardWriter) -> None:
        used = []
        for utterance in utterances:
            frames = int(store.num_frames[position[utterance]])
            repeats = frames > 0 and (repeat_short or isinstance(cut, Crops))
            if repeats or _is_long_enough(shard, encoder, utterance, frames):
                used.append(utterance)
        indices = np.array([position[utterance] for utterance in used], np.int64)
        if cut is None:
            embeddings: Iterable[np.ndarray] = embed_store(encoder, store, indices, max_frames)
        else:
            check_dim(encoder, store)
            embeddings = (embed_parts(encoder, cut.of_features(store.matrix(int(row))), cut) for row in indices)
        for utterance, embedding in zip(used, embeddings, strict=True):
            _write_finite(shard, utterance, embedding)
        progress(len(utterances))

    return embed


def wave_embedder(
    encoder: Encoder,
    data: DataDir,
    max_frames: int,
    repeat_short: bool,
    progress: Callable[[int], object],
    cut: Cut | None = None,
    channel: int | str | None = None,
) -> Callable[[Sequence[str], ShardWriter], None]:
    """Return the work of one shard that embeds audio through the encoder's front end; see `store_embedder`.

    `data` is loaded with "wav.scp". Utterances are read one by one, so that memory does not grow with the shard.
    Silence fails; what else speaks against an utterance, see `vouch.audio.loudness`, is counted in the shard's notes.

    Parameters
    ----------
    channel : of the recordings, see `vouch.audio.reading.read_audio`; None: that of the encoder's training
    """
    channel = encoder.channel if channel is None else channel
    front_end = front_end_of(encoder)

    def embed(utterances: Sequence[str], shard: ShardWriter) -> None:
        reader = WaveReader(data, front_end.sample_rate, channel)
        for utterance in utterances:
            try:
                samples = reader.read(utterance)
                faults = judge_loudness(measure_loudness(samples, front_end.sample_rate))
                if "silence" in faults:
                    raise VouchError(faults["silence"])
                shard.notes.update(FAULTS[fault] for fault in faults)
                if isinstance(cut, Crops):
                    # Cut before the front end, which then sees no more of the recording than of a training crop.
                    parts = [compute(front_end, crop) for crop in cut.of_samples(samples, front_end.sample_rate)]
                    _write_finite(shard, utterance, embed_parts(encoder, parts, cut))
                    continue
                features = compute(front_end, samples)
                if not repeat_short and not _is_long_enough(shard, encoder, utterance, len(features)):
                    continue
                if cut is None:
                    embedding = embed_matrices(encoder, [features], max_frames)[0]
                else:
                    embedding = embed_parts(encoder, cut.of_features(features, frame_rows(encoder)), cut)
                _write_finite(shard, utterance, embedding)
            except VouchError as error:
                shard.failed[utterance] = str(error)
            finally:
                progress(1)
        shard.notes.update(reader.notes)

    return embed


def _is_long_enough(shard: ShardWriter, encoder: Encoder, utterance: str, frames: int) -> bool:
    if frames < encoder.min_frames:
        shard.failed[utterance] = f"{frames} {encoder.unit} long, the network needs at least {encoder.min_frames}"
    return frames >= encoder.min_frames


def _write_finite(shard: ShardWriter, utterance: str, embedding: np.ndarray) -> None:
    if np.isfinite(embedding).all():
        shard.write(utterance, embedding)
    else:
        shard.failed[utterance] = (
            "the embedding is NaN or infinite; look for such numbers in its features, or else in the model"
        )
