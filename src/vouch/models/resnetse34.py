"""Thin ResNet-34 with squeeze-and-excitation (ResNetSE34), the first network of voxceleb_trainer.

Source: Chung et al., "In defence of metric learning for speaker recognition" (Interspeech 2020), section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from vouch.base.errors import pick
from vouch.layers.inputs import clear_computed
from vouch.layers.pooling import POOLINGS
from vouch.models.resnetse import ResNetSE, SEBasicBlock, build_stages, check_channels

STRIDES = (1, 2, 2, 2)


class ResNetSE34(ResNetSE):
    """Thin ResNet-34 over a magnitude spectrogram, with the frequency resolution halved twice before the stages.

    Features must be normalised per bin over the utterance; the original uses the 257 magnitudes of a 512-point
    spectrum. With 257 bins, 1,437,078 parameters and 977 million multiply-accumulates for 200 frames.

    Parameters
    ----------
    num_bins : int
        Frequency bins of the features.
    embedding_dim : int
    pooling : str
        A name in `POOLINGS`.
    channels : four ints, multiples of 8
        Channels of the four stages.

    Raises
    ------
    VouchError
        The pooling is unknown, or the channels are not usable.
    """

    tiny: ClassVar = {"num_bins": 8, "embedding_dim": 8, "channels": (8, 8, 8, 8)}

    def __init__(
        self,
        num_bins: int,
        embedding_dim: int = 512,
        pooling: str = "sap",
        channels: Sequence[int] = (16, 32, 64, 128),
    ) -> None:
        check_channels(channels)
        super().__init__(
            num_bins,
            embedding_dim,
            conv1=nn.Conv2d(1, channels[0], kernel_size=7, stride=(2, 1), padding=3, bias=False),
            stages=build_stages(SEBasicBlock, channels, STRIDES),
            pooling=pick(POOLINGS, pooling, "pooling")(channels[-1]),
        )
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=(2, 1), padding=1)

    def stem(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """`(batch, 1, bins, frames) -> (batch, channels, bins / 4, frames)`; padded frames of both hold zeros."""
        # After ReLU no value is negative, so the zeros of padded frames never exceed a real value in the maximum.
        return clear_computed(self.maxpool(super().stem(x, mask)), mask)
