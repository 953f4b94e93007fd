"""Cepstral mean and variance normalisation, over a sliding window or by statistics of an utterance or a speaker."""

from __future__ import annotations

import numpy as np
import torch

from vouch.base.errors import VouchError

# Kaldi's floors of the variance, for sliding windows and for statistics.
WINDOW_VARIANCE_FLOOR = 1e-10
VARIANCE_FLOOR = 1e-20


def sliding_cmvn(
    features: torch.Tensor,
    lengths: torch.Tensor | None = None,
    window: int = 300,
    min_window: int = 100,
    center: bool = True,
    norm_vars: bool = False,
) -> torch.Tensor:
    """Subtract the mean of each dimension over a sliding window of frames (apply-cmvn-sliding).

    A centred window has `window` frames if the utterance is long enough; near the ends it is shifted inside. Other
    windows have a frame and the `window` frames before it, and near the beginning at least the first `min_window` ones.

    Parameters
    ----------
    features : (batch, frames, dim) float
    lengths : (batch,) int64, optional
        Number of real frames of each utterance, if shorter ones are padded; padded output is meaningless.
    window : int
        Window length in frames.
    min_window : int
        Least number of frames, for windows that are not centred.
    center : bool
        Whether the window is centred on the frame.
    norm_vars : bool
        Whether to divide by the standard deviation over the window too; a single frame then gives 0.

    Returns
    -------
    (batch, frames, dim)
        Computed in double precision, returned in the type of `features`.

    Raises
    ------
    VouchError
        A window has no frames.
    """
    if window < 1 or min_window < 1:
        raise VouchError(f"sliding normalisation needs windows of at least one frame, not {window} and {min_window}")
    batch, frames, _ = features.shape
    position = torch.arange(frames, device=features.device)
    end = position.new_full((batch,), frames) if lengths is None else lengths
    first, last = _window_bounds(position, end[:, None], window, min_window, center)
    count = (last - first)[..., None]
    mean = _window_sums(features.double(), first, last) / count
    out = features - mean
    if norm_vars:
        # One frame is subtracted first, because the square of a large mean would swamp the variance.
        centre = features[:, :1].double()
        square = _window_sums((features - centre).square(), first, last) / count
        variance = (square - (mean - centre).square()).clamp(min=WINDOW_VARIANCE_FLOOR)
        out = torch.where(count == 1, 0.0, out / variance.sqrt())
    return out.to(features.dtype)


def _window_bounds(
    position: torch.Tensor, end: torch.Tensor, window: int, min_window: int, center: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return first and last (exclusive) frames of windows, (batch, frames), from (frames,) and (batch, 1) ends."""
    if center:
        last = torch.minimum((position - window // 2).clamp(min=0) + window, end)
        return (last - window).clamp(min=0), last
    last = (position + 1).clamp(min=min_window)
    beyond = (last - end).clamp(min=0)
    return ((position - window).clamp(min=0) - beyond).clamp(min=0), last - beyond


def _window_sums(features: torch.Tensor, first: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """Return sums over windows, `(batch, frames, dim)`, as differences of cumulative sums."""
    sums = torch.nn.functional.pad(features.cumsum(dim=1), (0, 0, 1, 0))
    wide = (-1, -1, features.shape[2])
    return sums.gather(1, last[..., None].expand(wide)) - sums.gather(1, first[..., None].expand(wide))


def cmvn_stats(matrix: np.ndarray) -> np.ndarray:
    """Return the statistics of an utterance (compute-cmvn-stats); those of a speaker are the sum over its utterances.

    Parameters
    ----------
    matrix : (frames, dim) ndarray

    Returns
    -------
    (2, dim + 1) float64 ndarray
        First row: sums and number of frames; second row: sums of squares and 0.
    """
    values = matrix.astype(np.float64)
    return np.stack([np.append(values.sum(axis=0), len(values)), np.append((values * values).sum(axis=0), 0.0)])


def apply_cmvn(matrix: np.ndarray, stats: np.ndarray, norm_vars: bool = False) -> np.ndarray:
    """Normalise a matrix by the mean, and optionally the standard deviation, of statistics (apply-cmvn).

    Parameters
    ----------
    matrix : (frames, dim) ndarray
    stats : (2, dim + 1) float64 ndarray
        See `cmvn_stats`.
    norm_vars : bool
        Whether to divide by the standard deviation too.

    Returns
    -------
    (frames, dim) float32 ndarray

    Raises
    ------
    VouchError
        The statistics have another dimension, or no frames.
    """
    if stats.shape != (2, matrix.shape[1] + 1):
        raise VouchError(f"statistics of shape {stats.shape} are not for features of {matrix.shape[1]} dimensions")
    count = stats[0, -1]
    if count < 1:
        raise VouchError("statistics of no frames")
    mean = stats[0, :-1] / count
    out = matrix - mean
    if norm_vars:
        variance = stats[1, :-1] / count - mean * mean
        out /= np.sqrt(np.maximum(variance, VARIANCE_FLOOR))
    return out.astype(np.float32)
