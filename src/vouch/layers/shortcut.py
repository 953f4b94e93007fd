"""The 1x1 convolution of a shortcut, for residual blocks that change the channels or the resolution."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

# From this number of input channels on, the kernel of strided convolutions stays within its memory.
SAFE_CHANNELS = 16


def shortcut_convolution(in_channels: int, channels: int, stride: int | tuple[int, int]) -> nn.Conv2d:
    """Make a 1x1 convolution without bias: a `NarrowShortcut` if it is strided and has few channels."""
    kind = nn.Conv2d if in_channels >= SAFE_CHANNELS or stride in (1, (1, 1)) else NarrowShortcut
    return kind(in_channels, channels, kernel_size=1, stride=stride, bias=False)


class NarrowShortcut(nn.Conv2d):
    """A strided 1x1 convolution that subsamples first and then convolves, which gives the same numbers.

    torch 2.11 (oneDNN, AVX-512) writes outside its memory in the backward pass of a strided 1x1 convolution with 4 to
    11 channels over channels_last images. This class avoids that; wider convolutions use torch's, which is faster.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(batch, in_channels, bins, frames) -> (batch, channels, bins / stride, frames / stride)`, rounded up."""
        of_bins, of_frames = self.stride
        return functional.conv2d(x[:, :, ::of_bins, ::of_frames], self.weight, self.bias)
