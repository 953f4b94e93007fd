"""VGG-M for 40 mel bands (VGG-M-40, VGGVox40).

Source: Nagrani, Chung and Zisserman, "VoxCeleb: a large-scale speaker identification dataset" (Interspeech 2017),
reduced to 40 bands in Chung et al., "In defence of metric learning for speaker recognition" (Interspeech 2020),
section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from vouch.base.errors import VouchError, pick
from vouch.layers.batch_norm import BatchNorm2d
from vouch.layers.inputs import as_image, clear_computed, strided_mask
from vouch.layers.pooling import POOLINGS
from vouch.models.base import SpeakerNetwork

NUM_BINS = 40
# Layers of `netcnn` that reduce n frames to (n - 1) // 2.
HALVING_LAYERS = (0, 3, 4, 7, 17)


class VGGVox40(SpeakerNetwork):
    """Six convolutions and three max-poolings, which halve the frames five times, and pooling over time.

    Features must be normalised per band over the utterance (mean and variance, as in the original front end). The
    network has 3,769,280 parameters and 530 million multiply-accumulates for 200 frames.

    Parameters
    ----------
    num_bins : int
        Must be 40, because the layers reduce exactly that many bands to one.
    embedding_dim : int
    pooling : str
        A name in `POOLINGS`; the original has "tap", "sap" and "max".
    channels : six ints
        Output channels of the convolutions.

    Attributes
    ----------
    min_length : int
        Shortest input in frames: 63, which give one output frame; n frames give (n - 31) // 32.

    Raises
    ------
    VouchError
        The number of bins is not 40, the pooling is unknown, or the channels are not usable.
    """

    min_length = 63
    tiny: ClassVar = {"num_bins": 40, "embedding_dim": 8, "channels": (6, 7, 8, 9, 10, 11)}

    def __init__(
        self,
        num_bins: int,
        embedding_dim: int = 512,
        pooling: str = "tap",
        channels: Sequence[int] = (96, 256, 384, 256, 256, 512),
    ) -> None:
        super().__init__()
        if num_bins != NUM_BINS:
            raise VouchError(f"VGGVox40 takes {NUM_BINS} bins, not {num_bins}")
        if len(channels) != 6 or min(channels) < 1:
            raise VouchError(f"channels must be six positive numbers, not {list(channels)}")
        self.num_bins, self.embedding_dim = num_bins, embedding_dim
        c1, c2, c3, c4, c5, c6 = channels
        self.netcnn = nn.Sequential(
            *_normalised(nn.Conv2d(1, c1, kernel_size=(5, 7), stride=(1, 2), padding=2)),
            nn.MaxPool2d(kernel_size=(1, 3), stride=(1, 2)),
            *_normalised(nn.Conv2d(c1, c2, kernel_size=5, stride=2, padding=1)),
            nn.MaxPool2d(kernel_size=3, stride=2),
            *_normalised(nn.Conv2d(c2, c3, kernel_size=3, padding=1)),
            *_normalised(nn.Conv2d(c3, c4, kernel_size=3, padding=1)),
            *_normalised(nn.Conv2d(c4, c5, kernel_size=3, padding=1)),
            nn.MaxPool2d(kernel_size=3, stride=2),
            *_normalised(nn.Conv2d(c5, c6, kernel_size=(4, 1))),
        )
        self.pooling = pick(POOLINGS, pooling, "pooling")(c6)
        self.fc = nn.Linear(self.pooling.out_channels, embedding_dim)
        # The layers keep this layout, in which their kernels are faster on CPUs and on tensor cores.
        self.netcnn.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch has no such overload

    def embed(self, features: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        x = as_image(features, mask)
        for index, layer in enumerate(self.netcnn):
            x = layer(x)
            if index in HALVING_LAYERS:
                mask = strided_mask(mask, 2, 2)
            if isinstance(layer, (nn.ReLU, nn.MaxPool2d)):
                x = clear_computed(x, mask)
        return self.fc(self.pooling(x.squeeze(2), mask))


def _normalised(convolution: nn.Conv2d) -> list[nn.Module]:
    return [convolution, BatchNorm2d(convolution.out_channels), nn.ReLU(inplace=True)]
