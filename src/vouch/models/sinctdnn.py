"""SincTDNN: learned band-pass filters on the waveform, a time-delay network, statistics over time.

Source: Coria, Bredin, Ghannay and Rosset, "A comparison of metric learning loss functions for end-to-end speaker
verification" (SLSP 2020), section 4, as in pyannote.audio 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from vouch.base.errors import VouchError, pick
from vouch.layers.inputs import clear_padding, strided_mask
from vouch.layers.instance_norm import MaskedInstanceNorm
from vouch.layers.pooling import StatisticsPooling
from vouch.layers.sinc import sincnet_filters
from vouch.models.base import SpeakerNetwork
from vouch.models.xvector import CONTEXT_FRAMES, CONTEXTS

SLOPE = 0.2
SCALES = ("none", "unit", "logistic")
# The standard deviation needs this many pooled frames.
MIN_POOLED_FRAMES = 2


class SincNet(nn.Module):
    """Three layers of convolution, max-pooling, instance normalisation and leaky ReLU; the first has sinc filters.

    The absolute value of the first convolution is taken before pooling. The parameters are those of `SincTDNN`.
    """

    def __init__(
        self,
        stride: Sequence[int],
        waveform_normalize: bool,
        instance_normalize: bool,
        sample_rate: int,
        min_low_hz: float,
        min_band_hz: float,
        out_channels: Sequence[int],
        kernel_size: Sequence[int],
        max_pool: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        for name, values in (
            ("stride", stride),
            ("out_channels", out_channels),
            ("kernel_size", kernel_size),
            ("max_pool", max_pool),
        ):
            if len(values) != 3 or min(values) < 1:
                raise VouchError(f"{name} must be three positive numbers, not {list(values)}")
        # Kernel size, stride and pooling of each layer.
        self.layers = list(zip(kernel_size, stride, max_pool, strict=True))
        self.waveform_normalize = MaskedInstanceNorm(1) if waveform_normalize else None
        bank = sincnet_filters(out_channels[0], kernel_size[0], stride[0], sample_rate, min_low_hz, min_band_hz)
        self.conv1d = nn.ModuleList(
            [
                bank,
                nn.Conv1d(out_channels[0], out_channels[1], kernel_size[1], stride[1]),
                nn.Conv1d(out_channels[1], out_channels[2], kernel_size[2], stride[2]),
            ]
        )
        self.instance_norm1d = nn.ModuleList(map(MaskedInstanceNorm, out_channels)) if instance_normalize else None
        self.dropout = nn.Dropout(dropout)

    def min_samples(self, frames: int) -> int:
        """Return the shortest input, in samples, that gives `frames` frames."""
        for kernel_size, stride, max_pool in reversed(self.layers):
            frames = (frames * max_pool - 1) * stride + kernel_size
        return frames

    def forward(self, waveforms: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Map `(batch, samples)` to `(batch, out_channels[-1], frames)`, and the mask of samples to one of frames."""
        x = clear_padding(waveforms, mask)
        if self.waveform_normalize is not None:
            x = self.waveform_normalize(x[:, None], mask)[:, 0]
        for index, (kernel_size, stride, max_pool) in enumerate(self.layers):
            x = self.conv1d[index](x)
            x = functional.max_pool1d(x.abs() if index == 0 else x, max_pool)
            # The layers do not pad, so the first outputs depend on real samples only.
            mask = strided_mask(strided_mask(mask, stride, kernel_size - 1), max_pool, max_pool - 1)
            if self.instance_norm1d is not None:
                x = self.instance_norm1d[index](x, mask)
            x = self.dropout(functional.leaky_relu(x, SLOPE))
        return x, mask


