"""The convolution of a shortcut: 1x1, where channels or resolution change."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

# From so many input channels on the kernel of strided convolutions stays within its memory.
SAFE_CHANNELS = 16


def shortcut_convolution(in_channels: int, channels: int, stride: int | tuple[int, int]) -> nn.Conv2d:
    """Make a 1x1 convolution without bias; narrow ones with a stride are a `NarrowShortcut`."""
    kind = nn.Conv2d if in_channels >= SAFE_CHANNELS or stride in (1, (1, 1)) else NarrowShortcut
    return kind(in_channels, channels, kernel_size=1, stride=stride, bias=False)


class NarrowShortcut(nn.Conv2d):
    """A 1x1 convolution that leaves out positions by its stride first and convolves the others: the same numbers.

    torch 2.11 (oneDNN, AVX-512) writes outside its memory in the backward pass of a strided 1x1 convolution of 4 to 11
    channels over channels_last images. This is slower, so that wider ones, where it does not, are left alone.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(batch, in_channels, bins, frames) -> (batch, channels, bins / stride, frames / stride)`, rounded up."""
        of_bins, of_frames = self.stride
        return functional.conv2d(x[:, :, ::of_bins, ::of_frames], self.weight, self.bias)
