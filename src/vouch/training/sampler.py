"""Divides the utterances of an epoch into batches.

The table translates the terms of the toolkits whose sampling is reproduced here:

=================  ==========================================================================================
voxceleb_trainer   sampler "utterances": `nPerSpeaker` = the loss's `utterances_per_speaker`, `max_seg_per_spk` =
                   `max_utterances_per_speaker`, `batch_size` (of groups) = `batch_size / utterances_per_speaker`; with
                   a loss that takes any batch (`nPerSpeaker` 1) `distinct_speakers` makes its batches
GE2E               sampler "speakers": `M` = `utterances_per_speaker`, `N` = `batch_size / M`; `data_ratio`
pyannote v1        sampler "duration": `per_label` = `utterances_per_speaker`, `per_turn` = `crops_per_utterance`,
                   `per_fold` = `batch_size / (per_label * per_turn)`, `per_epoch` = `epoch_days`,
                   `label_min_duration` = `min_speaker_seconds`, `duration` = `crop_seconds`
=================  ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from vouch.base.errors import VouchError, pick


@dataclass(frozen=True)
class Demand:
    """Requirements of a loss on the batches.

    Attributes
    ----------
    size : int
        Number of utterances in a batch.
    per_speaker : int
        Number of utterances of each speaker in a batch.
    distinct : bool
        Whether a batch must hold exactly `per_speaker` utterances of each of its speakers.
    crops : int
        Number of crops from each utterance; `train.batch_size` counts crops.
    """

    size: int
    per_speaker: int = 1
    distinct: bool = False
    crops: int = 1

    def __post_init__(self) -> None:
        if self.size % self.per_speaker or (self.distinct and self.size < 2 * self.per_speaker):
            raise VouchError(
                f"batches of {self.size} utterances must be at least twice, and a multiple of, {self.per_speaker}:"
                f" the loss takes {self.per_speaker} utterances of each speaker in a batch; set train.batch_size"
            )

    @property
    def speakers(self) -> int:
        """Number of groups of `per_speaker` utterances in a batch."""
        return self.size // self.per_speaker


@dataclass(frozen=True)
class Sampling:
    """Options of the samplers.

    Attributes
    ----------
    cap : int
        "utterances": largest number of utterances of a speaker in an epoch; 0: all.
    longer_than : int
        "duration": only longer utterances are drawn; in frames or samples, like the lengths below.
    epoch_length : int
        "duration": total length of an epoch; 0: that of all utterances that can be drawn.
    length_per_utterance : int
        "duration": length that each drawn utterance contributes to the epoch.
    """

    cap: int = 0
    longer_than: int = 0
    epoch_length: int = 0
    length_per_utterance: int = 1


def epoch_batches(
    sampler: str, labels: np.ndarray, lengths: np.ndarray, demand: Demand, sampling: Sampling, seed: int
) -> np.ndarray:
    """Return the batches of one epoch, without incomplete ones.

    Parameters
    ----------
    sampler : str
        "utterances", each utterance once per epoch; "speakers", each speaker once per epoch; or "duration", speakers in
        turn with utterances drawn in proportion to their length.
    labels : (utterances,) int64
        Speaker of each utterance.
    lengths : (utterances,) int64
        Length of each utterance, in frames or samples.
    demand : Demand
    sampling : Sampling
        See these classes.
    seed : int
        Random seed, a different one for each epoch.

    Returns
    -------
    (batches, size) int64
        Indices into `labels`. If the loss needs distinct speakers, the utterances of a speaker are adjacent, and no
        speaker occurs twice in a batch.

    Raises
    ------
    VouchError
        The training set cannot fill one batch; the message has the numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    return pick(SAMPLERS, sampler, "train.sampler")(labels, lengths, demand, sampling, generator)


def _by_utterance(
    labels: np.ndarray, lengths: np.ndarray, demand: Demand, sampling: Sampling, generator: torch.Generator
) -> np.ndarray:
    """Return each utterance once, in random order, or in random groups if the loss needs distinct speakers."""
    order = torch.randperm(len(labels), generator=generator).numpy()
    if demand.distinct:
        if 0 < sampling.cap < demand.per_speaker:
            raise VouchError(
                f"train.max_utterances_per_speaker {sampling.cap} is less than the {demand.per_speaker} utterances of"
                " each speaker that the loss takes in a batch"
            )
        groups = _groups(labels, order, demand.per_speaker, sampling.cap)
        visits = torch.randperm(len(groups), generator=generator).numpy()
        return _distinct_batches(labels, groups[visits], demand)
    if sampling.cap:
        order = order[_rank_within_speaker(labels[order]) < sampling.cap]
    count = len(order) // demand.size
    if count == 0:
        raise VouchError(
            f"{len(order)} training utterances do not fill a batch;"
            f" set train.batch_size to at most {len(order) * demand.crops}"
        )
    return order[: count * demand.size].reshape(count, demand.size)


def _rank_within_speaker(labels: np.ndarray) -> np.ndarray:
    """Return the number of earlier entries with the same label: `(n,) -> (n,)`."""
    by_label = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[by_label], labels[by_label], side="left")
    rank = np.empty(len(labels), np.int64)
    rank[by_label] = np.arange(len(labels)) - starts
    return rank


