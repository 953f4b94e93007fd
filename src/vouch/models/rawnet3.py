"""RawNet3: learned band-pass filters on the waveform, Res2 blocks with feature map scaling, attentive statistics.

Source: Jung et al., "Pushing the limits of raw waveform speaker recognition" (Interspeech 2022), section 2, as in
voxceleb_trainer.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from vouch.base.errors import VouchError, pick
from vouch.layers.inputs import clear_computed, clear_padding, strided_mask
from vouch.layers.instance_norm import MaskedInstanceNorm
from vouch.layers.pooling import ContextAttentiveStatisticsPooling, mean_and_variance
from vouch.layers.res2 import Res2Conv1d
from vouch.layers.sinc import paired_sinc_filters
from vouch.models.base import SpeakerNetwork

PREEMPHASIS = 0.97
KERNEL_SAMPLES = 251
LOG_FLOOR = 1e-6
RES2_SCALE = 8
# Dilation and max-pooling of the three blocks.
BLOCKS = ((2, 5), (3, 3), (4, 1))
# Whether there is an attention weight for each channel and frame, or only for each frame.
POOLING_MODES = {"eca": True, "asp": False}
# The standard deviation needs this many pooled frames.
MIN_POOLED_FRAMES = 2


class FeatureMapScaling(nn.Module):
    """Add a learned offset to each channel, then scale it by a gate computed from its mean over (real) time.

    Source: Jung et al., "Improved RawNet with feature map scaling" (Interspeech 2020), section 3.2; the offsets are
    RawNet3's.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels, 1))
        self.fc = nn.Linear(channels, channels)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Scale `x : (batch, channels, frames)`; `mask : (batch, frames) bool` is True on real frames."""
        return (x + self.alpha) * self.fc(_time_mean(x, mask)[:, :, 0]).sigmoid()[:, :, None]


class Res2Block(nn.Module):
    """1x1 convolution, Res2 convolution, 1x1 convolution and a shortcut, then max-pooling and feature map scaling."""

    def __init__(self, in_channels: int, channels: int, dilation: int, max_pool: int) -> None:
        super().__init__()
        self.max_pool = max_pool
        self.conv1 = nn.Conv1d(in_channels, channels, kernel_size=1)
        self.bn1 = nn.BatchNorm1d(channels)
        self.res2 = Res2Conv1d(channels, RES2_SCALE, dilation=dilation)
        self.conv3 = nn.Conv1d(channels, channels, kernel_size=1)
        self.bn3 = nn.BatchNorm1d(channels)
        self.residual: nn.Conv1d | None = None
        if in_channels != channels:
            self.residual = nn.Conv1d(in_channels, channels, kernel_size=1, bias=False)
        self.afms = FeatureMapScaling(channels)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None, pooled: torch.Tensor | None) -> torch.Tensor:
        """`(batch, in_channels, frames) -> (batch, channels, frames // max_pool)`.

        `mask : (batch, frames) bool` and `pooled : (batch, frames // max_pool) bool` mark the real frames of input and
        output. Padded frames do not affect the result as long as they are finite.
        """
        out = clear_computed(self.bn1(functional.relu(self.conv1(x), inplace=True)), mask)
        out = self.bn3(functional.relu(self.conv3(self.res2(out, mask)), inplace=True))
        out = out + (x if self.residual is None else self.residual(x))
        return self.afms(functional.max_pool1d(out, self.max_pool), pooled)


class RawNet3Pooling(ContextAttentiveStatisticsPooling):
    """Attentive statistics pooling as in RawNet3.

    It applies ReLU and batch normalisation between the affine maps, and clamps all variances.

    Parameters
    ----------
    channels : int
    per_channel : bool
        Whether there is an attention weight for each channel and frame, or only for each frame.
    """

    variance_floor, variance_ceiling = 1e-4, 1e4

    def __init__(self, channels: int, per_channel: bool) -> None:
        super().__init__(channels)
        hidden = self.linear1.out_channels
        self.bn = nn.BatchNorm1d(hidden)
        if not per_channel:
            self.linear2 = nn.Conv1d(hidden, 1, kernel_size=1)

    def context(self, x: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and standard deviation of the utterance, `(batch, channels)` each."""
        mean, variance = mean_and_variance(x, mask)
        return mean, variance.clamp(self.variance_floor, self.variance_ceiling).sqrt()

    def activation(self, hidden: torch.Tensor) -> torch.Tensor:
        """Apply ReLU and batch normalisation."""
        return self.bn(functional.relu(hidden, inplace=True))


