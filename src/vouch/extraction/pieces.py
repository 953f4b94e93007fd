"""Cuts utterances into evenly spaced crops, which keep their own embeddings, or sliding windows, which are averaged."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vouch.base.errors import VouchError, pick
from vouch.encoder import Encoder
from vouch.features.clock import Clock

# Additional seconds of a crop of audio, so that frames of 25 ms with a shift of 10 ms cover its nominal length.
_CROP_EXTRA = 0.015
# Longest piece of a recording in seconds, which bounds the memory; the same as in Kaldi's x-vector recipes.
MAX_SECONDS = 100.0
MOST_CROPS = 1000
# Ways to average the embeddings of windows: their mean, or the mean of the embeddings scaled to length 1.
WINDOW_AVERAGES = ("mean", "unit-mean")


class Crops(NamedTuple):
    """Evenly spaced crops of equal length, from the start to the end of an utterance, as in voxceleb_trainer.

    Attributes
    ----------
    number : int
        Number of crops, at least 1.
    seconds : float
        Length of each crop.
    """

    number: int
    seconds: float

    def of_samples(self, samples: np.ndarray, sample_rate: int) -> list[np.ndarray]:
        """Cut (samples,) at a rate in Hz; a recording not longer than a crop is repeated to one sample more."""
        return self._cut(samples, round(sample_rate * (self.seconds + _CROP_EXTRA)))

    def of_inputs(self, matrix: np.ndarray, clock: Clock) -> list[np.ndarray]:
        """Cut the input of a network, (frames, bins) or (samples,), in the same way as `of_samples`."""
        return self._cut(matrix, clock.count(self.seconds))

    def combine(self, embeddings: np.ndarray) -> np.ndarray:
        """Return the (crops, dim) embeddings unchanged."""
        return embeddings

    def _cut(self, x: np.ndarray, length: int) -> list[np.ndarray]:
        if not len(x):
            raise VouchError("there are no samples")
        if len(x) <= length:
            x = np.take(x, range(length + 1), axis=0, mode="wrap")
        return [x[start : start + length] for start in np.linspace(0, len(x) - length, self.number).astype(int)]


class Windows(NamedTuple):
    """Sliding windows of equal length; a further one at the end covers what is left.

    A step of 0.25 and the mean are those of pyannote.audio; 1.6 s, a step of 0.5 and the unit mean those of Wan et al.,
    "Generalized end-to-end loss for speaker verification", 2018.

    Attributes
    ----------
    seconds : float
        Length of each window.
    step : float
        Shift from one window to the next, relative to its length.
    average : str
        One of `WINDOW_AVERAGES`.
    """

    seconds: float
    step: float
    average: str

    def of_inputs(self, matrix: np.ndarray, clock: Clock) -> list[np.ndarray]:
        """Cut the input of a network, (frames, bins) or (samples,); an input shorter than a window is one window."""
        length = clock.count(self.seconds)
        if len(matrix) <= length:
            return [matrix]
        # The step is a whole number of frames for features; for waveforms it may be fractional.
        step = max(1.0, self.step * length if clock.unit == "samples" else round(self.step * length))
        count = int((len(matrix) - length) / step) + 1
        starts = [round(index * step) for index in range(count)]
        if starts[-1] + length < len(matrix):
            starts.append(len(matrix) - length)
        return [matrix[start : start + length] for start in starts]

    def combine(self, embeddings: np.ndarray) -> np.ndarray:
        """Average (windows, dim) embeddings to (dim,), of the same type."""
        if self.average == "unit-mean":
            # A zero embedding has no direction and contributes nothing.
            length = np.linalg.norm(embeddings, axis=1, keepdims=True)
            embeddings = embeddings / np.where(length > 0, length, 1)
        return embeddings.mean(axis=0)


Cut = Crops | Windows


def check_cut(cut: Cut, encoder: Encoder) -> None:
    """Raise `VouchError` unless the parameters of a cut are valid and its pieces long enough for the network."""
    if isinstance(cut, Crops) and not 1 <= cut.number <= MOST_CROPS:
        raise VouchError(f"{cut.number} crops of an utterance: must be from 1 to {MOST_CROPS}")
    if isinstance(cut, Windows):
        pick(dict.fromkeys(WINDOW_AVERAGES), cut.average, "average of windows")
        if not 0 < cut.step <= 1:
            raise VouchError(f"a step of {cut.step:g} windows: must be above 0 and at most 1")
    if not 0 < cut.seconds <= MAX_SECONDS:
        raise VouchError(f"pieces of {cut.seconds} s: a length in seconds is above 0 and at most {MAX_SECONDS:g}")
    clock, least = encoder.clock, encoder.min_length
    if clock.count(cut.seconds) < least:
        raise VouchError(
            f"pieces of {cut.seconds} s are too short, the network needs at least {least} {clock.unit},"
            f" {clock.seconds_needed(least)} s"
        )