def _groups(labels: np.ndarray, order: np.ndarray, size: int, cap: int) -> np.ndarray:
    """Divide each speaker's shuffled utterances into groups of `size`, in label order: `(groups, size)`."""
    by_speaker = order[np.argsort(labels[order], kind="stable")]
    rank = _rank_within_speaker(labels[by_speaker])
    counts = np.bincount(labels)
    usable = np.minimum(counts, cap) if cap else counts
    usable = usable // size * size
    return by_speaker[rank < usable[labels[by_speaker]]].reshape(-1, size)


def _distinct_batches(labels: np.ndarray, groups: np.ndarray, demand: Demand) -> np.ndarray:
    """Fill batches with groups in the given order, skipping groups of speakers that are already in the batch.

    Skipped groups are left out of this epoch. The result is identical to that of voxceleb_trainer's sampler
    (DatasetLoader.py).
    """
    _check_speakers(len(np.unique(labels[groups[:, 0]])) if len(groups) else 0, demand)
    chosen: list[np.ndarray] = []
    in_batch: set[int] = set()
    for group, speaker in zip(groups, labels[groups[:, 0]].tolist(), strict=True):
        if speaker in in_batch:
            continue
        chosen.append(group)
        in_batch.add(speaker)
        if len(in_batch) == demand.speakers:
            in_batch.clear()
    count = len(chosen) // demand.speakers
    return np.array(chosen[: count * demand.speakers], np.int64).reshape(count, demand.size)


def _check_speakers(available: int, demand: Demand) -> None:
    # With fewer than two speakers no batch size can help, since a batch needs at least two.
    if available < 2:
        who = "only one speaker here has" if available else "no speaker here has"
        raise VouchError(
            f"the loss takes {demand.per_speaker} utterances of each speaker in a batch, of at least 2 speakers, but"
            f" {who} so many; take a classification loss, such as softmax or aamsoftmax, or fewer"
            " utterances_per_speaker"
        )
    if available < demand.speakers:
        raise VouchError(
            f"batches of {demand.speakers} speakers x {demand.per_speaker} utterances need {demand.speakers} speakers"
            f" with at least {demand.per_speaker} utterances, there are {available};"
            f" set train.batch_size to at most {available * demand.per_speaker * demand.crops}"
        )


def _by_speaker(
    labels: np.ndarray, lengths: np.ndarray, demand: Demand, sampling: Sampling, generator: torch.Generator
) -> np.ndarray:
    """Return each speaker once, with different random utterances (Wan et al. 2018, section 2.1)."""
    order = torch.randperm(len(labels), generator=generator).numpy()
    groups = _groups(labels, order, demand.per_speaker, demand.per_speaker)
    _check_speakers(len(groups), demand)
    visits = torch.randperm(len(groups), generator=generator).numpy()
    count = len(groups) // demand.speakers
    return groups[visits[: count * demand.speakers]].reshape(count, demand.size)


def _by_duration(
    labels: np.ndarray, lengths: np.ndarray, demand: Demand, sampling: Sampling, generator: torch.Generator
) -> np.ndarray:
    """Return speakers in turn, with utterances drawn with replacement in proportion to their length (pyannote v1)."""
    kept = np.flatnonzero(lengths > sampling.longer_than)
    kept = kept[np.argsort(labels[kept], kind="stable")]
    if len(kept) == 0:
        share = lengths.max(initial=0) / sampling.longer_than
        raise VouchError(
            f"no training utterance is longer than train.crop_seconds; the longest has {share:.0%} of that length"
        )
    speakers, first = np.unique(labels[kept], return_index=True)
    until = np.cumsum(lengths[kept])
    starts = (until - lengths[kept])[first]
    totals = np.append(starts[1:], until[-1]) - starts
    length = sampling.epoch_length or int(until[-1])
    batches = -(-length // (sampling.length_per_utterance * demand.size))
    if demand.distinct:
        _check_speakers(len(speakers), demand)
    turns = np.array(list(islice(_turns(len(speakers), demand, generator), batches)), np.int64)
    turns = np.repeat(turns, demand.per_speaker, axis=1)
    where = starts[turns] + torch.rand(turns.shape, dtype=torch.float64, generator=generator).numpy() * totals[turns]
    return kept[np.searchsorted(until, where, side="right")]


def _turns(speakers: int, demand: Demand, generator: torch.Generator) -> Iterator[list[int]]:
    """Yield batches of shuffled speakers without end; no speaker is twice in a batch, even where two passes meet."""
    waiting: list[int] = []
    while True:
        batch, waiting = waiting[: demand.speakers], waiting[demand.speakers :]
        while len(batch) < demand.speakers:
            fresh = torch.randperm(speakers, generator=generator).tolist()
            taken = set(batch) if demand.distinct else set()
            new = [speaker for speaker in fresh if speaker not in taken]
            missing = demand.speakers - len(batch)
            batch += new[:missing]
            waiting = new[missing:] + [speaker for speaker in fresh if speaker in taken]
        yield batch


SAMPLERS = {"utterances": _by_utterance, "speakers": _by_speaker, "duration": _by_duration}
