"""Fast ResNet-34 with squeeze-and-excitation (ResNetSE34L), the light network of voxceleb_trainer.

Source: Chung et al., "In defence of metric learning for speaker recognition" (Interspeech 2020), section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from vouch.errors import VouchError, pick
from vouch.models.inputs import check_features, length_mask
from vouch.models.pooling import POOLINGS

SE_REDUCTION = 8
BLOCKS_PER_STAGE = (3, 4, 6, 3)
STRIDES = (1, 2, 2, 1)


def vouch_key(voxceleb_trainer_key: str) -> str:
    """Translate a key of voxceleb_trainer's ResNetSE34L (without its `__S__.`) into the one used here.

    Only the attention moves, into the pooling module. Front-end buffers (`torchfb.*`) have no counterpart.

    Examples
    --------
    >>> vouch_key("sap_linear.weight"), vouch_key("layer1.0.conv1.weight")
    ('pooling.sap_linear.weight', 'layer1.0.conv1.weight')
    """
    moves = voxceleb_trainer_key == "attention" or voxceleb_trainer_key.startswith("sap_linear.")
    return f"pooling.{voxceleb_trainer_key}" if moves else voxceleb_trainer_key


def _clear_padding(x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Zero the padded frames of `x : (batch, channels, bins, frames)` by `mask : (batch, frames) bool`."""
    return x if mask is None else x.masked_fill(~mask[:, None, None], 0.0)


class SqueezeExcitation(nn.Module):
    """Scale each channel by a gate computed from its mean over frequency and (real) time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // SE_REDUCTION),
            nn.ReLU(inplace=True),
            nn.Linear(channels // SE_REDUCTION, channels),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Gate `x : (batch, channels, bins, frames)`; with a mask, padded frames of `x` hold zeros."""
        frames = x.shape[3] if mask is None else mask.sum(dim=1, keepdim=True)
        # Unlike that of mean, the gradient of sum is a view: one pass over the activations less.
        return x * self.fc(x.sum(dim=(2, 3)) / (x.shape[2] * frames))[:, :, None, None]


class SEBasicBlock(nn.Module):
    """Two 3x3 convolutions, a gate and a shortcut; the first ReLU stands before its batch normalisation."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(in_channels, channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.se = SqueezeExcitation(channels)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(channels),
            )

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """`(batch, in_channels, bins, frames) -> (batch, channels, bins / stride, frames / stride)`.

        `mask : (batch, frames / stride) bool` belongs to the output. Padded frames of input and output hold
        zeros.
        """
        out = _clear_padding(self.bn1(self.relu(self.conv1(x))), mask)
        out = self.se(_clear_padding(self.bn2(self.conv2(out)), mask), mask)
        out = out + (x if self.downsample is None else self.downsample(x))
        return _clear_padding(self.relu(out), mask)


def _stage(in_channels: int, channels: int, stride: int, blocks: int) -> nn.ModuleList:
    """Blocks of equal width; only the first changes the number of channels and the resolution."""
    first = SEBasicBlock(in_channels, channels, stride)
    return nn.ModuleList([first, *(SEBasicBlock(channels, channels, 1) for _ in range(1, blocks))])


class ResNetSE34L(nn.Module):
    """Thin ResNet-34 over log-mel features, pooled over time by attention.

    Features are expected normalised per band over the utterance (mean and variance, as the original front end
    does). In training mode batch normalisation averages over padded frames too: train on crops of one length.

    Parameters
    ----------
    num_bins : int
        Frequency bins of the features.
    embedding_dim : int
    pooling : str
        A name in `POOLINGS`.
    channels : four ints, multiples of 8
        Channels of the four stages; (32, 64, 128, 256) gives the network once published as ResNetSE34Half.

    Attributes
    ----------
    min_frames : int
        Shortest input in frames.

    Raises
    ------
    VouchError
        Unknown pooling or unusable channels.
    """

    input_kind = "features"

    def __init__(
        self,
        num_bins: int,
        embedding_dim: int = 512,
        pooling: str = "sap",
        channels: Sequence[int] = (16, 32, 64, 128),
    ) -> None:
        super().__init__()
        if len(channels) != len(STRIDES) or any(width < 1 or width % SE_REDUCTION for width in channels):
            raise VouchError(f"channels must be four multiples of {SE_REDUCTION}, not {list(channels)}")
        self.num_bins, self.embedding_dim, self.min_frames = num_bins, embedding_dim, 1

        self.conv1 = nn.Conv2d(1, channels[0], kernel_size=7, stride=(2, 1), padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.relu = nn.ReLU(inplace=True)
        inputs = (channels[0], *channels[:-1])
        stages = map(_stage, inputs, channels, STRIDES, BLOCKS_PER_STAGE)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.pooling = pick(POOLINGS, pooling, "pooling")(channels[-1])
        self.fc = nn.Linear(self.pooling.out_channels, embedding_dim)

        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, features: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Embed a batch of utterances.

        Parameters
        ----------
        features : (batch, frames, bins) float
        lengths : (batch,) int64, optional
            Real frames of each utterance; in evaluation mode padding does not change an embedding.

        Returns
        -------
        embeddings : (batch, embedding_dim) float

        Raises
        ------
        VouchError
            Wrong shape, or an utterance without frames.
        """
        check_features(features, lengths, self.num_bins, self.min_frames)
        mask = None if lengths is None else length_mask(lengths.to(features.device), features.shape[1])
        x = _clear_padding(features.transpose(1, 2)[:, None], mask)
        # The layers keep this layout, in which their kernels are faster on CPUs and on tensor cores.
        x = x.contiguous(memory_format=torch.channels_last)
        x = _clear_padding(self.relu(self.bn1(self.conv1(x))), mask)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                if mask is not None:
                    # A strided convolution centres output frame t on input frame stride * t.
                    mask = mask[:, :: block.stride]
                x = block(x, mask)
        return self.fc(self.pooling(x.mean(dim=2), mask))
