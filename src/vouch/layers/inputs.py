"""Masks for padded batches: marks real frames, follows them through strided layers, and zeroes padded frames."""

from __future__ import annotations

import torch


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


def as_image(features: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Turn features into images of one channel with zeros in padded frames.

    Parameters
    ----------
    features : (batch, frames, bins) float
    mask : (batch, frames) bool, optional
        True on real frames.

    Returns
    -------
    image : (batch, 1, bins, frames) float
        In channels_last, which the layers keep, because their kernels are faster in it on CPUs and on tensor cores. The
        strides are set explicitly: torch takes an image of one channel for either layout, and the layers would choose
        theirs by the strides that the caller's tensor happens to have.
    """
    spectrum = clear_padding(features.transpose(1, 2), mask).contiguous()
    return spectrum[..., None].permute(0, 3, 1, 2)


def strided_mask(mask: torch.Tensor | None, stride: int, consumed: int = 0) -> torch.Tensor | None:
    """Mark the real frames in the output of a convolution or a pooling over time.

    Each utterance gets as many real frames as it would get without padding.

    Parameters
    ----------
    mask : (batch, frames) bool, optional
        True on real frames of the input, which come first.
    stride : int
    consumed : int
        Frames by which the output is shorter than the input at stride 1: the kernel size minus one, minus the padding
        at both ends; 0 for 'same' padding.

    Returns
    -------
    (batch, (frames - consumed - 1) // stride + 1) bool
        None if there is no mask.

    Examples
    --------
    >>> strided_mask(torch.tensor([[True, True, True, True, True, True, False]]), stride=2, consumed=2).tolist()
    [[True, True, False]]
    """
    return None if mask is None else mask[:, consumed::stride]


def clear_padding(x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Zero the padded frames, so that a convolution sees the same there as beyond the end of an utterance.

    Parameters
    ----------
    x : (batch, ..., frames) float
        Padded frames may hold anything, even NaN.
    mask : (batch, frames) bool, optional
        True on real frames; without it all frames are real.

    Returns
    -------
    (batch, ..., frames) float

    Examples
    --------
    >>> clear_padding(torch.ones(1, 2, 3), torch.tensor([[True, True, False]])).tolist()
    [[[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]]
    """
    if mask is None:
        return x
    return x.masked_fill(~mask.reshape(len(mask), *(1 for _ in x.shape[1:-1]), -1), 0.0)


def clear_computed(x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Zero the padded frames of a layer's fresh output; many times faster than `clear_padding`.

    Parameters
    ----------
    x : (batch, ..., frames) float
        Finite everywhere. It is overwritten if no gradients are computed, so nothing else may need it.
    mask : (batch, frames) bool, optional
        True on real frames; without it all frames are real.

    Returns
    -------
    (batch, ..., frames) float
    """
    if mask is None:
        return x
    factors = mask.reshape(len(mask), *(1 for _ in x.shape[1:-1]), -1)
    return x * factors if torch.is_grad_enabled() else x.mul_(factors)
