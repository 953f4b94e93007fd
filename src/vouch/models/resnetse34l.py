"""Fast ResNet-34 with squeeze-and-excitation (ResNetSE34L), the light network of voxceleb_trainer.

Source: Chung et al., "In defence of metric learning for speaker recognition" (Interspeech 2020), section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import nn

from vouch.base.errors import pick
from vouch.layers.pooling import POOLINGS
from vouch.models.resnetse import ResNetSE, SEBasicBlock, build_stages, check_channels

STRIDES = (1, 2, 2, 1)


class ResNetSE34L(ResNetSE):
    """Thin ResNet-34 over log-mel features with attentive pooling over time.

    Features must be normalised per band over the utterance (mean and variance, as in the original front end). With 40
    bins, 1,437,078 parameters and 440 million multiply-accumulates for 200 frames.

    Parameters
    ----------
    num_bins : int
        Frequency bins of the features.
    embedding_dim : int
    pooling : str
        A name in `POOLINGS`.
    channels : four ints, multiples of 8
        Channels of the four stages; (32, 64, 128, 256) gives the network once published as ResNetSE34Half.

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
