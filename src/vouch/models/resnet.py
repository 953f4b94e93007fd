"""Thin residual networks over log-mel features, without initial pooling, with statistics pooling over time.

Source: He et al., "Deep residual learning for image recognition" (CVPR 2016), tables 1 and 6, in the form of Zeinali
et al., "BUT system description to VoxCeleb speaker recognition challenge 2019" (2019), section 3.1, and of WeSpeaker,
whose parameter names are used.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from vouch.base.errors import VouchError, pick
from vouch.layers.batch_norm import BatchNorm2d
from vouch.layers.inputs import as_image, clear_computed, strided_mask
from vouch.layers.pooling import POOLINGS
from vouch.layers.shortcut import shortcut_convolution
from vouch.models.base import SpeakerNetwork

STRIDES = (1, 2, 2, 2)


def _shortcut(in_channels: int, channels: int, stride: tuple[int, int]) -> nn.Sequential:
    """Return a 1x1 convolution if the number of channels or the resolution changes, else an empty module."""
    if stride == (1, 1) and in_channels == channels:
        return nn.Sequential()
    return nn.Sequential(shortcut_convolution(in_channels, channels, stride), BatchNorm2d(channels))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    Parameters
    ----------
    in_channels, channels : int
    stride : (int, int)
        Strides over bins and frames.
    """

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.time_stride = stride[1]
        self.conv1 = nn.Conv2d(in_channels, channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.bn2 = BatchNorm2d(channels)
        self.shortcut = _shortcut(in_channels, channels, stride)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """`(batch, in_channels, bins, frames) -> (batch, channels, bins / stride, frames / stride)`, rounded up.

        `mask : (batch, frames) bool` is True on real frames of `x`; padded frames of input and output hold zeros.
        """
        mask = strided_mask(mask, self.time_stride)
        out = clear_computed(functional.relu(self.bn1(self.conv1(x)), inplace=True), mask)
        out = self.bn2(self.conv2(out)).add_(self.shortcut(x))
        return clear_computed(functional.relu(out, inplace=True), mask)


class Bottleneck(nn.Module):
    """A 1x1 convolution that reduces the channels, a 3x3 one, a 1x1 one that expands them, and a shortcut.

    Parameters
    ----------
    in_channels : int
    channels : int
        Channels of the 3x3 convolution; the output has four times as many.
    stride : (int, int)
        Strides over bins and frames.
    """

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.time_stride = stride[1]
        self.conv1 = nn.Conv2d(in_channels, channels, kernel_size=1, bias=False)
        self.bn1 = BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, self.expansion * channels, kernel_size=1, bias=False)
        self.bn3 = BatchNorm2d(self.expansion * channels)
        self.shortcut = _shortcut(in_channels, self.expansion * channels, stride)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """`(batch, in_channels, bins, frames) -> (batch, 4 * channels, bins / stride, frames / stride)`, rounded up.

        `mask : (batch, frames) bool` is True on real frames of `x`; padded frames of the output hold zeros.
        """
        out = clear_computed(functional.relu(self.bn1(self.conv1(x)), inplace=True), mask)
        out = functional.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out)).add_(self.shortcut(x))
        return clear_computed(functional.relu(out, inplace=True), strided_mask(mask, self.time_stride))


# Block type and number of blocks of each stage, by depth.
DEPTHS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
    221: (Bottleneck, (6, 16, 48, 3)),
    293: (Bottleneck, (10, 20, 64, 3)),
}


class ResNet(SpeakerNetwork):
    """Four stages of residual blocks, statistics over time of every channel and band, affine embedding.

    With 80 bins, depth 34 has 6,634,336 parameters and 4.53 GMAC for 200 frames; 18: 4,105,440 and 2.17; 50:
    11,131,360 and 5.07; 101: 15,892,448 and 9.81; 152: 19,814,880 and 14.54; 221: 23,792,224 and 20.95; 293:
    28,626,016 and 27.63. The mean over the utterance must be subtracted from the features.

    Parameters
    ----------
    num_bins : int
        Frequency bins of the features.
    embedding_dim : int
    depth : int
        18 or 34 (basic blocks); 50, 101, 152, 221 or 293 (bottleneck blocks).
    channels : int
        Channels of the first stage; each following stage has twice as many as the one before.
    pooling : str
        A name in `POOLINGS`.
    two_layers : bool
        Whether ReLU, batch normalisation and a second affine layer follow, whose output is the embedding, as in early
        published models.

    Raises
    ------
    VouchError
        The depth or the pooling is unknown, or the channels are not usable.
    """

    tiny: ClassVar = {"num_bins": 8, "embedding_dim": 8, "depth": 18, "channels": 2}

    def __init__(
        self,
        num_bins: int,
        embedding_dim: int = 256,
        depth: int = 34,
        channels: int = 32,
        pooling: str = "tstp",
        two_layers: bool = False,
    ) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise VouchError(f"depth {depth}: there are {', '.join(map(str, DEPTHS))}")
        if channels < 1:
            raise VouchError(f"channels must be a positive number, not {channels}")
        block, blocks_per_stage = DEPTHS[depth]
        self.num_bins, self.embedding_dim = num_bins, embedding_dim

        self.conv1 = nn.Conv2d(1, channels, kernel_size=3, padding=1, bias=False)
        self.bn1 = BatchNorm2d(channels)
        inputs, bins = channels, num_bins
        stages = []
        for stage, (blocks, stride) in enumerate(zip(blocks_per_stage, STRIDES, strict=True)):
            width = channels * 2**stage
            first = block(inputs, width, (stride, stride))
            inputs, bins = block.expansion * width, -(-bins // stride)
            stages.append(nn.ModuleList([first, *(block(inputs, width, (1, 1)) for _ in range(1, blocks))]))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.pool = pick(POOLINGS, pooling, "pooling")(inputs * bins)
        self.seg_1 = nn.Linear(self.pool.out_channels, embedding_dim)
        self.seg_bn_1 = nn.BatchNorm1d(embedding_dim, affine=False) if two_layers else None
        self.seg_2 = nn.Linear(embedding_dim, embedding_dim) if two_layers else None

    def embed(self, features: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        x = as_image(features, mask)
        x = clear_computed(functional.relu(self.bn1(self.conv1(x)), inplace=True), mask)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                assert isinstance(block, (BasicBlock, Bottleneck))
                x = block(x, mask)
                mask = strided_mask(mask, block.time_stride)
        embeddings = self.seg_1(self.pool(x.flatten(1, 2), mask))
        if self.seg_bn_1 is None or self.seg_2 is None:
            return embeddings
        return self.seg_2(self.seg_bn_1(functional.relu(embeddings)))
