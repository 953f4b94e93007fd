"""ResNetSE34V2 with Res2Net blocks (Res2NetSE34).

Source: Gao et al., "Res2Net: a new multi-scale backbone architecture" (IEEE TPAMI 2021), section 3.1 and figure 2,
for the block; see `vouch.models.resnetse34v2` for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import nn

from vouch.layers.batch_norm import BatchNorm2d
from vouch.layers.inputs import clear_computed
from vouch.layers.res2 import Res2Conv2d
from vouch.layers.se import SqueezeExcitation
from vouch.models.resnetse import SE_REDUCTION, StridedBlock, shortcut
from vouch.models.resnetse34v2 import FullResolutionResNet


class SERes2Block(StridedBlock):
    """Convolution to `channels`, Res2 convolution, 1x1 convolution, a gate and a shortcut.

    The first convolution is 1x1, or 3x3 if it is strided, so that it uses every position.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, scale: int) -> None:
        super().__init__()
        self.stride = stride
        size = 1 if stride == 1 else 3
        self.conv1 = nn.Conv2d(in_channels, channels, size, stride=stride, padding=size // 2, bias=False)
        self.bn1 = BatchNorm2d(channels)
        self.res2 = Res2Conv2d(channels, scale, kernel_size=3, bias=False, relu_first=False)
        self.conv3 = nn.Conv2d(channels, channels, kernel_size=1, bias=False)
        self.bn3 = BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.se = SqueezeExcitation(channels, channels // SE_REDUCTION)
        self.downsample = shortcut(in_channels, channels, stride)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """`(batch, in_channels, bins, frames) -> (batch, channels, bins / stride, frames / stride)`.

        `mask : (batch, frames / stride) bool` marks the real frames of the output. Padded frames of input and output
        hold zeros.
        """
        residual = x if self.downsample is None else clear_computed(self.downsample(x), mask)
        out = self.res2(clear_computed(self.relu(self.bn1(self.conv1(x))), mask), mask)
        out = clear_computed(self.bn3(self.conv3(out)), mask)
        return self.relu(self.se(out, mask, residual))


class Res2NetSE34(FullResolutionResNet):
    """ResNetSE34V2's stem, stages, strides and attentive pooling, with gated Res2Net blocks.

    No weights or sources have been published under this name; the network is built from the description of the Res2Net
    block and departs from it in three points: the block is as wide inside as outside, since the stages are narrow;
    where the resolution changes, the first convolution is a strided 3x3 one, and the groups stay hierarchical; and
    squeeze and excitation follows the last batch normalisation.

    Features are expected as for ResNetSE34V2. With 64 bins, 4,220,060 parameters and 950 million
    multiply-accumulates for 200 frames.

    Parameters
    ----------
    num_bins : int
        Frequency bins of the features, a multiple of 8.
    embedding_dim : int
    pooling : str
        "asp" or "sap".
    channels : four ints, multiples of 8 and of `scale`
        Channels of the four stages.
    scale : int
        Number of groups of a Res2 convolution.

    Raises
    ------
    VouchError
        The pooling is unknown, or channels, scale or bins are not usable.
    """

    tiny: ClassVar = {"num_bins": 8, "embedding_dim": 8, "channels": (8, 8, 8, 8), "scale": 2}

    def __init__(
        self,
        num_bins: int,
        embedding_dim: int = 512,
        pooling: str = "asp",
        channels: Sequence[int] = (32, 64, 128, 256),
        scale: int = 4,
    ) -> None:
        super().__init__(num_bins, embedding_dim, pooling, channels, partial(SERes2Block, scale=scale))
