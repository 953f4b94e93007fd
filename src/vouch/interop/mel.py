"""Recognises the options of our mel front end from the window and the mel matrix in a checkpoint."""

from __future__ import annotations

import torch

from vouch.base.errors import VouchError
from vouch.features.logmel import WINDOWS
from vouch.features.mel import NORMS, SCALES, triangles

# Largest difference, relative to the largest weight, at which a stored window or mel matrix counts as equal to ours:
# well above the rounding of single (or half) precision, well below the difference between periodic and symmetric
# windows.
SAME = 1e-3


def recognise_options(window: torch.Tensor, mel: torch.Tensor, sample_rate: int = 16000) -> dict[str, object]:
    """Find the options of `LogMel` for the window and mel matrix that a checkpoint of another toolkit carries.

    The window in a checkpoint overrides that of the program that loads it, and the programs' windows have changed
    between versions. Shift, padding, pre-emphasis, logarithm and scale cannot be recognised from these two.

    Parameters
    ----------
    window : (window_size,) float
    mel : (n_fft // 2 + 1, num_mel_bins) float
    sample_rate : int
        Sampling rate in Hz.

    Returns
    -------
    dict of str to object
        sample_rate, n_fft, frame_length, window_type, num_mel_bins, mel_scale and mel_norm.

    Raises
    ------
    VouchError
        `LogMel` cannot make this window, or these mel triangles up to half the sampling rate.
    """
    if window.ndim != 1 or mel.ndim != 2 or min(len(window), len(mel)) < 2 or mel.shape[1] < 1:
        raise VouchError(f"no window and mel matrix: their shapes are {tuple(window.shape)} and {tuple(mel.shape)}")
    n_fft, bands = 2 * (len(mel) - 1), mel.shape[1]
    names = [name for name, make in WINDOWS.items() if _same(window, make(len(window)))]
    if not names:
        raise VouchError(f"the window of {len(window)} samples is no periodic {' or '.join(WINDOWS)} window")
    for scale in SCALES:
        for norm in NORMS:
            if _same(mel, triangles(bands, n_fft, sample_rate, 0.0, sample_rate / 2, scale, norm)):
                return {
                    "sample_rate": sample_rate,
                    "n_fft": n_fft,
                    "frame_length": 1000 * len(window) / sample_rate,
                    "window_type": names[0],
                    "num_mel_bins": bands,
                    "mel_scale": scale,
                    "mel_norm": norm,
                }
    raise VouchError(
        f"the mel matrix of {bands} bands is none of {' or '.join(SCALES)} from 0 to {sample_rate / 2:g} Hz"
    )


def _same(found: torch.Tensor, own: torch.Tensor) -> bool:
    return bool((found.float() - own).abs().max() <= SAME * own.abs().max())