class RawNet3(SpeakerNetwork):
    """Log-magnitudes of sinc filters, three Res2 blocks, attentive statistics pooling.

    The network has 16,279,298 parameters (the original has 1,024 more, which it never uses) and 9.40 GMAC for 2 s at
    16 kHz (the original 9.52, since it applies the attention's weights for the utterance's statistics in each frame).
    Embeddings depend on the level of very quiet waveforms. Because of the logarithm of filter outputs near zero they
    are reproducible to about four digits only.

    Parameters
    ----------
    embedding_dim : int
    pooling : str
        "eca": an attention weight for each channel and frame; "asp": for each frame.
    sinc_stride : int
        Stride of the filters in samples.
    channels : int, a multiple of 8
        Channels of the blocks. There are a quarter as many filters (half of them cosines, half sines) and 1.5 times as
        many pooled channels.
    sample_rate : int
        Sampling rate in Hz.

    Attributes
    ----------
    min_length : int
        Shortest input in samples, two pooled frames: 541 by default.

    Raises
    ------
    VouchError
        Unknown pooling, or unusable channels or stride.
    """

    input_kind = "waveform"
    tiny: ClassVar = {"embedding_dim": 8, "channels": 8}

    def __init__(
        self,
        embedding_dim: int = 256,
        pooling: str = "eca",
        sinc_stride: int = 10,
        channels: int = 1024,
        sample_rate: int = 16000,
    ) -> None:
        super().__init__()
        if channels < RES2_SCALE or channels % RES2_SCALE:
            raise VouchError(f"channels must be a multiple of {RES2_SCALE}, not {channels}")
        self.embedding_dim, self.sample_rate = embedding_dim, sample_rate
        frames = MIN_POOLED_FRAMES
        for _, max_pool in BLOCKS:
            frames *= max_pool
        self.min_length = (frames - 1) * sinc_stride + KERNEL_SAMPLES

        self.normalize = MaskedInstanceNorm(1, eps=1e-4)
        self.conv1 = paired_sinc_filters(channels // 8, KERNEL_SAMPLES, sinc_stride, sample_rate)
        inputs = (self.conv1.out_channels, channels, channels)
        self.layer1, self.layer2, self.layer3 = (
            Res2Block(previous, channels, dilation, max_pool)
            for previous, (dilation, max_pool) in zip(inputs, BLOCKS, strict=True)
        )
        self.layer4 = nn.Conv1d(3 * channels, channels * 3 // 2, kernel_size=1)
        self.pooling = RawNet3Pooling(channels * 3 // 2, pick(POOLING_MODES, pooling, "pooling"))
        self.bn5 = nn.BatchNorm1d(self.pooling.out_channels)
        self.fc6 = nn.Linear(self.pooling.out_channels, embedding_dim)

    def embed(self, waveforms: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        with torch.autocast(waveforms.device.type, enabled=False):
            x, mask = self._log_magnitudes(waveforms, mask)
        mask1, mask2 = (strided_mask(mask, size, size - 1) for size in (BLOCKS[0][1], BLOCKS[0][1] * BLOCKS[1][1]))
        x1 = self.layer1(x, mask, mask1)
        x2 = self.layer2(x1, mask1, mask2)
        shrunk = functional.max_pool1d(x1, BLOCKS[1][1])
        x3 = self.layer3(shrunk + x2, mask2, mask2)
        x4 = functional.relu(self.layer4(torch.cat([shrunk, x2, x3], dim=1)))
        return self.fc6(self.bn5(self.pooling(x4, mask2)))

    def _log_magnitudes(
        self, waveforms: torch.Tensor, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Map `(batch, samples)` to `(batch, filters, frames)` with zero mean over time; also return its mask."""
        x = clear_padding(waveforms, mask)
        # The sample before the first one is taken to equal the second, by reflection.
        x = x - PREEMPHASIS * torch.cat([x[:, 1:2], x[:, :-1]], dim=1)
        x = self.conv1(self.normalize(x[:, None], mask)[:, 0])
        mask = strided_mask(mask, self.conv1.stride, KERNEL_SAMPLES - 1)
        x = torch.log(x.abs() + LOG_FLOOR)
        return x - _time_mean(x, mask), mask


def _time_mean(x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Mean of a finite `(batch, channels, frames)` over real frames: `(batch, channels, 1)`."""
    if mask is None:
        return x.mean(dim=2, keepdim=True)
    return (x * mask[:, None]).sum(dim=2, keepdim=True) / mask.sum(dim=1)[:, None, None]
