"""Which utterances form the batches of an epoch."""

from __future__ import annotations

import numpy as np
import torch

from vouch.errors import VouchError


def epoch_batches(
    labels: np.ndarray, batch_size: int, utterances_per_speaker: int, distinct_speakers: bool, cap: int, seed: int
) -> np.ndarray:
    """Return the batches of one epoch; incomplete ones are left out.

    Parameters
    ----------
    labels : (utterances,) int64, speaker of each
    batch_size : utterances in a batch
    utterances_per_speaker, distinct_speakers : what the loss needs, see `vouch.losses.base.SpeakerLoss`
    cap : at most so many utterances of a speaker; 0: all
    seed : another one for each epoch

    Returns
    -------
    (batches, batch_size) int64, indices into `labels`; utterances of a speaker stand together

    Raises
    ------
    VouchError : the training set cannot fill one batch, with the numbers
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator).numpy()
    if distinct_speakers:
        groups = _groups(labels, order, utterances_per_speaker, cap)
        visits = torch.randperm(len(groups), generator=generator).numpy()
        return _distinct_batches(labels, groups[visits], batch_size, utterances_per_speaker)
    if cap:
        order = order[_rank_within_speaker(labels[order]) < cap]
    count = len(order) // batch_size
    if count == 0:
        raise VouchError(f"{len(order)} training utterances do not fill a batch; set train.batch_size to at most that")
    return order[: count * batch_size].reshape(count, batch_size)


def _rank_within_speaker(labels: np.ndarray) -> np.ndarray:
    """How many earlier entries have the same label: `(n,) -> (n,)`."""
    by_label = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[by_label], labels[by_label], side="left")
    rank = np.empty(len(labels), np.int64)
    rank[by_label] = np.arange(len(labels)) - starts
    return rank


def _groups(labels: np.ndarray, order: np.ndarray, size: int, cap: int) -> np.ndarray:
    """Cut each speaker's shuffled utterances into groups of `size`, speakers in label order: `(groups, size)`."""
    by_speaker = order[np.argsort(labels[order], kind="stable")]
    rank = _rank_within_speaker(labels[by_speaker])
    counts = np.bincount(labels)
    usable = np.minimum(counts, cap) if cap else counts
    usable = usable // size * size
    return by_speaker[rank < usable[labels[by_speaker]]].reshape(-1, size)


def _distinct_batches(labels: np.ndarray, groups: np.ndarray, batch_size: int, size: int) -> np.ndarray:
    """Fill batches with groups in the order given, passing over a group whose speaker the batch has already.

    The groups passed over wait for another epoch. This is the published sampler of voxceleb_trainer
    (DatasetLoader.py), group for group.
    """
    per_batch = batch_size // size
    speakers = len(np.unique(labels[groups[:, 0]])) if len(groups) else 0
    if per_batch * size != batch_size or per_batch < 2:
        raise VouchError(
            f"train.batch_size {batch_size} must be at least twice, and a multiple of, {size}: the loss"
            f" takes {size} utterances of each speaker in a batch"
        )
    if speakers < per_batch:
        raise VouchError(
            f"batches of {per_batch} speakers x {size} utterances need {per_batch} speakers with at least {size}"
            f" utterances, there are {speakers}; set train.batch_size to at most {speakers * size}"
        )
    chosen: list[np.ndarray] = []
    in_batch: set[int] = set()
    for group, speaker in zip(groups, labels[groups[:, 0]].tolist(), strict=True):
        if speaker in in_batch:
            continue
        chosen.append(group)
        in_batch.add(speaker)
        if len(in_batch) == per_batch:
            in_batch.clear()
    count = len(chosen) // per_batch
    return np.array(chosen[: count * per_batch], np.int64).reshape(count, batch_size)
