"""Real frames of padded batches: marking them, following them through layers, and clearing all others."""

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
    """Turn features into images of one channel whose padding is cleared.

    Parameters
    ----------
    features : (batch, frames, bins) float
    mask : (batch, frames) bool, optional
        True on real frames.

    Returns
    -------
    image : (batch, 1, bins, frames) float
        In channels_last, which the layers keep: their kernels are faster in it on CPUs and on tensor cores. The
        strides are always those of channels_last: torch takes an image of one channel for either layout, and the
        layers would then work in whichever the caller's strides happen to resemble.
    """
    spectrum = clear_padding(features.transpose(1, 2), mask).contiguous()
    return spectrum[..., None].permute(0, 3, 1, 2)


def strided_mask(mask: torch.Tensor | None, stride: int, consumed: int = 0) -> torch.Tensor | None:
    """Mark the real frames of what a convolution or a pooling over time puts out.

    An utterance gets as many as it would get alone.

    Parameters
    ----------
    mask : (batch, frames) bool, optional
        True on real frames of the input, which come first.
    stride : int
    consumed : int
        Frames by which the output would be shorter than the input if the stride were 1: the size of the kernel less
        one, less the padding at both ends. None where the padding is 'same'.

    Returns
    -------
    (batch, (frames - consumed - 1) // stride + 1) bool
        None without a mask.

    Examples
    --------
    >>> strided_mask(torch.tensor([[True, True, True, True, True, True, False]]), stride=2, consumed=2).tolist()
    [[True, True, False]]
    """
    return None if mask is None else mask[:, consumed::stride]


def clear_padding(x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Zero the padded frames, so that a convolution sees there what it sees beyond the end of an utterance.

    Parameters
    ----------
    x : (batch, ..., frames) float
        Whatever its padded frames hold, even NaN.
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
    """Zero the padded frames of what a layer has just computed: `clear_padding`, many times faster.

    Parameters
    ----------
    x : (batch, ..., frames) float
        Finite everywhere. Without gradients it is overwritten: nothing else may still need it.
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
