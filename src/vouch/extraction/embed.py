"""Computes embeddings of utterances, whole or in parts, in batches of similar length."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from vouch.base.errors import VouchError
from vouch.encoder import Encoder
from vouch.extraction.pieces import MAX_SECONDS, Cut
from vouch.features.base import FrontEnd
from vouch.features.compute import compute
from vouch.stores.waves import Store

# Audio in a batch in seconds, including padding. On a CPU small batches are faster, since they fit into the caches.
BATCH_SECONDS = {"cpu": 20.0, "cuda": 1000.0}
# Batches are padded to a multiple of this many seconds, because on a CPU the set-up of convolutions for each new input
# size takes milliseconds in all.
PADDING_SECONDS = 0.16
# Ten days, longer than any recording: nothing is cut then.
LONGEST_PIECE = 864_000.0


def check_max_seconds(encoder: Encoder, max_seconds: float) -> None:
    """Raise `VouchError` if pieces of longer recordings could be shorter than the network's minimum."""
    clock, least = encoder.clock, 2 * encoder.min_length
    if not clock.seconds(least) <= max_seconds <= LONGEST_PIECE:
        raise VouchError(
            f"max_seconds {max_seconds} must be from {clock.seconds_needed(least)}, twice the network's minimum, or"
            f" pieces could be too short, to {LONGEST_PIECE:g}"
        )


def _batch_length(encoder: Encoder) -> int:
    return encoder.clock.count(BATCH_SECONDS[next(encoder.parameters()).device.type])


