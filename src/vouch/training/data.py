"""Training crops, gathered by a thread of their own while the device works."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from vouch.audio.loudness import SHORT_SECONDS
from vouch.base.errors import VouchError
from vouch.base.failures import describe_failures
from vouch.features.clock import clock_of
from vouch.features.config import FrontEndConfig
from vouch.stores.waves import Store, WaveStore, open_store

QUEUED_BATCHES = 4


class Batch(NamedTuple):
    """One batch, on the CPU.

    Attributes
    ----------
    inputs : (batch, frames, dim) or (batch, samples) float32
        Features or waveforms.
    labels : (batch,) int64
    """

    inputs: torch.Tensor
    labels: torch.Tensor


class TrainingSet:
    """The utterances of a data directory with their speakers as labels.

    Parameters
    ----------
    path : str or Path
        Data directory with utt2spk and feats.scp, or wav.scp for waveforms.
    data_ratio : float
        Share of the speakers to take, the first ones by name.
    min_speaker_seconds : float
        Speakers with less audio are left out.
    feature : FrontEndConfig, optional
        What made the features, if it is known; the front end of waveforms opens the audio.

    Attributes
    ----------
    speakers : list of str
        Sorted; the label of a speaker is its position.
    labels : (utterances,) int64
    lengths : (utterances,) int64
        In steps of the clock.
    clock : Clock
        Whether the input counts frames or samples, and how many a second has.
    hours : float
        Total length of all utterances.
    store : Store
        The features or waveforms, also of the speakers who were left out.
    left_out : str
        A line about utterances without a frame, or of waveforms that are silent, which are left out; empty when there
        are none.
    short : str
        A line about waveforms shorter than 1 s; empty when there are none.

    Raises
    ------
    VouchError
        Fewer than two speakers.
    """

    def __init__(
        self,
        path: str | Path,
        data_ratio: float = 1.0,
        min_speaker_seconds: float = 0.0,
        feature: FrontEndConfig | None = None,
    ) -> None:
        self.clock = clock_of(feature)
        data, self.store = open_store(path, feature)
        names = sorted({data.utt2spk[utterance] for utterance in self.store.utterances})
        number = {speaker: label for label, speaker in enumerate(names)}
        each = (number[data.utt2spk[utterance]] for utterance in self.store.utterances)
        labels = np.fromiter(each, np.int64, len(self.store))
        chosen = np.arange(len(names)) < int(len(names) * data_ratio)
        is_empty, is_unreadable = find_unusable(self.store)
        is_usable = ~(is_empty | is_unreadable)
        lengths = np.bincount(labels, np.where(is_usable, self.store.lengths, 0), len(names))
        # A speaker of whom nothing is left is no class.
        chosen &= lengths >= max(1, min_speaker_seconds * self.clock.per_second)
        if chosen.sum() < 2:
            left = "" if len(names) < 2 else f" left of {len(names)} by train.data_ratio and train.min_speaker_seconds"
            raise VouchError(f"{path}: training needs at least 2 speakers, there is {chosen.sum()}{left}")
        self.speakers = [names[label] for label in np.flatnonzero(chosen)]
        self.left_out = self._count(is_empty, f"of {describe_empty(self.store)} left out")
        self._position = np.flatnonzero(chosen[labels] & is_usable)
        self.labels = (np.cumsum(chosen) - 1)[labels[self._position]]
        self.lengths = self.store.lengths[self._position]
        # Stage 1 tells it of recordings that become features.
        is_short = np.zeros(len(labels), bool)
        if isinstance(self.store, WaveStore):
            is_short[self._position] = self.lengths < SHORT_SECONDS * self.clock.per_second
        self.short = self._count(is_short, f"shorter than {SHORT_SECONDS:g} s")

    def _count(self, is_odd: np.ndarray, what: str) -> str:
        odd = np.flatnonzero(is_odd)
        return f"{self.store.path}: {len(odd)} utterances {what}: {self.store.utterances[odd[0]]}" if len(odd) else ""

    @property
    def unreadable(self) -> str:
        """A line about recordings that cannot be read, as far as that was noticed; empty when there are none."""
        return describe_unreadable(self.store)

    def name(self, index: int) -> str:
        """Return the id of utterance `index`."""
        return self.store.utterances[self._position[index]]

    @property
    def hours(self) -> float:
        return float(self.lengths.sum()) / self.clock.per_second / 3600

    def gather(self, indices: np.ndarray, length: int, rng: np.random.Generator, pin: bool = False) -> Batch:
        """Cut a random crop out of each utterance.

        Parameters
        ----------
        indices : ndarray
            (batch,) utterances.
        length : int
            Of the crops, in steps of the clock; shorter utterances are repeated.
        rng : np.random.Generator
            Draws where the crops begin.
        pin : bool
            Place them in page-locked memory, from which a GPU copies without waiting.

        Raises
        ------
        VouchError
            Features cannot be read. Of recordings where only the crop shows it, those of the same speaker's next one
            take its place; see `unreadable`. An error are more than 5 %, or all of a speaker.
        """
        inputs = torch.empty(len(indices), length, *self.store.step_shape, pin_memory=pin)
        out = inputs.numpy()
        spare = np.maximum(self.lengths[indices] - length, 0)
        starts = (rng.random(len(indices)) * (spare + 1)).astype(np.int64)
        crop = self._crop_recording if isinstance(self.store, WaveStore) else self.store.crop
        for row, (index, start) in enumerate(zip(self._position[indices].tolist(), starts.tolist(), strict=True)):
            crop(index, start, out[row])
        return Batch(inputs, torch.from_numpy(self.labels[indices]))

    def _crop_recording(self, index: int, start: int, out: np.ndarray, asked_for: int | None = None) -> None:
        """Fill `out` from recording `index` of the store, or from the same speaker's next one that can be read.

        Which one, and where, follows from `index` alone: an interrupted training that goes on takes the same.
        """
        assert isinstance(self.store, WaveStore)
        try:
            self.store.crop(index, start, out)
        except VouchError as error:
            self.store.leave_out(index, error)
            same = self._position[self.labels == self.labels[np.searchsorted(self._position, index)]]
            following = int(same[(np.searchsorted(same, index) + 1) % len(same)])
            asked_for = index if asked_for is None else asked_for
            if following == asked_for:
                raise
            self._crop_recording(following, 0, out, asked_for)


def find_not_finite(
    data: TrainingSet, batches: np.ndarray, first: int, last: int, length: int, seed: tuple[int, ...]
) -> list[str]:
    """Return the utterances whose crops in `batches[first:last]`, drawn as by `prefetch`, hold NaN or infinity."""
    found: dict[str, None] = {}
    for number in range(first, last):
        inputs = data.gather(batches[number], length, np.random.default_rng((*seed, number))).inputs
        bad = ~torch.isfinite(inputs).flatten(1).all(dim=1)
        found |= dict.fromkeys(data.name(index) for index in batches[number][bad.numpy()])
    return list(found)


def find_unusable(store: Store, whole: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Look for utterances that have nothing to learn or to compare.

    Silent features are not there: stage 1 makes none.

    Parameters
    ----------
    whole : bool
        Read all of each recording; otherwise half a second, and damage elsewhere is met when that is read.

    Returns
    -------
    is_empty : (utterances,) bool
        Without a frame, or waveforms that are silence.
    is_unreadable : (utterances,) bool
        Waveforms that cannot be read.

    Raises
    ------
    VouchError
        More than 5 % of the waveforms cannot be read.
    """
    is_empty, is_unreadable = store.lengths == 0, np.zeros(len(store), bool)
    if isinstance(store, WaveStore):
        is_empty |= store.find_silent(whole)
        is_unreadable[:] = [utterance in store.failed for utterance in store.utterances]
    return is_empty & ~is_unreadable, is_unreadable


