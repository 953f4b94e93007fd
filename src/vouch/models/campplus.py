"""CAM++: a densely connected time-delay network with context-aware masking.

Source: Wang, Zheng, Chen, Cheng and Chen, "CAM++: a fast and efficient network for speaker verification using
context-aware masking" (Interspeech 2023); parameters are named as in 3D-Speaker and WeSpeaker.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from vouch.base.errors import VouchError, pick
from vouch.layers.batch_norm import BatchNorm2d
from vouch.layers.inputs import as_image, clear_computed, strided_mask
from vouch.layers.pooling import POOLINGS
from vouch.models.base import SpeakerNetwork
from vouch.models.resnet import BasicBlock

# Length of a context segment in frames, after the time stride.
SEGMENT = 100
TIME_STRIDE = 2
# Number of layers and dilation of the three dense blocks.
DENSE_BLOCKS = ((12, 1), (24, 2), (16, 2))
# Channels between the two convolutions of a dense layer, relative to the channels that it adds.
BOTTLENECK = 4


class Segments(NamedTuple):
    """The segment of each frame, and the number of real frames of each segment.

    Parameters
    ----------
    of_frame : (frames,) int64
    counts : (batch or 1, 1, segments) float
        At least 1, which avoids division by zero for segments of padding.
    total : (batch or 1, 1, 1) float
        Number of real frames of each utterance.
    """

    of_frame: torch.Tensor
    counts: torch.Tensor
    total: torch.Tensor


def segment_sums(x: torch.Tensor) -> torch.Tensor:
    """Sum `x : (batch, channels, frames)` over each segment: `(..., segments)`; the last one may be shorter."""
    segments = (x.shape[2] + SEGMENT - 1) // SEGMENT
    padded = functional.pad(x, (0, segments * SEGMENT - x.shape[2]))
    return padded.reshape(x.shape[0], x.shape[1], segments, SEGMENT).sum(dim=3)


def find_segments(x: torch.Tensor, mask: torch.Tensor | None) -> Segments:
    """Divide the frames of `x : (batch, channels, frames)`, with `mask : (batch, frames) bool`, into segments."""
    real = x.new_ones(1, 1, x.shape[2], dtype=torch.float32) if mask is None else mask[:, None].float()
    counts = segment_sums(real)
    of_frame = torch.arange(x.shape[2], device=x.device) // SEGMENT
    return Segments(of_frame, counts.clamp(min=1), counts.sum(dim=2, keepdim=True))


class NormReLU(nn.Module):
    """Batch normalisation and ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.batchnorm = nn.BatchNorm1d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply to `(batch, channels, frames)`; the shape stays."""
        return functional.relu(self.batchnorm(x), inplace=True)


class ConvolutionalHead(nn.Module):
    """Two-dimensional residual layers that reduce the bins by a factor of eight and keep the frames.

    Parameters
    ----------
    num_bins, channels : int

    Attributes
    ----------
    out_channels : int
        Channels times the number of bins after the reduction.
    """

    def __init__(self, num_bins: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, kernel_size=3, padding=1, bias=False)
        self.bn1 = BatchNorm2d(channels)
        self.layer1, self.layer2 = (
            nn.ModuleList([BasicBlock(channels, channels, (2, 1)), BasicBlock(channels, channels, (1, 1))])
            for _ in range(2)
        )
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, stride=(2, 1), padding=1, bias=False)
        self.bn2 = BatchNorm2d(channels)
        self.out_channels = channels * -(-num_bins // 8)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """`(batch, 1, bins, frames) -> (batch, out_channels, frames)`; padded frames of both hold zeros."""
        x = clear_computed(functional.relu(self.bn1(self.conv1(x)), inplace=True), mask)
        for block in (*self.layer1, *self.layer2):
            x = block(x, mask)
        return clear_computed(functional.relu(self.bn2(self.conv2(x)), inplace=True), mask).flatten(1, 2)


class CAMLayer(nn.Module):
    """A convolution whose output is scaled by a gate computed from the utterance and the segment.

    The gate is sigmoid(B relu(A (mean over the utterance + mean over the segment))). It is the same for all frames of a
    segment, and computed once per segment.
    """

    def __init__(self, in_channels: int, channels: int, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(
            in_channels, channels, kernel_size=3, padding=dilation, dilation=dilation, bias=False
        )
        self.linear1 = nn.Conv1d(in_channels, in_channels // 2, kernel_size=1)
        self.linear2 = nn.Conv1d(in_channels // 2, channels, kernel_size=1)

    def forward(self, x: torch.Tensor, segments: Segments) -> torch.Tensor:
        """`(batch, in_channels, frames) -> (batch, channels, frames)`; padded frames of `x` hold zeros."""
        sums = segment_sums(x)
        context = sums.sum(dim=2, keepdim=True) / segments.total + sums / segments.counts
        gate = torch.sigmoid(self.linear2(functional.relu(self.linear1(context))))
        return self.linear_local(x) * gate.index_select(2, segments.of_frame)


class DenseLayer(nn.Module):
    """Normalisation, ReLU, 1x1 convolution, normalisation, ReLU and masked convolution."""

    def __init__(self, in_channels: int, growth: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = NormReLU(in_channels)
        self.linear1 = nn.Conv1d(in_channels, BOTTLENECK * growth, kernel_size=1, bias=False)
        self.nonlinear2 = NormReLU(BOTTLENECK * growth)
        self.cam_layer = CAMLayer(BOTTLENECK * growth, growth, dilation)

    def forward(self, x: torch.Tensor, segments: Segments, mask: torch.Tensor | None) -> torch.Tensor:
        """`(batch, in_channels, frames) -> (batch, growth, frames)`; the caller concatenates the result with `x`."""
        x = self.nonlinear2(self.linear1(self.nonlinear1(x)))
        return self.cam_layer(clear_computed(x, mask), segments)


class FrameLayer(nn.Module):
    """Convolution over five frames with stride 2, normalisation and ReLU."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(in_channels, channels, kernel_size=5, stride=TIME_STRIDE, padding=2, bias=False)
        self.nonlinear = NormReLU(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(batch, in_channels, frames) -> (batch, channels, frames / 2)`, rounded up."""
        return self.nonlinear(self.linear(x))


class Transition(nn.Module):
    """Normalisation, ReLU and a 1x1 convolution that halves the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.nonlinear = NormReLU(channels)
        self.linear = nn.Conv1d(channels, channels // 2, kernel_size=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(batch, channels, frames) -> (batch, channels / 2, frames)`."""
        return self.linear(self.nonlinear(x))


class EmbeddingLayer(nn.Module):
    """Linear map and batch normalisation without scale and offset."""

    def __init__(self, in_channels: int, embedding_dim: int) -> None:
        super().__init__()
        # Written as a convolution because published state dicts hold (embedding_dim, in_channels, 1).
        self.linear = nn.Conv1d(in_channels, embedding_dim, kernel_size=1, bias=False)
        self.nonlinear = nn.ModuleDict({"batchnorm": nn.BatchNorm1d(embedding_dim, affine=False)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(batch, in_channels) -> (batch, embedding_dim)`."""
        return self.nonlinear["batchnorm"](self.linear(x[:, :, None])[:, :, 0])


class CAMPPlus(SpeakerNetwork):
    """Two-dimensional head, three dense blocks with context-aware masking, statistics, affine embedding.

    With 80 bins, 7,176,224 parameters and 1.07 GMAC for 200 frames (publications count 1.13, since they compute the
    gates for each frame instead of each segment). The mean over the utterance must be subtracted from the features.

    Parameters
    ----------
    num_bins : int
        Frequency bins of the features.
    embedding_dim : int
        512 in WeSpeaker, 192 in 3D-Speaker.
    growth : int
        Channels that each dense layer adds.
    channels : int
        Channels of the frame layer before the dense blocks.
    head_channels : int
        Channels of the two-dimensional head.
    pooling : str
        A name in `POOLINGS`: "tstp" in WeSpeaker, "stats" in 3D-Speaker.

    Raises
    ------
    VouchError
        Unknown pooling or unusable channels.
    """

    tiny: ClassVar = {"num_bins": 8, "embedding_dim": 8, "growth": 2, "channels": 4, "head_channels": 2}

    def __init__(
        self,
        num_bins: int,
        embedding_dim: int = 512,
        growth: int = 32,
        channels: int = 128,
        head_channels: int = 32,
        pooling: str = "tstp",
    ) -> None:
        super().__init__()
        if min(growth, channels, head_channels) < 1:
            raise VouchError("growth, channels and head_channels must be positive numbers")
        self.num_bins, self.embedding_dim = num_bins, embedding_dim

        self.head = ConvolutionalHead(num_bins, head_channels)
        self.xvector = nn.ModuleDict({"tdnn": FrameLayer(self.head.out_channels, channels)})
        for number, (layers, dilation) in enumerate(DENSE_BLOCKS, start=1):
            self.xvector[f"block{number}"] = nn.ModuleDict(
                {f"tdnnd{i + 1}": DenseLayer(channels + i * growth, growth, dilation) for i in range(layers)}
            )
            channels += layers * growth
            self.xvector[f"transit{number}"] = Transition(channels)
            channels //= 2
        self.xvector["out_nonlinear"] = NormReLU(channels)
        stats = pick(POOLINGS, pooling, "pooling")(channels)
        self.xvector["stats"] = stats
        self.xvector["dense"] = EmbeddingLayer(stats.out_channels, embedding_dim)

        for module in self.modules():
            if isinstance(module, (nn.Conv1d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def embed(self, features: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        x = as_image(features, mask)
        x = self.xvector["tdnn"](self.head(x, mask))
        mask = strided_mask(mask, TIME_STRIDE)
        segments = find_segments(x, mask)
        for number in range(1, len(DENSE_BLOCKS) + 1):
            block = self.xvector[f"block{number}"]
            assert isinstance(block, nn.ModuleDict)
            for layer in block.values():
                x = torch.cat([x, layer(x, segments, mask)], dim=1)
            x = self.xvector[f"transit{number}"](x)
        return self.xvector["dense"](self.xvector["stats"](self.xvector["out_nonlinear"](x), mask))
