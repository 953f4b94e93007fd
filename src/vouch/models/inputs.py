"""What every network does with its input before the first layer: check it, and mark its real frames."""

from __future__ import annotations

import torch

from vouch.errors import VouchError


def check_features(
    features: torch.Tensor,
    lengths: torch.Tensor | None,
    num_bins: int,
    min_frames: int,
) -> None:
    """Raise unless a network for `num_bins` bins and at least `min_frames` frames can take the batch.

    Parameters
    ----------
    features : (batch, frames, bins) float
    lengths : (batch,) int64, optional
        Real frames of each utterance. Their values are checked on the CPU only: on a GPU the check would make
        the host wait for the device at every step.
    num_bins, min_frames : int
        What the network declares.

    Raises
    ------
    VouchError
        The shape is not (batch, frames, num_bins), an utterance is shorter than `min_frames`, or a length
        exceeds the number of frames.
    """
    if features.ndim != 3 or features.shape[2] != num_bins:
        raise VouchError(f"the network takes (batch, frames, {num_bins}), not {tuple(features.shape)}")
    frames = features.shape[1]
    shortest = longest = frames
    if lengths is not None:
        if lengths.shape != features.shape[:1]:
            raise VouchError(f"{len(features)} utterances need as many lengths, not {tuple(lengths.shape)}")
        if lengths.device.type == "cpu" and lengths.numel():
            shortest, longest = int(lengths.min()), int(lengths.max())
    if shortest < min_frames:
        raise VouchError(f"an utterance has {shortest} frames, the network needs at least {min_frames}")
    if longest > frames:
        raise VouchError(f"an utterance is said to have {longest} frames, but the batch holds only {frames}")


def length_mask(lengths: torch.Tensor, frames: int) -> torch.Tensor:
    """Mark the real frames of a padded batch.

    Parameters
    ----------
    lengths : (batch,) int64
    frames : int
        Frames of the padded batch.

    Returns
    -------
    mask : (batch, frames) bool
        True on real frames, False on padding.

    Examples
    --------
    >>> length_mask(torch.tensor([1, 3]), 3).int().tolist()
    [[1, 0, 0], [1, 1, 1]]
    """
    return torch.arange(frames, device=lengths.device) < lengths[:, None]
