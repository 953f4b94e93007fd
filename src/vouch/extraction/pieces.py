"""Ways to embed an utterance in parts: evenly spaced crops that stay apart, and sliding windows that are averaged."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vouch.base.errors import VouchError, pick
from vouch.encoder import Encoder
from vouch.features.clock import Clock

# A crop of audio is so much longer that frames of 25 ms every 10 ms fill its seconds.
_CROP_EXTRA = 0.015
# Longer recordings are embedded in pieces (Kaldi's x-vector recipes use the same length): memory stays bounded.
MAX_SECONDS = 100.0
# What becomes of the embeddings of windows: their mean, or the mean of these scaled to length 1.
WINDOW_AVERAGES = ("mean", "unit-mean")


class Crops(NamedTuple):
    """Crops of equal length, from the first to the last that fits, as voxceleb_trainer evaluates.

    Attributes
    ----------
    number : int
        Number of crops, at least 1.
    seconds : float
        Length of each.
    """

    number: int
    seconds: float

    def of_samples(self, samples: np.ndarray, sample_rate: int) -> list[np.ndarray]:
        """Cut (samples,) at a rate in Hz; a recording not longer than a crop is repeated to one sample more."""
        return self._cut(samples, round(sample_rate * (self.seconds + _CROP_EXTRA)))

    def of_inputs(self, matrix: np.ndarray, clock: Clock) -> list[np.ndarray]:
        """Cut the input of a network, (frames, bins) or (samples,), like `of_samples`."""
        return self._cut(matrix, clock.count(self.seconds))

    def combine(self, embeddings: np.ndarray) -> np.ndarray:
        """Return (crops, dim) embeddings as they are."""
        return embeddings

    def _cut(self, x: np.ndarray, length: int) -> list[np.ndarray]:
        if not len(x):
            raise VouchError("there are no samples")
        if len(x) <= length:
            x = np.take(x, range(length + 1), axis=0, mode="wrap")
        return [x[start : start + length] for start in np.linspace(0, len(x) - length, self.number).astype(int)]


class Windows(NamedTuple):
    """Sliding windows of equal length, and one more at the end if they do not reach it.

    With a step of 0.25 and the mean these are pyannote.audio's; with 1.6 s, a step of 0.5 and the unit mean those
    of Wan et al., "Generalized end-to-end loss for speaker verification", 2018.

    Attributes
    ----------
    seconds : float
        Length of each.
    step : float
        From one to the next, in lengths.
    average : str
        One of `WINDOW_AVERAGES`.
    """

    seconds: float
    step: float
    average: str

    def of_inputs(self, matrix: np.ndarray, clock: Clock) -> list[np.ndarray]:
        """Cut the input of a network, (frames, bins) or (samples,); what is shorter is one window."""
        length = clock.count(self.seconds)
        if len(matrix) <= length:
            return [matrix]
        # Windows of features lie a whole number of frames apart, those of waveforms where their times fall.
        step = max(1.0, self.step * length if clock.unit == "samples" else round(self.step * length))
        count = int((len(matrix) - length) / step) + 1
        starts = [round(index * step) for index in range(count)]
        if starts[-1] + length < len(matrix):
            starts.append(len(matrix) - length)
        return [matrix[start : start + length] for start in starts]

    def combine(self, embeddings: np.ndarray) -> np.ndarray:
        """Average (windows, dim) embeddings: (dim,) of the same type."""
        if self.average == "unit-mean":
            # An embedding of zero has no direction and adds nothing.
            length = np.linalg.norm(embeddings, axis=1, keepdims=True)
            embeddings = embeddings / np.where(length > 0, length, 1)
        return embeddings.mean(axis=0)


Cut = Crops | Windows


def check_cut(cut: Cut, encoder: Encoder) -> None:
    """Raise `VouchError` unless the numbers of a cut make sense and its pieces are long enough for the network."""
    if isinstance(cut, Crops) and cut.number < 1:
        raise VouchError(f"{cut.number} crops of an utterance: at least 1 is needed")
    if isinstance(cut, Windows):
        pick(dict.fromkeys(WINDOW_AVERAGES), cut.average, "average of windows")
        if not 0 < cut.step <= 1:
            raise VouchError(f"a step of {cut.step:g} windows: must be above 0 and at most 1")
    if not cut.seconds <= MAX_SECONDS:
        raise VouchError(f"pieces of {cut.seconds:g} s are too long, at most {MAX_SECONDS:g} s are taken")
    clock, least = encoder.clock, encoder.min_length
    if clock.count(cut.seconds) < least:
        raise VouchError(
            f"pieces of {cut.seconds:g} s are too short, the network needs at least {least} {clock.unit},"
            f" {clock.seconds(least):.3g} s"
        )
