"""Gathers training crops in a separate thread while the device works."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from vouch.audio.loudness import SHORT_SECONDS
from vouch.augment.pipeline import Plan
from vouch.base.errors import VouchError
from vouch.base.failures import describe_failures
from vouch.features.clock import clock_of
from vouch.features.config import FrontEndConfig
from vouch.stores.waves import Store, WaveStore, open_store
from vouch.training.draws import AUGMENTATION

QUEUED_BATCHES = 4


class Batch(NamedTuple):
    """One batch, on the CPU.

    Attributes
    ----------
    inputs : (batch, frames, dim) float32 or (batch, samples) int16
        Features or waveforms.
    labels : (batch,) int64
    plan : Plan or None
        What is drawn for the augmentation.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    plan: Plan | None = None


class TrainingSet:
    """The utterances of a data directory with their speakers as labels.

    Parameters
    ----------
    path : str or Path
        Data directory with utt2spk and feats.scp, or wav.scp for waveforms.
    data_ratio : float
        Share of the speakers to use, the first ones by name.
    min_speaker_seconds : float
        Least audio of a speaker in seconds; speakers with less are left out.
    feature : FrontEndConfig, optional
        Front end of the features, if known; for waveforms, the front end determines how audio is read.

    Attributes
    ----------
    speakers : list of str
        Sorted; the label of a speaker is its position.
    labels : (utterances,) int64
    lengths : (utterances,) int64
        Length of each utterance, in steps of the clock.
    clock : Clock
        Unit of the input (frames or samples), and the number of steps per second.
    hours : float
        Total length of all utterances.
    store : Store
        Features or waveforms, including those of speakers that are left out.
    left_out : str
        A line about utterances that are left out, because they have no frames or are silent waveforms; or empty.
    short : str
        A line about waveforms shorter than 1 s; or empty.

    Raises
    ------
    VouchError
        There are fewer than two speakers.
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
        # A speaker without utterances is not a class.
        chosen &= lengths >= max(1, min_speaker_seconds * self.clock.per_second)
        if chosen.sum() < 2:
            left = "" if len(names) < 2 else f" left of {len(names)} by train.data_ratio and train.min_speaker_seconds"
            raise VouchError(f"{path}: training needs at least 2 speakers, there is {chosen.sum()}{left}")
        self.speakers = [names[label] for label in np.flatnonzero(chosen)]
        self.left_out = self._count(is_empty, f"of {describe_empty(self.store)} left out")
        self._position = np.flatnonzero(chosen[labels] & is_usable)
        self.labels = (np.cumsum(chosen) - 1)[labels[self._position]]
        self.lengths = self.store.lengths[self._position]
        # For features, stage 1 reports short recordings.
        is_short = np.zeros(len(labels), bool)
        if isinstance(self.store, WaveStore):
            is_short[self._position] = self.lengths < SHORT_SECONDS * self.clock.per_second
        self.short = self._count(is_short, f"shorter than {SHORT_SECONDS:g} s")

    def _count(self, is_odd: np.ndarray, what: str) -> str:
        odd = np.flatnonzero(is_odd)
        return f"{self.store.path}: {len(odd)} utterances {what}: {self.store.utterances[odd[0]]}" if len(odd) else ""

    @property
    def unreadable(self) -> str:
        """A line about recordings that have proved unreadable so far; or empty."""
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
            (batch,) indices of utterances.
        length : int
            Length of the crops, in steps of the clock; shorter utterances are repeated.
        rng : np.random.Generator
            Draws the positions of the crops.
        pin : bool
            Whether to use page-locked memory, from which copies to a GPU are asynchronous.

        Raises
        ------
        VouchError
            Features cannot be read. A recording that proves unreadable is replaced by the same speaker's next one (see
            `unreadable`); more than 5 % of such recordings, or all of a speaker, are an error.
        """
        is_wave = isinstance(self.store, WaveStore)
        kind = torch.int16 if is_wave else torch.float32
        inputs = torch.empty(len(indices), length, *self.store.step_shape, dtype=kind, pin_memory=pin)
        out = inputs.numpy()
        spare = np.maximum(self.lengths[indices] - length, 0)
        starts = (rng.random(len(indices)) * (spare + 1)).astype(np.int64)
        crop = self._crop_recording if is_wave else self.store.crop
        for row, (index, start) in enumerate(zip(self._position[indices].tolist(), starts.tolist(), strict=True)):
            crop(index, start, out[row])
        return Batch(inputs, torch.from_numpy(self.labels[indices]))

    def _crop_recording(self, index: int, start: int, out: np.ndarray, asked_for: int | None = None) -> None:
        """Fill `out` from recording `index` of the store, or from the same speaker's next one that can be read.

        The replacement and its crop depend only on `index`, so that a continued training uses the same.
        """
        assert isinstance(self.store, WaveStore)
        try:
            self.store.crop16(index, start, out)
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
    """Find utterances that are empty, silent or unreadable.

    Features of silence do not exist, because stage 1 rejects silent recordings.

    Parameters
    ----------
    whole : bool
        Whether to read each recording completely; otherwise only half a second is read, and later damage goes
        unnoticed.

    Returns
    -------
    is_empty : (utterances,) bool
        Utterances without frames, or silent waveforms.
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
    """Return a description of the utterances that `find_unusable` reports as empty."""
    return "silence or 0 samples" if isinstance(store, WaveStore) else "0 frames"


def describe_unreadable(store: Store) -> str:
    """Return a line about the recordings that `find_unusable` could not read; empty if it could read all."""
    if not (isinstance(store, WaveStore) and store.failed):
        return ""
    failures = describe_failures(dict(sorted(store.failed.items())))
    return f"{store.path}: {len(store.failed)} utterances that cannot be read left out: {failures}"


def prefetch(
    data: TrainingSet,
    batches: np.ndarray,
    first: int,
    length: int,
    seed: tuple[int, ...],
    pin: bool = False,
    draw: Callable[[Batch, np.random.Generator, bool], Batch] = lambda batch, rng, pin: batch,
) -> Iterator[Batch]:
    """Yield the crops of `batches[first:]`, gathered in advance by a thread.

    Parameters
    ----------
    data : TrainingSet
        Training set.
    batches : (batches, batch_size) int64
    first : int
        First batch; the ones before it were used before an interruption.
    length : int
        Length of the crops, in steps of the training set's clock.
    seed : tuple of int
        The draws of batch b depend on `(*seed, b)` only, so that a continued epoch draws the same crops.
    pin : bool
        See `TrainingSet.gather`.
    draw : callable
        Draws what else a batch needs, from a generator of its own: `vouch.training.input.TrainingInput.draw`.
    """
    pending: deque[Future[Batch]] = deque()

    def make(number: int) -> Batch:
        batch = data.gather(batches[number], length, np.random.default_rng((*seed, number)), pin)
        return draw(batch, np.random.default_rng((*seed, number, AUGMENTATION)), pin)

    with ThreadPoolExecutor(max_workers=1) as pool:
        for number in range(first, len(batches)):
            pending.append(pool.submit(make, number))
            if len(pending) > QUEUED_BATCHES:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