class WeightNormConv1d(nn.Module):
    """Convolution with weight normalisation: kernels are directions `weight_v` scaled to lengths `weight_g`.

    Source: Salimans and Kingma, "Weight normalization: a simple reparameterization to accelerate training of deep
    neural networks" (NIPS 2016), equation 2.
    """

    def __init__(self, in_channels: int, channels: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        start = nn.Conv1d(in_channels, channels, kernel_size)
        self.bias = start.bias
        self.weight_v = start.weight
        self.weight_g = nn.Parameter(self._lengths().detach())

    def _lengths(self) -> torch.Tensor:
        return torch.linalg.vector_norm(self.weight_v, dim=(1, 2), keepdim=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(batch, in_channels, frames) -> (batch, channels, frames - (kernel_size - 1) * dilation)`."""
        weight = self.weight_v * (self.weight_g / self._lengths())
        return functional.conv1d(x, weight, self.bias, dilation=self.dilation)


class EmbeddingHead(nn.Module):
    """Final batch normalisation and scaling of an embedding, both optional.

    The scale "unit" divides by the length; "logistic" makes the length a sigmoid of the batch-normalised length.
    """

    def __init__(self, embedding_dim: int, batch_normalize: bool, scale: str) -> None:
        super().__init__()
        self.scale = pick({name: name for name in SCALES}, scale, "scale")
        self.batch_normalize = nn.BatchNorm1d(embedding_dim, affine=False) if batch_normalize else None
        self.scaling = nn.BatchNorm1d(1) if scale == "logistic" else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(batch, embedding_dim) -> (batch, embedding_dim)`."""
        if self.batch_normalize is not None:
            x = self.batch_normalize(x)
        if self.scale == "none":
            return x
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        unit = x / (length + 1e-6)
        return unit if self.scaling is None else self.scaling(length).sigmoid() * unit


class SincTDNN(SpeakerNetwork):
    """SincNet, five weight-normalised layers over frames without batch normalisation, mean and standard deviation.

    The network has 4,342,898 parameters and 0.80 GMAC for 2 s at 16 kHz. Its options combine the sections `sincnet`,
    `tdnn` and `embedding` of pyannote.audio 1; the defaults are those of its tutorial, which differ from those of its
    code only in the first stride (5 instead of 1). Its checkpoints hold 262,656 more parameters, in a layer that does
    not affect embeddings.

    The waveform is normalised inside the network, so its level does not matter. There is no batch normalisation (unless
    the options ask for it), so that padding changes nothing even in training.

    Parameters
    ----------
    embedding_dim : int
    stride : three ints
        Strides of the three convolutions of SincNet, the first in samples.
    waveform_normalize, instance_normalize : bool
        Whether to normalise the waveform, and the output of each layer of SincNet, over time.
    sample_rate : int
        Sampling rate in Hz.
    min_low_hz, min_band_hz : float
        Lowest edge and smallest width of a sinc filter, in Hz.
    out_channels, kernel_size, max_pool : three ints
        Parameters of the layers of SincNet; the first kernel size is odd.
    dropout : float
        Dropout probability after each layer of SincNet.
    tdnn_channels : five ints
        Output channels of the layers over frames; always (512, 512, 512, 512, 1500) in the original.
    batch_normalize : bool
        Whether to apply batch normalisation without scale and offset to the embeddings.
    scale : "none", "unit" or "logistic"
        Length of the embeddings: unchanged, one, or a sigmoid of the batch-normalised length.

    Attributes
    ----------
    min_length : int
        Shortest input in samples, two pooled frames: 2646 by default.

    Raises
    ------
    VouchError
        The options do not make a network.
    """

    input_kind = "waveform"
    tiny: ClassVar = {"embedding_dim": 8, "out_channels": (8, 8, 8), "tdnn_channels": (8, 8, 8, 8, 16)}

    def __init__(
        self,
        embedding_dim: int = 512,
        stride: Sequence[int] = (5, 1, 1),
        waveform_normalize: bool = True,
        instance_normalize: bool = True,
        sample_rate: int = 16000,
        min_low_hz: float = 50.0,
        min_band_hz: float = 50.0,
        out_channels: Sequence[int] = (80, 60, 60),
        kernel_size: Sequence[int] = (251, 5, 5),
        max_pool: Sequence[int] = (3, 3, 3),
        dropout: float = 0.0,
        tdnn_channels: Sequence[int] = (512, 512, 512, 512, 1500),
        batch_normalize: bool = False,
        scale: str = "none",
    ) -> None:
        super().__init__()
        if len(tdnn_channels) != len(CONTEXTS) or min(tdnn_channels) < 1:
            raise VouchError(f"tdnn_channels must be five positive numbers, not {list(tdnn_channels)}")
        self.embedding_dim, self.sample_rate = embedding_dim, sample_rate
        self.sincnet = SincNet(
            stride,
            waveform_normalize,
            instance_normalize,
            sample_rate,
            min_low_hz,
            min_band_hz,
            out_channels,
            kernel_size,
            max_pool,
            dropout,
        )
        self.min_length = self.sincnet.min_samples(CONTEXT_FRAMES + MIN_POOLED_FRAMES)
        inputs = (out_channels[-1], *tdnn_channels[:-1])
        self.tdnn = nn.ModuleList(
            WeightNormConv1d(previous, channels, size, dilation)
            for previous, channels, (size, dilation) in zip(inputs, tdnn_channels, CONTEXTS, strict=True)
        )
        self.pooling = StatisticsPooling(tdnn_channels[-1])
        self.segment6 = nn.Linear(self.pooling.out_channels, embedding_dim)
        self.embedding = EmbeddingHead(embedding_dim, batch_normalize, scale)

    def embed(self, waveforms: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        x, mask = self.sincnet(waveforms, mask)
        for layer in self.tdnn:
            x = functional.relu(layer(x))
        return self.embedding(self.segment6(self.pooling(x, strided_mask(mask, 1, CONTEXT_FRAMES))))
