"""Base of the residual networks with squeeze and excitation: block, stages, and the forward pass.

Source: Chung et al., "In defence of metric learning for speaker recognition" (Interspeech 2020), section 4.2, and
Kwon et al., "The ins and outs of speaker recognition: lessons from VoxSRC 2020" (ICASSP 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from vouch.base.errors import VouchError
from vouch.layers.batch_norm import BatchNorm2d
from vouch.layers.inputs import as_image, clear_computed, strided_mask
from vouch.layers.pooling import Pooling
from vouch.layers.se import SqueezeExcitation
from vouch.layers.shortcut import shortcut_convolution
from vouch.models.base import SpeakerNetwork

SE_REDUCTION = 8
BLOCKS_PER_STAGE = (3, 4, 6, 3)


def shortcut(in_channels: int, channels: int, stride: int) -> nn.Sequential | None:
    """Return the projection of a shortcut, or None if the block keeps channels and resolution."""
    if stride == 1 and in_channels == channels:
        return None
    return nn.Sequential(
        shortcut_convolution(in_channels, channels, stride),
        BatchNorm2d(channels),
    )


class StridedBlock(nn.Module):
    """Base class of the blocks of these networks; `stride` is the stride over frames."""

    stride: int


class SEBasicBlock(StridedBlock):
    """Two 3x3 convolutions, a gate and a shortcut; the first ReLU comes before its batch normalisation."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(in_channels, channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.relu1 = nn.ReLU(inplace=True)
        self.bn1 = BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.bn2 = BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.se = SqueezeExcitation(channels, channels // SE_REDUCTION)
        self.downsample = shortcut(in_channels, channels, stride)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """`(batch, in_channels, bins, frames) -> (batch, channels, bins / stride, frames / stride)`.

        `mask : (batch, frames / stride) bool` marks the real frames of the output. Padded frames of input and output
        hold zeros.
        """
        residual = x if self.downsample is None else clear_computed(self.downsample(x), mask)
        out = clear_computed(self.bn1(self.relu1(self.conv1(x))), mask)
        out = clear_computed(self.bn2(self.conv2(out)), mask)
        return self.relu(self.se(out, mask, residual))


Block = Callable[[int, int, int], StridedBlock]


def check_channels(channels: Sequence[int]) -> None:
    """Raise `VouchError` unless there are channels for four stages, in multiples of `SE_REDUCTION`."""
    if len(channels) != len(BLOCKS_PER_STAGE) or any(width < 1 or width % SE_REDUCTION for width in channels):
        raise VouchError(f"channels must be four multiples of {SE_REDUCTION}, not {list(channels)}")


def build_stages(block: Block, channels: Sequence[int], strides: Sequence[int]) -> list[nn.ModuleList]:
    """Make the four stages; only the first block of each changes the number of channels and the resolution.

    Parameters
    ----------
    block : Block
        Function that makes a block from its input channels, its channels and its stride.
    channels, strides : four ints
        Channels and strides of the stages; the first stage has as many input channels as output channels.
    """
    inputs = (channels[0], *channels[:-1])
    return [
        nn.ModuleList([block(in_channels, width, stride), *(block(width, width, 1) for _ in range(1, blocks))])
        for in_channels, width, stride, blocks in zip(inputs, channels, strides, BLOCKS_PER_STAGE, strict=True)
    ]


class ResNetSE(SpeakerNetwork):
    """A stem, four stages of residual blocks, pooling over time and one affine layer.

    A subclass passes its parts and overrides `stem` or `sequence` if they differ. All padding is 'same', so that one
    frame is enough.

    Parameters
    ----------
    num_bins, embedding_dim : int
    conv1 : nn.Conv2d
        Convolution of the stem, with one input channel.
    stages : four nn.ModuleList
        See `build_stages`.
    pooling : Pooling
        Pools the output of `sequence`.
    """

    def __init__(
        self, num_bins: int, embedding_dim: int, conv1: nn.Conv2d, stages: Sequence[nn.ModuleList], pooling: Pooling
    ) -> None:
        super().__init__()
        self.num_bins, self.embedding_dim = num_bins, embedding_dim
        self.conv1 = conv1
        self.bn1 = BatchNorm2d(conv1.out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.pooling = pooling
        self.fc = nn.Linear(pooling.out_channels, embedding_dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stem(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """`(batch, 1, bins, frames) -> (batch, channels, bins', frames)`; padded frames of both hold zeros."""
        return clear_computed(self.relu(self.bn1(self.conv1(x))), mask)

    def sequence(self, x: torch.Tensor) -> torch.Tensor:
        """Average over bins for the pooling: `(batch, channels, bins, frames) -> (batch, features, frames)`."""
        return x.mean(dim=2)

    def embed(self, features: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        x = as_image(features, mask)
        x = self.stem(x, mask)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                assert isinstance(block, StridedBlock)
                mask = strided_mask(mask, block.stride)
                x = block(x, mask)
        return self.fc(self.pooling(self.sequence(x), mask))
