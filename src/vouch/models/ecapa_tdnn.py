"""ECAPA-TDNN: a time-delay network of squeeze-and-excitation Res2 blocks with attentive statistics.

Source: Desplanques, Thienpondt and Demuynck, "ECAPA-TDNN: emphasized channel attention, propagation and aggregation
in TDNN based speaker verification" (Interspeech 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from vouch.base.errors import VouchError, pick
from vouch.layers.inputs import clear_computed, clear_padding
from vouch.layers.pooling import ContextAttentiveStatisticsPooling, mean_and_variance
from vouch.layers.reflection import PaddingMode, convolve
from vouch.layers.res2 import Res2Conv1d
from vouch.layers.se import SqueezeExcitation
from vouch.models.base import SpeakerNetwork

KERNEL_SIZE = 5
DILATIONS = (2, 3, 4)
SCALE = 8
SE_CHANNELS = 128


class FrameLayer(nn.Module):
    """Convolution over time that keeps the number of frames, ReLU, batch normalisation."""

    def __init__(
        self, in_channels: int, channels: int, kernel_size: int = 1, padding_mode: PaddingMode = "zeros"
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, channels, kernel_size, padding=kernel_size // 2, padding_mode=padding_mode)
        self.bn = nn.BatchNorm1d(channels)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """`(batch, in_channels, frames) -> (batch, channels, frames)`; padded frames of both hold zeros."""
        return clear_computed(self.bn(functional.relu(convolve(self.conv, x, mask), inplace=True)), mask)


class SERes2Block(nn.Module):
    """Frame layer, Res2 convolution, frame layer, squeeze and excitation; with a shortcut."""

    def __init__(self, channels: int, dilation: int, padding_mode: PaddingMode) -> None:
        super().__init__()
        self.se_res2block = nn.ModuleList(
            [
                FrameLayer(channels, channels),
                Res2Conv1d(channels, SCALE, dilation=dilation, padding_mode=padding_mode),
                FrameLayer(channels, channels),
                SqueezeExcitation(channels, SE_CHANNELS),
            ]
        )

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """`(batch, channels, frames)` to the same; padded frames of both hold zeros."""
        out = x
        for layer in self.se_res2block:
            out = layer(out, mask)
        return x + out


class SpeechBrainPooling(ContextAttentiveStatisticsPooling):
    """Attentive statistics pooling as in SpeechBrain.

    It applies ReLU and batch normalisation before the hyperbolic tangent, computes the context with the biased
    variance, and floors both variances at 1e-12.
    """

    variance_floor = 1e-12

    def __init__(self, channels: int, hidden: int = 128) -> None:
        super().__init__(channels, hidden)
        self.bn = nn.BatchNorm1d(hidden)

    def context(self, x: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and standard deviation of the utterance, `(batch, channels)` each."""
        mean, variance = mean_and_variance(x, mask, correction=0)
        return mean, variance.clamp(min=self.variance_floor).sqrt()

    def activation(self, hidden: torch.Tensor) -> torch.Tensor:
        """Apply ReLU, batch normalisation and hyperbolic tangent."""
        return torch.tanh(self.bn(functional.relu(hidden, inplace=True)))


@dataclass(frozen=True)
class Variant:
    """Differences between published implementations of the network.

    Parameters
    ----------
    aggregation_channels : int
        Channels of the layer that aggregates the outputs of the blocks.
    aggregation_norm : bool
        Whether batch normalisation follows the ReLU of that layer.
    padding_mode : PaddingMode
        What convolutions see beyond the ends of an utterance: "zeros", or "reflect" for its mirror image.
    pooling : type of ContextAttentiveStatisticsPooling
        Attentive statistics pooling.
    """

    aggregation_channels: int
    aggregation_norm: bool
    padding_mode: PaddingMode
    pooling: type[ContextAttentiveStatisticsPooling]


VARIANTS = {
    "wespeaker": Variant(1536, False, "zeros", ContextAttentiveStatisticsPooling),
    "speechbrain": Variant(3072, True, "reflect", SpeechBrainPooling),
}


class EcapaTDNN(SpeakerNetwork):
    """Frame layer, three SE-Res2 blocks whose outputs are aggregated, attentive statistics, affine embedding.

    With 80 bins, 6,190,720 parameters and 0.96 GMAC for 200 frames (channels=1024: 14,657,088 and 2.57). Published
    counts are 0.08 GMAC higher because they apply the attention's weights for the utterance's statistics in each frame.
    The variant "speechbrain" with 1024 channels has 20,767,552 and 3.59.

    Convolutions see zeros (or the mirror image) beyond the real frames.

    Parameters
    ----------
    num_bins : int
        Frequency bins of the features.
    embedding_dim : int
    channels : int, a multiple of 8
        Channels of the frame layers: 512 or 1024 in the paper.
    variant : str
        "wespeaker", which follows the paper; or "speechbrain": 3072 channels after aggregation with batch
        normalisation, batch normalisation in the attention too, and convolutions that mirror an utterance at its ends.
    aggregation_channels : int, optional
        By default 1536 for "wespeaker" and 3072 for "speechbrain".

    Attributes
    ----------
    min_length : int
        Shortest input in frames: 1, or 5 with mirrored convolutions.

    Raises
    ------
    VouchError
        The variant is unknown, or a number of channels is not usable.
    """

    tiny: ClassVar = {"num_bins": 8, "embedding_dim": 8, "channels": 16, "aggregation_channels": 10}

    def __init__(
        self,
        num_bins: int,
        embedding_dim: int = 192,
        channels: int = 512,
        variant: str = "wespeaker",
        aggregation_channels: int | None = None,
    ) -> None:
        super().__init__()
        if channels < 1 or channels % SCALE:
            raise VouchError(f"channels must be a multiple of {SCALE}, not {channels}")
        choice = pick(VARIANTS, variant, "variant")
        aggregated = choice.aggregation_channels if aggregation_channels is None else aggregation_channels
        if aggregated < 1:
            raise VouchError(f"aggregation_channels must be a positive number, not {aggregated}")
        self.num_bins, self.embedding_dim = num_bins, embedding_dim
        self.min_length = 1 if choice.padding_mode == "zeros" else max(DILATIONS) + 1

        self.layer1 = FrameLayer(num_bins, channels, KERNEL_SIZE, choice.padding_mode)
        self.layer2, self.layer3, self.layer4 = (
            SERes2Block(channels, dilation, choice.padding_mode) for dilation in DILATIONS
        )
        self.conv = nn.Conv1d(len(DILATIONS) * channels, aggregated, kernel_size=1)
        self.conv_bn = nn.BatchNorm1d(aggregated) if choice.aggregation_norm else nn.Identity()
        self.pool = choice.pooling(aggregated)
        self.bn = nn.BatchNorm1d(self.pool.out_channels)
        self.linear = nn.Linear(self.pool.out_channels, embedding_dim)

    def embed(self, features: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        x = self.layer1(clear_padding(features.transpose(1, 2), mask), mask)
        outputs = []
        for block in (self.layer2, self.layer3, self.layer4):
            x = block(x, mask)
            outputs.append(x)
        x = self.conv_bn(functional.relu(self.conv(torch.cat(outputs, dim=1)), inplace=True))
        return self.linear(self.bn(self.pool(x, mask)))