def describe_empty(store: Store) -> str:
    """Return in words what `find_unusable` finds empty."""
    return "silence or 0 samples" if isinstance(store, WaveStore) else "0 frames"


def describe_unreadable(store: Store) -> str:
    """Return a line about the recordings that `find_unusable` could not read; empty when it could read all."""
    if not (isinstance(store, WaveStore) and store.failed):
        return ""
    failures = describe_failures(dict(sorted(store.failed.items())))
    return f"{store.path}: {len(store.failed)} utterances that cannot be read left out: {failures}"


def prefetch(
    data: TrainingSet, batches: np.ndarray, first: int, length: int, seed: tuple[int, ...], pin: bool = False
) -> Iterator[Batch]:
    """Yield the crops of `batches[first:]`, gathered ahead by a thread.

    Parameters
    ----------
    data : TrainingSet
        Training set.
    batches : (batches, batch_size) int64
    first : int
        The batch to begin with; those before it were seen before an interruption.
    length : int
        Of the crops, in steps of the clock of the training set.
    seed : tuple of int
        The draws of batch b follow from `(*seed, b)` alone, so that a resumed epoch draws what it would have drawn.
    pin : bool
        See `TrainingSet.gather`.
    """
    pending: deque[Future[Batch]] = deque()
    with ThreadPoolExecutor(max_workers=1) as pool:
        for number in range(first, len(batches)):
            rng = np.random.default_rng((*seed, number))
            pending.append(pool.submit(data.gather, batches[number], length, rng, pin))
            if len(pending) > QUEUED_BATCHES:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
