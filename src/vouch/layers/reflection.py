"""Convolutions over time that pad each utterance of a padded batch by its mirror image."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional

# What a convolution sees beyond the ends of an utterance.
PaddingMode = Literal["zeros", "reflect"]


def reflect_frames(x: torch.Tensor, reach: int, mask: torch.Tensor) -> torch.Tensor:
    """Mirror each utterance at its first and last real frame, without repeating those frames.

    Parameters
    ----------
    x : (batch, channels, frames) float
    reach : int
        Number of frames to add at each end; utterances must be longer.
    mask : (batch, frames) bool
        True on real frames.

    Returns
    -------
    (batch, channels, frames + 2 * reach) float
        Frames more than `reach` behind the end of an utterance are arbitrary frames of `x`.

    Examples
    --------
    >>> reflect_frames(torch.tensor([[[1.0, 2.0, 3.0, 9.0]]]), 2, torch.tensor([[True, True, True, False]]))
    tensor([[[3., 2., 1., 2., 3., 2., 1., 1.]]])
    """
    last = mask.sum(dim=1, keepdim=True) - 1
    frames = torch.arange(-reach, x.shape[2] + reach, device=x.device).abs()
    mirrored = torch.where(frames > last, 2 * last - frames, frames).clamp(min=0)
    return x.gather(2, mirrored[:, None].expand(-1, x.shape[1], -1))


def convolve(conv: nn.Conv1d | nn.Conv2d, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Apply a 'same' convolution such that padding does not affect the utterances.

    Parameters
    ----------
    conv : nn.Conv1d or nn.Conv2d
        With the padding mode "zeros" or, in one dimension, "reflect".
    x : (batch, channels, ..., frames) float
        Its padded frames hold zeros.
    mask : (batch, frames) bool, optional
        True on real frames.

    Returns
    -------
    (batch, out_channels, frames) float
    """
    if mask is None or conv.padding_mode == "zeros" or conv.padding == (0,):
        return conv(x)
    assert not isinstance(conv.padding, str)
    (reach,) = conv.padding
    return functional.conv1d(reflect_frames(x, reach, mask), conv.weight, conv.bias, dilation=conv.dilation)
