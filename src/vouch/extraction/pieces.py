"""Ways to embed an utterance in parts: evenly spaced crops that stay apart, and sliding windows that are averaged."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vouch.base.errors import VouchError, pick
from vouch.encoder import Encoder

# A crop of so many frames lasts 10 ms each and 15 ms more: it fills frames of 25 ms every 10 ms.
_CROP_EXTRA = 0.015
# Longer recordings are embedded in pieces (Kaldi's x-vector recipes use the same length): memory stays bounded.
MAX_FRAMES = 10_000
# What becomes of the embeddings of windows: their mean, or the mean of these scaled to length 1.
WINDOW_AVERAGES = ("mean", "unit-mean")


class Crops(NamedTuple):
    """Crops of equal length, from the first to the last that fits, as voxceleb_trainer evaluates.

    Attributes
    ----------
    number : int
        Number of crops, at least 1.
    frames : int
        Length of each, in frames of 10 ms.
    """

    number: int
    frames: int

    def of_samples(self, samples: np.ndarray, sample_rate: int) -> list[np.ndarray]:
        """Cut (samples,) at a rate in Hz; a recording not longer than a crop is repeated to one sample more."""
        return self._cut(samples, round(sample_rate * (self.frames / 100 + _CROP_EXTRA)))

    def of_features(self, matrix: np.ndarray, frame_rows: int = 1) -> list[np.ndarray]:
        """Cut (rows, bins) like `of_samples`; a frame of 10 ms is `frame_rows` rows."""
        return self._cut(matrix, self.frames * frame_rows)

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

    With a step of 0.25 and the mean these are pyannote.audio's; with 160 frames, a step of 0.5 and the unit mean those
    of Wan et al., "Generalized end-to-end loss for speaker verification", 2018.

    Attributes
    ----------
    frames : int
        Length of each, in frames of 10 ms.
    step : float
        From one to the next, in lengths.
    average : str
        One of `WINDOW_AVERAGES`.
    """

    frames: int
    step: float
    average: str

    def of_features(self, matrix: np.ndarray, frame_rows: int = 1) -> list[np.ndarray]:
        """Cut (frames, bins), or (samples, 1) with `frame_rows` samples a frame; what is shorter is one window."""
        length = self.frames * frame_rows
        if len(matrix) <= length:
            return [matrix]
        # Windows of features lie a whole number of frames apart, those of waveforms where their times fall.
        step = max(1.0, self.step * length if frame_rows > 1 else round(self.step * length))
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
    rows = cut.frames * frame_rows(encoder)
    if cut.frames < 1 or rows < encoder.min_frames:
        least = max(1, -(-encoder.min_frames // frame_rows(encoder)))
        raise VouchError(f"pieces of {cut.frames} frames are too short, the network needs at least {least}")
    if cut.frames > MAX_FRAMES:
        raise VouchError(f"pieces of {cut.frames} frames are too long, at most {MAX_FRAMES} (100 s) are taken")
    front_end = encoder.config.front_end
    shift = 10.0 if front_end is None else front_end.options.get("frame_shift", 10.0)
    if shift != 10:
        raise VouchError(f"pieces are counted in frames of 10 ms, and the model's features come every {shift:g} ms")


def frame_rows(encoder: Encoder) -> int:
    """Return how many rows of an encoder's input stand for a frame of 10 ms: one, or of waveforms its samples."""
    if encoder.feature is None or not encoder.takes_waveforms:
        return 1
    return encoder.feature.sample_rate // 100
