"""Training crops, gathered by a thread of their own while the device works."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from vouch.errors import VouchError
from vouch.kaldi.datadir import DataDir
from vouch.kaldi.feats import FeatureStore

QUEUED_BATCHES = 4


class Batch(NamedTuple):
    """One batch, on the CPU.

    Attributes
    ----------
    features : (batch, frames, dim) float32
    labels : (batch,) int64
    """

    features: torch.Tensor
    labels: torch.Tensor


class TrainingSet:
    """The utterances of a data directory with their speakers as labels.

    Parameters
    ----------
    path : data directory with feats.scp and utt2spk

    Attributes
    ----------
    speakers : list of str, sorted; the label of a speaker is its position
    labels : (utterances,) int64
    store : the features
    """

    def __init__(self, path: str | Path) -> None:
        data = DataDir.load(path, need=["feats.scp"])
        self.store = FeatureStore(data.path / "feats.scp")
        self.speakers = sorted({data.utt2spk[utterance] for utterance in self.store.utterances})
        if len(self.speakers) < 2:
            raise VouchError(f"{path}: training needs at least 2 speakers, there is {len(self.speakers)}")
        number = {speaker: label for label, speaker in enumerate(self.speakers)}
        self.labels = np.array([number[data.utt2spk[utterance]] for utterance in self.store.utterances], np.int64)

    def gather(self, indices: np.ndarray, frames: int, rng: np.random.Generator, pin: bool = False) -> Batch:
        """Cut a random crop out of each utterance.

        Parameters
        ----------
        indices : (batch,) utterances
        frames : length of the crops; shorter utterances are repeated
        rng : draws where the crops begin
        pin : place them in page-locked memory, from which a GPU copies without waiting
        """
        features = torch.empty(len(indices), frames, self.store.dim, pin_memory=pin)
        out = features.numpy()
        spare = np.maximum(self.store.num_frames[indices] - frames, 0)
        starts = (rng.random(len(indices)) * (spare + 1)).astype(np.int64)
        for row, (index, start) in enumerate(zip(indices.tolist(), starts.tolist(), strict=True)):
            self.store.crop(index, start, out[row])
        return Batch(features, torch.from_numpy(self.labels[indices]))


def prefetch(
    data: TrainingSet, batches: np.ndarray, first: int, frames: int, seed: tuple[int, ...], pin: bool = False
) -> Iterator[Batch]:
    """Yield the crops of `batches[first:]`, gathered ahead by a thread.

    Parameters
    ----------
    data : training set
    batches : (batches, batch_size) int64
    first : the batch to begin with; those before it were seen before an interruption
    frames : length of the crops
    seed : the draws of batch b follow from `(*seed, b)` alone, so that a resumed epoch draws what it would have drawn
    pin : see `TrainingSet.gather`
    """
    pending: deque[Future[Batch]] = deque()
    with ThreadPoolExecutor(max_workers=1) as pool:
        for number in range(first, len(batches)):
            rng = np.random.default_rng((*seed, number))
            pending.append(pool.submit(data.gather, batches[number], frames, rng, pin))
            if len(pending) > QUEUED_BATCHES:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