def embed_matrices(encoder: Encoder, matrices: Sequence[np.ndarray], max_seconds: float = MAX_SECONDS) -> np.ndarray:
    """Embed a few utterances.

    An utterance shorter than the network's minimum is repeated up to it. An utterance longer than `max_seconds` is cut
    into pieces of equal length (within a frame), whose embeddings are averaged with their lengths as weights. Up to
    rounding, an embedding does not depend on the other utterances or their order.

    Parameters
    ----------
    encoder : Encoder
        In evaluation mode.
    matrices : sequence of ndarray
        Each (frames, bins) float32; waveforms are (samples,).
    max_seconds : float
        Length of the longest piece.

    Returns
    -------
    (len(matrices), embedding_dim) float32

    Raises
    ------
    VouchError
        `max_seconds` is so small that a piece could be shorter than the network's minimum.
    """
    check_max_seconds(encoder, max_seconds)
    longest = encoder.clock.count(max_seconds)
    pieces: list[np.ndarray] = []
    owners: list[int] = []
    for owner, matrix in enumerate(matrices):
        matrix = _lengthen(encoder, matrix)
        cut = np.array_split(matrix, -(-len(matrix) // longest))
        pieces += cut
        owners += [owner] * len(cut)
    lengths = np.array([len(piece) for piece in pieces])
    embeddings = _embed_pieces(encoder, pieces)
    sums = np.zeros((len(matrices), encoder.embedding_dim))
    np.add.at(sums, owners, lengths[:, None] * embeddings.astype(np.float64))
    return (sums / np.bincount(owners, weights=lengths)[:, None]).astype(np.float32)


def embed_parts(encoder: Encoder, pieces: Sequence[np.ndarray], cut: Cut) -> np.ndarray:
    """Embed the pieces of one utterance, and combine their embeddings with `cut`, which made the pieces.

    Parameters
    ----------
    encoder : Encoder
        In evaluation mode.
    pieces : sequence of ndarray
        Each (frames, bins) or (samples,) float32; one shorter than the network's minimum is repeated up to it.

    Returns
    -------
    ndarray
        (crops, embedding_dim) float32 for crops, (embedding_dim,) float32 for windows.
    """
    return cut.combine(_embed_pieces(encoder, [_lengthen(encoder, piece) for piece in pieces]))


def _lengthen(encoder: Encoder, matrix: np.ndarray) -> np.ndarray:
    if not isinstance(matrix, np.ndarray) or matrix.dtype.kind != "f":
        kind = matrix.dtype if isinstance(matrix, np.ndarray) else type(matrix).__name__
        raise VouchError(f"input of {kind}, the model takes floating-point numbers in an ndarray")
    if not len(matrix) or matrix.shape[1:] != encoder.step_shape:
        wanted = ", ".join((encoder.clock.unit, *map(str, encoder.step_shape)))
        raise VouchError(f"input of {matrix.shape}, the model takes ({wanted})")
    if len(matrix) >= encoder.min_length:
        return matrix
    return np.take(matrix, range(encoder.min_length), axis=0, mode="wrap")


def _embed_pieces(encoder: Encoder, pieces: Sequence[np.ndarray]) -> np.ndarray:
    """Embed matrices or waveforms of sufficient length, in batches: `(len(pieces), embedding_dim)`."""
    lengths = np.array([len(piece) for piece in pieces])
    embeddings = np.empty((len(pieces), encoder.embedding_dim), np.float32)
    device = next(encoder.parameters()).device
    # One long recording may have more pieces than fit into the memory at once.
    for batch in batches_by_length(lengths, _batch_length(encoder)):
        embeddings[batch] = _embed_padded(encoder, [pieces[row] for row in batch], device)
    # The result is set to NaN because the gates of an LSTM turn infinite values into ordinary numbers.
    embeddings[[not np.isfinite(piece).all() for piece in pieces]] = np.nan
    return embeddings


def _embed_padded(encoder: Encoder, pieces: Sequence[np.ndarray], device: torch.device) -> np.ndarray:
    """Embed matrices or waveforms as one batch, padded to the same length: `(len(pieces), embedding_dim)`."""
    lengths = torch.tensor([len(piece) for piece in pieces])
    longest = int(lengths.max())
    # Several pieces of equal length are crops or windows, and other batches will have the same length.
    if len(pieces) == 1 or bool((lengths < longest).any()):
        step = max(1, encoder.clock.count(PADDING_SECONDS))
        longest = -(-longest // step) * step
    padded = torch.zeros(len(pieces), longest, *encoder.step_shape)
    for row, piece in enumerate(pieces):
        padded[row, : len(piece)] = torch.from_numpy(np.ascontiguousarray(piece, np.float32))
    whole = bool((lengths == longest).all())
    with torch.inference_mode():
        return encoder(padded.to(device), None if whole else lengths.to(device)).float().cpu().numpy()


def batches_by_length(lengths: np.ndarray, batch_length: int) -> Iterator[np.ndarray]:
    """Group utterances of similar length: yields index arrays whose padded batches have at most `batch_length`.

    Parameters
    ----------
    lengths : (utterances,) int64
        Length of each utterance, in frames or samples.
    batch_length : int
        Largest total length of a batch, including padding; a longer utterance is a batch of its own.
    """
    order = np.argsort(lengths, kind="stable")
    start = 0
    for position in range(1, len(order) + 1):
        # The utterance at `position` would be the longest, and all others would be padded to it.
        if position == len(order) or (position + 1 - start) * lengths[order[position]] > batch_length:
            yield order[start:position]
            start = position


def embed_store(encoder: Encoder, store: Store, indices: np.ndarray, max_seconds: float = MAX_SECONDS) -> np.ndarray:
    """Embed utterances of a store.

    Parameters
    ----------
    encoder : Encoder
        In evaluation mode.
    store : Store
        Features or waveforms, whichever the network takes.
    indices : ndarray
        (n,) indices of utterances in the store.
    max_seconds : float
        See `embed_matrices`.

    Returns
    -------
    (n, embedding_dim) float32
        Embeddings in the order of `indices`.

    Raises
    ------
    VouchError
        The features have another dimension than the encoder's, or as from `embed_matrices`.
    """
    check_dim(encoder, store)
    out = np.empty((len(indices), encoder.embedding_dim), np.float32)
    for batch in batches_by_length(store.lengths[indices], _batch_length(encoder)):
        out[batch] = embed_matrices(encoder, [store.matrix(int(index)) for index in indices[batch]], max_seconds)
    return out


def check_dim(encoder: Encoder, store: Store) -> None:
    """Raise `VouchError` if the features of a store have another dimension than the encoder takes."""
    if store.dim != encoder.config.num_bins:
        raise VouchError(f"{store.path}: {store.dim} dimensions, the model takes {encoder.config.num_bins}")


def embed_samples(encoder: Encoder, samples: np.ndarray) -> np.ndarray:
    """Embed one recording.

    Parameters
    ----------
    encoder : Encoder
        In evaluation mode.
    samples : (samples,) float32 in [-1, 1]
        At the sampling rate of the encoder's front end.

    Returns
    -------
    (embedding_dim,) float32

    Raises
    ------
    VouchError
        The encoder's front end is unknown, the samples are integers or of another shape, or the recording is shorter
        than one frame.
    """
    if samples.ndim != 1 or samples.dtype.kind != "f":
        raise VouchError(f"samples of {samples.shape} {samples.dtype}, expected are (samples,) float32 in [-1, 1]")
    samples = np.ascontiguousarray(samples, np.float32)
    return embed_matrices(encoder, [compute(front_end_of(encoder), samples)])[0]


def front_end_of(encoder: Encoder) -> FrontEnd:
    """Return a copy of the encoder's front end on the CPU, where features are computed."""
    if encoder.feature is None:
        raise VouchError("this model was trained on features of an unknown front end; give it features, not audio")
    return copy.deepcopy(encoder.feature).cpu()
