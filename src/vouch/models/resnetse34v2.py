"""ResNet-34 with squeeze-and-excitation at full frequency resolution (ResNetSE34V2; with "asp", H/ASP).

Source: Heo et al., "Clova baseline system for the VoxCeleb speaker recognition challenge 2020" (arXiv:2009.14153),
and Kwon et al., "The ins and outs of speaker recognition: lessons from VoxSRC 2020" (ICASSP 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import nn

from vouch.base.errors import VouchError, pick
from vouch.layers.inputs import clear_computed, clear_padding
from vouch.layers.pooling import Pooling, weighted_mean, weighted_statistics
from vouch.models.resnetse import Block, ResNetSE, SEBasicBlock, build_stages, check_channels

STRIDES = (1, 2, 2, 2)
# The strides reduce the number of bins by this factor.
BINS_REDUCTION = 8
ATTENTION_HIDDEN = 128


class ChannelAttentivePooling(Pooling):
    """Pooling over time with one attention weight per channel and frame.

    The weights are the softmax over time of two affine maps with ReLU and batch normalisation between them.

    Parameters
    ----------
    channels : int
    with_deviation : bool
        Whether to append the weighted standard deviation (its variance floored at 1e-5) to the weighted mean.

    Attributes
    ----------
    out_channels : int
        `channels`, or twice as many with the deviation.
    """

    def __init__(self, channels: int, with_deviation: bool) -> None:
        super().__init__()
        self.with_deviation = with_deviation
        self.out_channels = 2 * channels if with_deviation else channels
        self.attention = nn.Sequential(
            nn.Conv1d(channels, ATTENTION_HIDDEN, kernel_size=1),
            nn.ReLU(inplace=True),
            nn.BatchNorm1d(ATTENTION_HIDDEN),
            nn.Conv1d(ATTENTION_HIDDEN, channels, kernel_size=1),
        )

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Pool `x : (batch, channels, frames)`, `mask : (batch, frames) bool` to `(batch, out_channels)`."""
        x = clear_padding(x, mask).to(torch.promote_types(x.dtype, torch.float32))
        scores = self.attention(x).to(x.dtype)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], -torch.inf)
        pooled = weighted_statistics if self.with_deviation else weighted_mean
        return pooled(x, scores.softmax(dim=2))


CHANNEL_POOLINGS = {
    "sap": partial(ChannelAttentivePooling, with_deviation=False),
    "asp": partial(ChannelAttentivePooling, with_deviation=True),
}


class FullResolutionResNet(ResNetSE):
    """Base of `ResNetSE34V2` and of networks that differ from it in their blocks only.

    The parameters are those of `ResNetSE34V2`, and a function that makes a block (see
    `vouch.models.resnetse.build_stages`).
    """

    def __init__(self, num_bins: int, embedding_dim: int, pooling: str, channels: Sequence[int], block: Block) -> None:
        check_channels(channels)
        if num_bins < 1 or num_bins % BINS_REDUCTION:
            raise VouchError(f"the network needs a multiple of {BINS_REDUCTION} bins, not {num_bins}")
        super().__init__(
            num_bins,
            embedding_dim,
            conv1=nn.Conv2d(1, channels[0], kernel_size=3, padding=1),
            stages=build_stages(block, channels, STRIDES),
            pooling=pick(CHANNEL_POOLINGS, pooling, "pooling")(channels[-1] * num_bins // BINS_REDUCTION),
        )

    def stem(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """`(batch, 1, bins, frames) -> (batch, channels, bins, frames)`; padded frames of both hold zeros."""
        return clear_computed(self.bn1(self.relu(self.conv1(x))), mask)

    def sequence(self, x: torch.Tensor) -> torch.Tensor:
        """Flatten channels and bins, channel by channel: to `(batch, channels * bins, frames)`."""
        return x.flatten(1, 2)


class ResNetSE34V2(FullResolutionResNet):
    """ResNet-34 with a stem that keeps the resolution, and attention over channels and frequencies.

    Features must be pre-emphasised and normalised per band over the utterance, as in the original front end. In the
    stem and in each block, the first ReLU comes before its batch normalisation. With 64 bins, 8,028,492 parameters and
    3.64 billion multiply-accumulates for 200 frames.

    Parameters
    ----------
    num_bins : int
        Frequency bins of the features, a multiple of 8; 64 in the published network.
    embedding_dim : int
    pooling : str
        "asp" or "sap".
    channels : four ints, multiples of 8
        Channels of the four stages.

    Raises
    ------
    VouchError
        The pooling is unknown, or channels or bins are not usable.
    """

    tiny: ClassVar = {"num_bins": 8, "embedding_dim": 8, "channels": (8, 8, 8, 8)}

    def __init__(
        self,
        num_bins: int,
        embedding_dim: int = 512,
        pooling: str = "asp",
        channels: Sequence[int] = (32, 64, 128, 256),
    ) -> None:
        super().__init__(num_bins, embedding_dim, pooling, channels, SEBasicBlock)
