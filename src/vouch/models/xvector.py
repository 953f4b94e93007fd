"""The x-vector network: a time-delay neural network with statistics pooling.

Source: Snyder et al., "X-vectors: robust DNN embeddings for speaker recognition" (ICASSP 2018), table 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from vouch.base.errors import VouchError, pick
from vouch.layers.inputs import strided_mask
from vouch.layers.pooling import POOLINGS
from vouch.models.base import SpeakerNetwork

# Kernel size and dilation of frame1 to frame5.
CONTEXTS = ((5, 1), (3, 2), (3, 3), (1, 1), (1, 1))
# Frames by which the unpadded convolutions shorten the input, half on each side.
CONTEXT_FRAMES = sum((size - 1) * dilation for size, dilation in CONTEXTS)


class FrameLayer(nn.Module):
    """Affine map over a window of frames, ReLU, batch normalisation without scale and offset."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, channels, kernel_size, dilation=dilation)
        self.bn = nn.BatchNorm1d(channels, affine=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(batch, in_channels, frames) -> (batch, channels, frames - (kernel_size - 1) * dilation)`."""
        return self.bn(torch.relu(self.conv(x)))


class XVector(SpeakerNetwork):
    """Five frame layers, statistics over time, and one affine layer whose output is the embedding.

    The original adds two layers (`segment7` and the output layer) for training. Here the loss is applied directly to
    the output of `segment6` before any ReLU, which is the x-vector. WeSpeaker applies the loss to the output of
    `segment7` and uses that as its embedding.

    Parameters
    ----------
    num_bins : int
        Cepstra or frequency bins of the features.
    embedding_dim : int
    pooling : str
        A name in `POOLINGS`.
    channels : five ints
        Output channels of frame1 to frame5.
    two_layers : bool
        Whether ReLU, batch normalisation and a second affine layer (`segment7`) follow, whose output is the embedding,
        as in WeSpeaker.

    Attributes
    ----------
    min_length : int
        Shortest input in frames: the receptive field of one output frame.

    Raises
    ------
    VouchError
        The pooling is unknown, or the channels are not usable.
    """

    tiny: ClassVar = {"num_bins": 8, "embedding_dim": 8, "channels": (8, 8, 8, 8, 16)}

    def __init__(
        self,
        num_bins: int,
        embedding_dim: int = 512,
        pooling: str = "stats",
        channels: Sequence[int] = (512, 512, 512, 512, 1500),
        two_layers: bool = False,
    ) -> None:
        super().__init__()
        if len(channels) != len(CONTEXTS) or min(channels) < 1:
            raise VouchError(f"channels must be five positive numbers, not {list(channels)}")
        self.num_bins, self.embedding_dim, self.min_length = num_bins, embedding_dim, CONTEXT_FRAMES + 1

        inputs = (num_bins, *channels[:-1])
        self.frame1, self.frame2, self.frame3, self.frame4, self.frame5 = (
            FrameLayer(previous, width, size, dilation)
            for previous, width, (size, dilation) in zip(inputs, channels, CONTEXTS, strict=True)
        )
        self.pooling = pick(POOLINGS, pooling, "pooling")(channels[-1])
        self.segment6 = nn.Linear(self.pooling.out_channels, embedding_dim)
        self.segment6_bn = nn.BatchNorm1d(embedding_dim, affine=False) if two_layers else None
        self.segment7 = nn.Linear(embedding_dim, embedding_dim) if two_layers else None

    def embed(self, features: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        x = features.transpose(1, 2)
        for layer in (self.frame1, self.frame2, self.frame3, self.frame4, self.frame5):
            x = layer(x)
        # The layers do not pad, so the first outputs depend on real frames only; pooling takes exactly those.
        embeddings = self.segment6(self.pooling(x, strided_mask(mask, 1, CONTEXT_FRAMES)))
        if self.segment6_bn is None or self.segment7 is None:
            return embeddings
        return self.segment7(self.segment6_bn(torch.relu(embeddings)))
