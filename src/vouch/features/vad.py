"""Energy-based voice activity detection, as in Kaldi's compute-vad (voice-activity-detection.cc)."""

from __future__ import annotations

import numpy as np

from vouch.base.errors import VouchError


def energy_vad(
    log_energy: np.ndarray,
    energy_threshold: float = 5.0,
    energy_mean_scale: float = 0.5,
    frames_context: int = 0,
    proportion_threshold: float = 0.6,
) -> np.ndarray:
    """Decide which frames are voiced: those with enough loud frames around them.

    A frame is loud if its log energy exceeds `energy_threshold` + `energy_mean_scale` times the utterance's mean. A
    frame is voiced if at least a share `proportion_threshold` of the frames within `frames_context` of it are loud;
    near the ends there are fewer such frames.

    Parameters
    ----------
    log_energy : (frames,) float32 ndarray
        Natural logarithms of energies on the scale of 16-bit integers; the first dimension of MFCC, or of filterbanks
        with use_energy.

    Returns
    -------
    (frames,) bool ndarray

    Raises
    ------
    VouchError
        An option is out of range.
    """
    if energy_mean_scale < 0 or frames_context < 0 or not 0 < proportion_threshold < 1:
        raise VouchError(
            "vad: energy_mean_scale and frames_context must not be negative, proportion_threshold lies between 0 and 1"
        )
    frames = len(log_energy)
    if frames == 0:
        return np.zeros(0, bool)
    mean = log_energy.sum(dtype=np.float32) / np.float32(frames)
    threshold = np.float32(energy_threshold) + np.float32(energy_mean_scale) * mean
    # Number of loud frames before each position; the number in a window is a difference of two.
    loud_before = np.concatenate([[0], np.cumsum(log_energy > threshold)])
    position = np.arange(frames)
    frames_context = min(frames_context, frames)
    first = np.maximum(position - frames_context, 0)
    last = np.minimum(position + frames_context + 1, frames)
    loud = (loud_before[last] - loud_before[first]).astype(np.float32)
    return loud >= (last - first).astype(np.float32) * np.float32(proportion_threshold)


def select_voiced(matrix: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """Return the voiced frames of a matrix (select-voiced-frames).

    Parameters
    ----------
    matrix : (frames, dim) ndarray
    voiced : (frames,) ndarray
        Voiced frames have a value other than 0.

    Raises
    ------
    VouchError
        The numbers of frames differ, or no frame is voiced.
    """
    if len(matrix) != len(voiced):
        raise VouchError(f"{len(matrix)} frames of features, {len(voiced)} of voice activity")
    chosen = voiced != 0
    if not chosen.any():
        raise VouchError("no voiced frame")
    return matrix[chosen]
